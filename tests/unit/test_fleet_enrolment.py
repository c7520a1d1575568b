"""A fleet's certificates: whom TLS believes, what lies where, and what is refused."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import time
from pathlib import Path

import pytest
from cryptography import x509

from cloud_bridge.cli import main
from cloud_bridge.credentials import Credentials
from cloud_bridge.fleet.authority import Authority, read
from cloud_bridge.fleet.enrolment import DAY, Enrolment, Settings
from edge_runtime.errors import InputError

LIFE = 730 * DAY


@pytest.fixture
def fleet(tmp_path: Path) -> Enrolment:
    """A fleet of nobody yet."""
    return Enrolment.init(tmp_path / "fleet", Settings(("broker.example", "10.0.0.5")), LIFE)


def shake(fleet: Enrolment, files: Path | None, door: str = "devices", host: str = "broker.example") -> None:
    """A handshake as strict as Python can be, without a socket. Raises ssl.SSLError as either side does."""
    broker = fleet.folder / "broker"
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(broker / "control.pem"))
    server.load_cert_chain(broker / "server.pem", broker / "server.key")
    server.load_verify_locations(broker / f"{door}.pem")
    server.load_verify_locations(broker / f"{door}.crl")
    server.verify_mode = ssl.CERT_REQUIRED
    server.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF | ssl.VERIFY_X509_STRICT
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    if files is not None:
        client.load_cert_chain(files / "cert.pem", files / "key.pem")
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(back, there, server_hostname=host)
    theirs = server.wrap_bio(there, back, server_side=True)
    left = [ours, theirs]
    for _ in range(8):
        for each in list(left):
            try:
                each.do_handshake()
                left.remove(each)
            except ssl.SSLWantReadError:
                pass
    assert not left


def test_tls_believes_who_is_enrolled(fleet: Enrolment) -> None:
    """Both ways, under each of the broker's names; nobody else, no other name, and not through the other door."""
    device, control = fleet.add("press-17", "device", LIFE), fleet.add("control-1", "controller", LIFE)
    for host in ("broker.example", "10.0.0.5"):
        shake(fleet, device, host=host)
    shake(fleet, control, "control")
    for files, door, host in (
        (None, "devices", "broker.example"), (device, "control", "broker.example"), (control, "devices", "broker.example"),
        (device, "devices", "other.example"),
    ):  # fmt: skip
        with pytest.raises(ssl.SSLError):
            shake(fleet, files, door, host)


def test_who_is_revoked_is_not_believed(fleet: Enrolment) -> None:
    """With every certificate that it ever had; others are. It may be enrolled anew."""
    first, other = fleet.add("press-17", "device", LIFE), fleet.add("press-18", "device", LIFE)
    old = fleet.folder / "old"
    first.rename(old)
    renewed = fleet.renew("press-17", LIFE)
    for files in (old, renewed):
        shake(fleet, files)
    assert fleet.revoke("press-17") == 2
    for files in (old, renewed):
        with pytest.raises(ssl.SSLError, match="revoked"):
            shake(fleet, files)
    shake(fleet, other)
    shake(fleet, fleet.add("press-17", "device", LIFE))


def test_a_device_cannot_be_the_broker(fleet: Enrolment) -> None:
    """Its certificate is for one side of a connection only, and of another authority."""
    files = fleet.add("press-17", "device", LIFE)
    for name in ("pem", "key"):
        path = fleet.folder / "broker" / f"server.{name}"
        path.write_bytes((files / ("cert.pem" if name == "pem" else "key.pem")).read_bytes())
    with pytest.raises(ssl.SSLError):
        shake(fleet, files)


def test_keys_are_their_owner_s(fleet: Enrolment) -> None:
    """Each of them, in folders that nobody else opens; a renewed one too."""
    fleet.add("press-17", "device", LIFE)
    fleet.renew("press-17", LIFE)
    fleet.renew("broker.example", LIFE)
    keys = sorted(fleet.folder.rglob("*key*"))
    assert [path.name for path in keys] == ["control.key", "devices.key", "server.key", "key.pem"]
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}
    assert (fleet.folder / "authority").stat().st_mode & 0o077 == 0


def test_a_key_that_stays_on_its_device(fleet: Enrolment, tmp_path: Path) -> None:
    """A request, as openssl makes it, brings the public half; what else it asks for is passed over."""
    key, request = tmp_path / "key.pem", tmp_path / "request.pem"
    command = ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-subj", "/CN=somebody-else", "-keyout", str(key), "-out", str(request)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    made = fleet.add("press-17", "device", LIFE, request.read_bytes())
    assert not (made / "key.pem").exists()
    assert read((made / "cert.pem").read_bytes()).name == "press-17"
    key.rename(made / "key.pem")
    shake(fleet, made)
    for wrong in (b"", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"):
        with pytest.raises(InputError, match="request"):
            fleet.add("press-18", "device", LIFE, wrong)


def test_what_names_cannot_be_is_refused(fleet: Enrolment) -> None:
    """Before anything is written: what no topic can hold, what leads elsewhere, and what is there already."""
    before = sorted(fleet.folder.rglob("*"))
    for name in ("", "..", "a/b", "*", "press 17", "+", "x" * 65, "%u"):
        for act in (lambda n: fleet.add(n, "device", LIFE), lambda n: fleet.renew(n, LIFE), fleet.revoke):
            with pytest.raises(InputError):
                act(name)
    for act in (lambda n: fleet.renew(n, LIFE), fleet.revoke):
        with pytest.raises(InputError, match="no certificate"):
            act("press-99")
    with pytest.raises(InputError):
        fleet.revoke("broker.example")
    assert sorted(fleet.folder.rglob("*")) == before
    fleet.add("press-17", "device", LIFE)
    with pytest.raises(InputError, match="already"):
        fleet.add("press-17", "controller", LIFE)


def test_a_fleet_is_made_once(fleet: Enrolment, tmp_path: Path) -> None:
    """What signs is never replaced; where there is none, it is told what makes one."""
    key = (fleet.folder / "authority" / "devices.key").read_bytes()
    with pytest.raises(InputError, match="not replaced"):
        Enrolment.init(fleet.folder, Settings(("other",)), LIFE)
    assert (fleet.folder / "authority" / "devices.key").read_bytes() == key
    with pytest.raises(InputError, match="fleet enroll init"):
        Enrolment(tmp_path / "nowhere")
    for names, root in ((("bro ker",), "edge"), (("x" * 65,), "edge"), (("broker",), "a/+/b")):
        with pytest.raises(InputError):
            Enrolment.init(tmp_path / "another", Settings(names, root), LIFE)
    assert not (tmp_path / "another").exists()


def test_without_the_authority_s_keys_nothing_is_signed(fleet: Enrolment) -> None:
    """They are offline; who is enrolled can be seen without them."""
    for door in ("devices", "control"):
        (fleet.folder / "authority" / f"{door}.key").rename(fleet.folder.parent / f"{door}.key")
    with pytest.raises(InputError, match="fetch them"):
        fleet.add("press-17", "device", LIFE)
    assert [each.name for each in fleet.all()] == ["broker.example"]
    (fleet.folder.parent / "control.key").rename(fleet.folder / "authority" / "devices.key")
    with pytest.raises(InputError, match="not that of its certificate"):
        fleet.add("press-17", "device", LIFE)


def test_no_certificate_outlives_its_authority(fleet: Enrolment) -> None:
    """It would be believed by nobody."""
    made = fleet.add("press-17", "device", 100 * 365 * DAY)
    authority = read((fleet.folder / "authority" / "devices.pem").read_bytes())
    assert read((made / "cert.pem").read_bytes()).ends == authority.ends


def test_the_list_of_revocations_does_not_end_before_its_authority(fleet: Enrolment) -> None:
    """A broker whose list has ended refuses everybody; and none is of the future, where clocks differ."""
    found = x509.load_pem_x509_crl((fleet.folder / "broker" / "devices.crl").read_bytes())
    assert found.next_update_utc is not None
    ends = read((fleet.folder / "authority" / "devices.pem").read_bytes()).ends
    assert found.next_update_utc.timestamp() == ends
    assert found.last_update_utc.timestamp() <= time.time() - 300


def test_bytes_that_are_no_certificate() -> None:
    """Are told, and those of a key too."""
    pair = Authority.make("a", time.time())
    for certificate, key in ((b"no", pair.key), (pair.certificate, b"no")):
        with pytest.raises(InputError, match="PEM"):
            Authority(certificate, key or b"")


def test_a_renewed_certificate_counts_from_the_next_connection(fleet: Enrolment) -> None:
    """The same context while nothing has changed; none while a file does not fit the other, and the new one then."""
    made = fleet.add("press-17", "device", LIFE)
    ca, cert, key = (made / name for name in ("ca.pem", "cert.pem", "key.pem"))
    own = Credentials(str(ca), str(cert), str(key))
    first = own.context()
    assert own.context() is first
    old = key.read_bytes()
    fleet.renew("press-17", LIFE)
    new = key.read_bytes()
    key.write_bytes(old)
    for _ in range(2):
        with pytest.raises(InputError, match="no certificate and its key"):
            own.context()
    key.write_bytes(new)
    again = own.context()
    assert again is not first
    assert own.context() is again
    ca.write_bytes(b"no")
    with pytest.raises(InputError, match="no file of certificates"):
        own.context()


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """`cloud-bridge fleet enroll`: its status, and what it says."""
    status = main(["fleet", "enroll", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From nothing to a fleet; each says what is to be done next, and what ends soon is said in time."""
    folder = tmp_path / "fleet"
    status, out, _ = run(capsys, "init", folder, "--broker-name", "broker.example", "--root", "site-7")
    assert status == 0
    assert "keep it offline" in out
    status, out, err = run(capsys, "add", folder, "press-17", "press-18", "--at", "/etc/edge")
    assert (status, err) == (0, "")
    assert (
        "cloud-bridge agent --broker 'mqtts://broker.example/site-7?ca=/etc/edge/ca.pem&cert=/etc/edge/cert.pem"
        "&key=/etc/edge/key.pem' --thing press-17 "
    ) in out
    status, out, err = run(capsys, "add", folder, "control-1", "--controller", "--days", "30", "--json")
    (told,) = json.loads(out)
    assert told["run"][:4] == ["cloud-bridge", "fleet", "control", "--broker"]
    assert "mqtts://broker.example:8884/site-7?" in told["run"][4]
    assert "copy" in err
    assert "renew" in err
    assert "user control-1" in (folder / "broker" / "control.acl").read_text()
    assert run(capsys, "list", folder, "--within", "10")[0] == 0
    status, out, _ = run(capsys, "list", folder, "--within", "60", "--json")
    assert (status, [each["name"] for each in json.loads(out)]) == (1, ["control-1"])
    assert run(capsys, "renew", folder, "control-1")[2] == ""
    assert run(capsys, "list", folder, "--within", "60")[0] == 0
    assert "press-18" in run(capsys, "revoke", folder, "press-18")[1]
    status, out, _ = run(capsys, "list", folder)
    assert re.search(r"^press-18 +device +revoked", out, re.M)
    assert run(capsys, "revoke", folder, "press-18")[0] == 2
    assert "user control-1" not in run(capsys, "revoke", folder, "control-1")[1]
    assert "user control-1" not in (folder / "broker" / "control.acl").read_text()


def test_the_commands_refuse_what_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With status 2 and a reason."""
    for more in (("--port", "0"), ("--port", "8884"), ("--control-port", "70000")):
        assert run(capsys, "init", tmp_path / "x", "--broker-name", "b", *more)[0] == 2
    run(capsys, "init", tmp_path / "fleet", "--broker-name", "b")
    for arguments in (
        ("add", tmp_path / "fleet", "a", "b", "--request", tmp_path / "r"), ("add", tmp_path / "fleet", "a b"),
        ("add", tmp_path / "fleet", "a", "--request", tmp_path / "none"), ("list", tmp_path),
    ):  # fmt: skip
        status, _, err = run(capsys, *arguments)
        assert status == 2
        assert err.startswith("cloud-bridge: ")


def test_other_brokers_get_the_same_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who runs the fleet by name, devices by pattern, and nothing else."""
    folder = tmp_path / "fleet"
    run(capsys, "init", folder, "--broker-name", "b", "--root", "edge")
    run(capsys, "add", folder, "control-1", "--controller")
    out = run(capsys, "acl", folder, "--broker", "emqx")[1]
    assert out.startswith('{allow, {user, "control-1"}, publish, ["edge/things/+/jobs/notify-next"')
    assert out.endswith("{deny, all}.\n")
    policy = json.loads(run(capsys, "acl", folder, "--broker", "aws")[1])
    assert "arn:aws:iot:*:*:topic/edge/things/${iot:Connection.Thing.ThingName}/*" in policy["Statement"][1]["Resource"]
