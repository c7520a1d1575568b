"""docs/brokers.md, and what docs/fleet.md says of brokers, is what the commands do."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from cloud_bridge.cli import main, parser
from cloud_bridge.protocol.topics import Address

DOCS = Path(__file__).parents[2] / "docs"
PAGE, FLEET = (DOCS / "brokers.md").read_text(), (DOCS / "fleet.md").read_text()


def blocks(kind: str, text: str = PAGE) -> list[list[str]]:
    """The lines of each block of this kind; those that go on in the next are joined."""
    found = re.findall(r"^```(.*?)\n(.*?)^```$", text, re.M | re.S)
    return [block.replace("\\\n", "").splitlines() for what, block in found if what == kind]


def run(line: str) -> None:
    """A line of the page, in the folder at hand."""
    program, *arguments = shlex.split(line)
    if program == "openssl":
        subprocess.run([program, *arguments], check=True, capture_output=True)
    else:
        assert program == "cloud-bridge"
        assert main(arguments) == 0


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_fleet_is_enrolled_as_it_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line in its order; what it prints for the broker is what the page says, and the files are where it says."""
    first, *more = [line for block in blocks("sh") for line in block]
    run(first)
    said = capsys.readouterr().out
    for line in blocks("")[1]:
        assert f"  {line}\n" in said
    for line in more:
        run(line)
    requested = [line for block in blocks("") if "openssl" in block[0] for line in block]
    assert len(requested) == 2
    for line in requested:
        run(line)
    assert not (folder / "fleet/clients/press-19/key.pem").exists()
    assert {path.name for path in (folder / "fleet/clients/press-17").iterdir()} == {"ca.pem", "cert.pem", "key.pem"}
    assert {path.name for path in (folder / "fleet").iterdir()} == {"authority", "broker", "clients", "fleet.json"}
    (listener,) = blocks("mosquitto")
    assert "\n".join(listener) in (folder / "fleet/broker/mosquitto.conf").read_text()
    assert "pattern write edge/v1/things/%u/status\n" in (folder / "fleet/broker/devices.acl").read_text()
    for name in re.findall(r'"/etc/emqx/fleet/([^"]+)"', PAGE):
        assert name == "acl.conf" or (folder / "fleet/broker" / name).exists()
    assert main(shlex.split("fleet enroll acl fleet --broker emqx")) == 0


def test_aws_s_policy_is_made_as_it_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the agent's command is one."""
    (lines,) = [block for block in blocks("") if "aws iot" in "\n".join(block)]
    ours = [line.partition(" > ")[0] for line in lines if line.startswith("cloud-bridge fleet")]
    assert len(ours) == 3
    for line in ours:
        run(line)
    assert (folder / "fleet/clients/press-17/cert.pem").exists()
    assert '"2012-10-17"' in capsys.readouterr().out
    (agent,) = [line for line in lines if line.startswith("cloud-bridge agent")]
    assert parser().parse_args(shlex.split(agent)[1:]).aws


def test_urls_and_services_are_what_is_read() -> None:
    """Options that there are, and addresses."""
    for url in re.findall(r"mqtts://[^\s'\"`)]+", PAGE + FLEET):
        Address.parse(url)
    units = blocks("ini", FLEET)
    assert len(units) == 2
    for unit in units:
        (line,) = [line.partition("=")[2] for line in unit if line.startswith("ExecStart=")]
        program, *arguments = shlex.split(line)
        assert program == "/opt/edge/bin/cloud-bridge"
        assert Address.parse(parser().parse_args(arguments).broker).tls
