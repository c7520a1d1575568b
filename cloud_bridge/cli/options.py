"""The option that says where the broker is, and who asks."""

from __future__ import annotations

import argparse


def add_broker(parser: argparse.ArgumentParser) -> None:
    """`--broker`: its URL, with the files (PEM) of whom to trust and of an own certificate, for mqtts://."""
    parser.add_argument(
        "--broker", required=True, metavar="URL",
        help="mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT][/ROOT][?ca=FILE&cert=FILE&key=FILE]",
    )  # fmt: skip
