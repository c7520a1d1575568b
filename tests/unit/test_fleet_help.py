"""The acts of an operator: their help, and what docs/fleet.md says of them."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from cloud_bridge.cli import parser
from cloud_bridge.cli.fleet import options

TEXT = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text()


def below(made: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Its subcommands."""
    (found,) = [action for action in made._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found.choices)


ACTS = below(below(parser())["fleet"])


@pytest.mark.parametrize("act", [*ACTS])
def test_each_example_is_taken(act: str) -> None:
    """By the command itself, as it is written in its help; each ends with the exit statuses."""
    help_text = ACTS[act].epilog or ""
    joined = re.sub(r"\\\n *", "", help_text)
    examples = [line for line in joined.splitlines() if line.startswith(f"  cloud-bridge fleet {act} ")]
    assert examples or f"  cloud-bridge fleet {act}\n" in joined
    for line in examples:
        assert callable(parser().parse_args(shlex.split(line.partition("      ")[0] or line)[1:]).command)
    assert "exit status:" in help_text


def test_every_act_is_in_the_docs() -> None:
    """Named in the table, or shown."""
    assert not [act for act in ACTS if f"`{act}" not in TEXT and f"cloud-bridge fleet {act} " not in TEXT]


def test_what_the_docs_show_is_taken() -> None:
    """Each command as it is written; each option of the table is one of an order's."""
    blocks = re.findall(r"^```\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    shown = [line for line in lines if line.startswith("cloud-bridge fleet ")]
    assert len(shown) > 3
    for line in shown:
        assert callable(parser().parse_args(shlex.split(line)[1:]).command)
    made = argparse.ArgumentParser()
    options.add_order(made)
    told = set(re.findall(r"`(--[a-z-]+)", TEXT.partition("## For operators")[2].partition("\n## ")[0]))
    known = {each for action in made._actions for each in action.option_strings}
    assert told - known <= {"--force", "--out"}
    assert {f"--{each.replace('_', '-')}" for each in (*options.PACES, "rollout", "key", "expires")} <= told
