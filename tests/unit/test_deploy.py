"""The container's files fit the command line and the project."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from cloud_bridge.broker import MAX_PACKET
from cloud_bridge.cli import parser

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "cloud_bridge" / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


def test_what_it_copies_is_there_and_let_through() -> None:
    """Each file of the project that the image is made of."""
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    copied = [words for line in re.findall(r"^COPY (?!--)(.+)$", DOCKERFILE, re.M) for words in line.split()[:-1]]
    assert copied
    for path in copied:
        assert (ROOT / path).exists()
        assert f"!{path}" in ignored


def test_it_serves_as_its_commands_say() -> None:
    """The image's own command, and the composition's, are commands of `cloud-bridge`."""
    own = json.loads(re.findall(r"^CMD (\[.+\])$", DOCKERFILE, re.M)[-1])
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    for command in (own, composed["services"]["endpoint"]["command"]):
        assert parser().parse_args(command).keys == Path("/run/secrets/keys")
    for service in composed["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_broker_takes_what_an_endpoint_takes() -> None:
    """Its packets are as large as those of the broker that `cloud-bridge broker` starts."""
    assert f"max_packet_size {MAX_PACKET}\n" in (DEPLOY / "mosquitto.conf").read_text()
    assert "set_tcp_nodelay true\n" in (DEPLOY / "mosquitto.conf").read_text()
