"""Where the endpoint's gRPC face listens, who may ask there, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import grpc
import pytest
import trustme
from grpc import StatusCode

from cloud_bridge.endpoint.access import Access
from cloud_bridge.endpoint.grpc import Server
from cloud_bridge.endpoint.service import Service
from edge_runtime.bundles.store import Store
from edge_runtime.errors import InputError
from tests.endpoint import endpoint
from tests.onnx_store import write_store
from tests.system.grpc_parts import AMPLE, Client, answer, double, patience, pb

KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("grpc")).path


def test_keys_and_tls(store: Path, tmp_path: Path) -> None:
    """An endpoint on a network is asked over TLS, by who has a key; whether it lives, by anybody."""
    keys, cert, private = tmp_path / "keys", tmp_path / "cert.pem", tmp_path / "key.pem"
    keys.write_text(KEY)
    authority = trustme.CA()
    mine = authority.issue_cert("127.0.0.1")
    mine.private_key_pem.write_to_path(private)
    mine.cert_chain_pems[0].write_to_path(cert)
    trust = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    options = ("--keys", str(keys), "--tls", str(cert), str(private), "--grpc", "0.0.0.0:0")
    with endpoint(store, *options, http=None) as running:
        assert running.announced["grpc"].startswith("grpcs://0.0.0.0:")
        address = running.grpc.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        with closing(Client(address, trust, KEY)) as known:
            assert answer(known.ask("ModelInfer", double())) == [2.0, 2.0]
        for key in (None, f"{KEY}x"):
            with closing(Client(address, trust, key)) as stranger:
                for method in ("ModelInfer", "ServerReady"):
                    assert stranger.refused(method, double())[0] is StatusCode.UNAUTHENTICATED
                with pytest.raises(grpc.RpcError, match="needs a key"):
                    next(stranger.stream(iter([double()])))
                assert stranger.ask("ServerLive") == b"\x08\x01"
        with closing(Client(address)) as plain:
            assert plain.refused("ServerLive")[0] is StatusCode.UNAVAILABLE


def test_certificates_of_clients(store: Path, tmp_path: Path) -> None:
    """Without one of the clients' authority nobody is answered."""
    cert, private, clients = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    authority, strange = trustme.CA(), trustme.CA()
    mine = authority.issue_cert("127.0.0.1")
    mine.private_key_pem.write_to_path(private)
    mine.cert_chain_pems[0].write_to_path(cert)
    authority.cert_pem.write_to_path(clients)
    options = ("--tls", str(cert), str(private), "--client-ca", str(clients), "--grpc", ":0")
    with endpoint(store, *options, http=None) as running:
        for issuer, fine in ((authority, True), (strange, False), (None, False)):
            own = None if issuer is None else issuer.issue_cert("device.example")
            pair = (None, None) if own is None else (own.private_key_pem.bytes(), own.cert_chain_pems[0].bytes())
            trust = grpc.ssl_channel_credentials(authority.cert_pem.bytes(), *pair)
            with closing(Client(running.grpc, trust)) as client:
                if fine:
                    assert answer(client.ask("ModelInfer", double())) == [2.0, 2.0]
                else:
                    assert client.refused("ServerLive")[0] is StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--grpc", "0.0.0.0:0"), "--keys"),
        (("--grpc", "8001"), "no address"),
        (("--grpc", "192.0.2.1:0", "--insecure"), "cannot listen"),
        (("--grpc", ":0", "--tls", "no.pem", "no.pem"), "TLS"),
        (("--grpc", ":0", "--tls", __file__, __file__), "TLS"),
    ],
)
def test_what_cannot_be_served_ends_with_2(store: Path, options: Sequence[str], words: str) -> None:
    """And says what to do."""
    command = [sys.executable, "-m", "cloud_bridge.cli", "serve", str(store), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_address_in_use(store: Path) -> None:
    """Two endpoints do not share one."""

    async def twice() -> None:
        with closing(Service(Store(store))) as service:
            first = Server(service, "127.0.0.1", 0, Access())
            await first.start()
            with pytest.raises(InputError, match="cannot listen"):
                Server(service, "127.0.0.1", int(first.url.rpartition(":")[2]), Access())
            await first.stop(0)

    asyncio.run(twice())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("http", ["127.0.0.1:0", None])
def test_orderly_end(store: Path, number: int, http: str | None) -> None:
    """A signal lets calls and streams under way be answered, and the process ends with status 0 and nothing to say."""
    sent, over = threading.Event(), threading.Event()

    def requests() -> Iterator[bytes]:
        yield double()
        yield patience(50_000)
        sent.set()
        over.wait(AMPLE)

    with endpoint(store, "--grpc", ":0", http=http) as running, closing(Client(running.grpc)) as client:
        staying, stream = client.infer(patience(50_000)), client.stream(requests())
        next(stream)
        assert sent.wait(AMPLE)
        client.ask("ServerReady")  # over the same connection: what was sent before it is here
        running.process.send_signal(number)
        assert pb.ModelInferResponse.FromString(staying.result(AMPLE)).model_name == "patience"
        assert pb.ModelStreamInferResponse.FromString(next(stream)).infer_response.model_name == "patience"
        with pytest.raises(grpc.RpcError, match="shutting down"):
            next(stream)
        over.set()
        assert running.process.wait(AMPLE) == 0
