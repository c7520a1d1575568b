"""What the acts of `cloud-bridge fleet` share: where the broker and the registry are."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cloud_bridge.control.paho import Tls
    from cloud_bridge.fleet.registry import Registry


def add_registry(parser: argparse.ArgumentParser) -> None:
    """The option that says where the fleet is kept."""
    parser.add_argument(
        "--registry", default="fleet.db", metavar="FILE",
        help="where the fleet is kept: a file, or postgresql+psycopg://USER@HOST/NAME (default: ./fleet.db)",
    )  # fmt: skip


def add_broker(parser: argparse.ArgumentParser) -> None:
    """The options that say where the broker is, and who asks."""
    parser.add_argument(
        "--broker", required=True, metavar="URL", help="mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT][/ROOT][?ca=FILE]"
    )
    parser.add_argument(
        "--cert", type=Path, nargs=2, metavar=("CERT", "KEY"), help="a certificate and its key (PEM), for mqtts://"
    )


def own(arguments: argparse.Namespace) -> Tls | None:
    """The certificate that was given."""
    from cloud_bridge.control.paho import Tls

    return None if arguments.cert is None else Tls(str(arguments.cert[0]), str(arguments.cert[1]))


def open_registry(arguments: argparse.Namespace) -> Registry:
    """The registry that was named; made where there is none."""
    from cloud_bridge.fleet.registry import Registry

    return Registry(arguments.registry)
