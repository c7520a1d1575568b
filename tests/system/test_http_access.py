"""Who may ask an endpoint over HTTP."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
import trustme

from cloud_bridge.client.http import HttpRemote
from cloud_bridge.endpoint.access import Access, Tls, read_keys
from edge_runtime.errors import InputError, RefusedError, UnreachableError
from edge_runtime.remote import Call
from tests.endpoint import endpoint
from tests.onnx_store import write_store

KEY, OTHER = "0123456789abcdef", "fedcba9876543210"
CALL = Call("double", {"x": np.ones((1, 2), np.float32)})
AMPLE = 30.0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("access")).path


def asked(url: str, tls: ssl.SSLContext | None = None) -> list[list[float]]:
    remote = HttpRemote(url, tls=tls)
    try:
        outputs: list[list[float]] = remote.send(CALL, deadline=monotonic() + AMPLE).result(AMPLE).outputs["y"].tolist()
        return outputs
    finally:
        remote.close()


def test_keys(store: Path, tmp_path: Path) -> None:
    """Any of the keys opens, as a bearer's and as a password; nothing else does; whether it lives, anybody may ask."""
    keys = tmp_path / "keys.txt"
    keys.write_text(f"# who may\n{KEY}\n{OTHER}  # another device\n")
    with endpoint(store, "--keys", str(keys)) as running:
        host = running.url.removeprefix("http://")
        assert asked(f"http://device:{KEY}@{host}") == asked(f"http://device:{OTHER}@{host}") == [[2.0, 2.0]]
        for url in (running.url, f"http://device:wrong@{host}", f"http://{KEY}:device@{host}"):
            with pytest.raises(RefusedError, match="key") as caught:
                asked(url)
            assert caught.value.status == 401

        def status(path: str, **headers: str) -> int:
            request = urllib.request.Request(running.url + path, headers=headers)  # noqa: S310
            try:
                with urllib.request.urlopen(request) as answer:  # noqa: S310
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                told = json.loads(error.read())
                return error.code if told["error"] else 0

        assert status("/v2/health/live") == 200
        assert status("/v2", Authorization=f"Bearer {OTHER}") == 200
        basic = b64encode(f"device:{KEY}".encode()).decode()
        assert status("/metrics", Authorization=f"basic {basic}") == 200
        for wrong in (
            "",
            "Bearer",
            f"Bearer {KEY}x",
            f"Digest {KEY}",
            "Basic !",
            f"Basic {b64encode(b'no colon').decode()}",
        ):
            assert status("/v2", Authorization=wrong) == 401
        assert status("/metrics") == 401


def test_certificates(store: Path, tmp_path: Path) -> None:
    """Over TLS, with a certificate of the clients' authority; without one nobody is answered."""
    authority, stranger = trustme.CA(), trustme.CA()
    cert, key, clients = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    mine = authority.issue_cert("127.0.0.1")
    mine.private_key_pem.write_to_path(key)
    mine.cert_chain_pems[0].write_to_path(cert)
    authority.cert_pem.write_to_path(clients)
    with endpoint(store, "--tls", str(cert), str(key), "--client-ca", str(clients)) as running:
        assert running.url.startswith("https://")
        for issuer, fine in ((authority, True), (stranger, False), (None, False)):
            context = ssl.create_default_context()
            authority.configure_trust(context)
            if issuer is not None:
                issuer.issue_cert("device.example").configure_cert(context)
            if fine:
                assert asked(running.url, context) == [[2.0, 2.0]]
            else:
                with pytest.raises(UnreachableError):
                    asked(running.url, context)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "endpoint.example", ""])  # noqa: S104
def test_a_network_needs_keys_or_certificates_or_a_word(host: str) -> None:
    """Nobody opens an endpoint to strangers by mistake."""
    tls = Tls(Path("cert"), Path("key"))
    for open_to_all in (Access(), Access(tls=tls)):
        with pytest.raises(InputError, match="--keys"):
            open_to_all.check(host)
    for access in (Access((KEY,)), Access(tls=Tls(Path("cert"), Path("key"), Path("ca"))), Access(insecure=True)):
        access.check(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_this_machine_needs_none(host: str) -> None:
    """Who is on it may ask."""
    Access().check(host)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "read"), (b"", "no key"), (b"# only\n", "no key"), (b"short\n", "16"), (b"\xff" * 20, "read")],
)
def test_files_that_hold_no_keys(tmp_path: Path, content: bytes | None, words: str) -> None:
    """Are refused before anything is served."""
    path = tmp_path / "keys.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_keys(path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--http", "0.0.0.0:0"), "--keys"),
        (("--http", ":0", "--tls", "no.pem", "no.pem"), "TLS"),
        (("--http", ":0", "--client-ca", "ca.pem"), "--tls"),
    ],
)
def test_what_cannot_be_served_ends_with_2(store: Path, options: tuple[str, ...], words: str) -> None:
    """And says what to do."""
    command = [sys.executable, "-m", "cloud_bridge.cli", "serve", str(store), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert words in done.stderr
