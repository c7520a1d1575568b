"""A device whose power is cut at any of its writes: of its store, its journal and its outbox, one after another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.system.agent_device import Outcome

KNOWN = {"0.8", "0.9", "1.0", "1.1"}


def outcomes(job: str, folder: Path, *more: str) -> list[Outcome]:
    """Of a kill at each write of this job; the last one was not killed. Each of them is held to what holds for all."""
    command = [sys.executable, "-m", "tests.system.agent_device", job, str(folder), *more]
    done = subprocess.run(command, capture_output=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found = [msgspec.json.decode(line, type=Outcome) for line in done.stdout.splitlines()]
    for one in found:
        assert set(one.versions) >= KNOWN or one.found == ("2.0", False), one  # old ones go when a new one is kept
        assert (one.trial, one.unsent) == (False, 0), one
        assert set(one.leftovers) <= {".state.json.new"}, one  # which the next change overwrites
        ends = set(one.told) - {"IN_PROGRESS"}
        assert ends == {one.state}, one  # told, and never anything else
    return found


@pytest.mark.parametrize("more", [(), ("twice",)])
def test_a_deploy(tmp_path: Path, more: tuple[str, ...]) -> None:
    """The old version serves or the new one; what was not committed goes back, and the job says which of them it is."""
    found = outcomes("deploy", tmp_path, *more)
    for one in found:
        assert one.found in (("1.1", False), ("2.0", True), ("2.0", False)), one
        assert (one.state, one.active, one.before) in (("SUCCEEDED", "2.0", "1.1"), ("FAILED", "1.1", "1.0")), one
        if one.found == ("2.0", True) and not more:
            assert one.state == "FAILED", one  # uncommitted at boot means back
        if one.found == ("2.0", False):
            assert one.state == "SUCCEEDED", one
        assert set(one.kept) >= KNOWN if one.state == "FAILED" else one.kept == ("1.1", "2.0"), one
        if "2.0" not in one.versions and not more:
            assert one.state == "SUCCEEDED", one  # nothing was begun that cannot be done again
    assert {one.state for one in found} == {"SUCCEEDED", "FAILED"}
    assert {one.found for one in found} == {("1.1", False), ("2.0", True), ("2.0", False)}
    if not more:
        assert (found[-1].where, found[-1].state) == ("", "SUCCEEDED")
        places = " ".join(one.where for one in found)
        for place in ("sqlite BEGIN", "sqlite COMMIT", "publish", "open add.onnx", "os.rename .state.json.new", "fsync"):
            assert place in places


def test_a_version_with_wrong_outputs(tmp_path: Path) -> None:
    """Is never active, wherever the power is cut."""
    for one in outcomes("wrong", tmp_path):
        assert one.found == ("1.1", False), one
        assert (one.state, one.active, one.before) == ("FAILED", "1.1", "1.0"), one
        assert "golden" in one.reason, one


def test_a_version_that_is_not_well_on_trial(tmp_path: Path) -> None:
    """Is gone at the end, and was never active without being on trial."""
    found = outcomes("ill", tmp_path)
    for one in found:
        assert one.found in (("1.1", False), ("2.0", True)), one
        assert (one.state, one.active, one.before) == ("FAILED", "1.1", "1.0"), one
    assert {one.found for one in found} == {("1.1", False), ("2.0", True)}
    assert "it is ill" in found[-1].reason


def test_a_rollback(tmp_path: Path) -> None:
    """Goes one version back, and not one further."""
    for one in outcomes("rollback", tmp_path):
        assert one.found in (("1.1", False), ("1.0", False)), one
        assert (one.state, one.active, one.before) == ("SUCCEEDED", "1.0", "0.9"), one
