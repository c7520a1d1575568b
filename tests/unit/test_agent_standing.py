"""What a device tells of how it stands."""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Event

import pytest

from cloud_bridge.agent.calls import judged
from cloud_bridge.agent.duty import Duty
from cloud_bridge.agent.journal import Journal
from cloud_bridge.agent.obey import Hands
from cloud_bridge.agent.source import source
from cloud_bridge.agent.standing import Standing
from cloud_bridge.agent.work import Order
from cloud_bridge.control.trouble import Trouble
from cloud_bridge.protocol.fleet.commands import Rollback
from cloud_bridge.protocol.fleet.rpc import Running
from edge_runtime.bundles.store import Store
from edge_runtime.errors import BundleError, InputError
from tests.bundles import write_bundle

NOW = 1000.0


def test_a_status_tells_what_runs_and_what_is_wrong(tmp_path: Path) -> None:
    """Each model's version and digest, the job under way, what waits; and a model whose state is damaged by its name."""
    store, journal, trouble = Store(tmp_path / "store", create=True), Journal(":memory:"), Trouble(logging.getLogger())
    digest = store.install(write_bundle(tmp_path / "double")).digest
    hands = Hands(store, source(tmp_path, None, None))
    duty = Duty(journal, lambda document: Order("j", Rollback(model="double"), NOW + 60.0), hands)
    now = 5.0
    standing = Standing(
        "press-17", store, journal, trouble, lambda: ["no filter"], session="s", agent="0.1", clock=lambda: now
    )
    told = standing.status(NOW)
    assert told.models == {"double": Running(version="1.0", digest=digest)}
    assert (told.job, told.waiting, told.uptime) == (None, 0, 0.0)
    duty.receive("j", b"", NOW)
    duty.act(NOW)
    now = 12.0
    told = standing.status(NOW)
    assert (told.job, told.waiting, told.uptime, told.problems) == ("j", 1, 7.0, ("no filter",))
    assert standing.figures(NOW).waiting == 1
    (store.path / "double" / "1.0" / "manifest.json").write_bytes(b"?")
    assert standing.status(NOW).problems[1].startswith("double: ")
    (store.path / "double" / "state.json").write_bytes(b"?")
    assert standing.active() == {}
    assert "damaged" in standing.status(NOW).problems[1]
    journal.close()


def test_a_trouble_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Until it is another one, or has ended and begins again."""
    trouble = Trouble(logging.getLogger())
    for text in ("a", "a", "b", "a"):
        trouble.meet(BundleError(text))
    trouble.end()
    trouble.meet(BundleError("a"))
    assert [record.getMessage() for record in caplog.records] == [f"{text}; it is tried again" for text in "abaa"]


@pytest.mark.parametrize(
    ("calls", "failed", "share", "wrong"),
    [
        (0, 0, 0.0, False),
        (9, 0, 0.0, False),
        (9, 1, 0.0, True),
        (99, 1, 0.01, True),
        (100, 1, 0.01, False),
        (5, 5, 1.0, False),
    ],
)
def test_a_version_is_judged_by_its_calls(calls: int, failed: int, share: float, wrong: bool) -> None:
    """As soon as more of them have failed than may."""
    told = judged(calls, failed, share, "RunError: it is bad")
    assert bool(told) == wrong
    assert not wrong or told.startswith(f"{failed} of {calls} calls failed")


def test_a_device_without_a_repository_fetches_nothing(tmp_path: Path) -> None:
    """It says so when it is asked to; what cannot be used is told at once."""
    with pytest.raises(InputError, match="was given no repository"):
        source(tmp_path, None, None)("a/a-1.bundle", Event())
    with pytest.raises(InputError, match=r"root\.json"):
        source(tmp_path, "http://127.0.0.1:9", None)
    with pytest.raises(InputError, match="more than none"):
        source(tmp_path, None, None, 0.0)
    for wrong in ({"rate": 0.0}, {"spare": -1}):
        with pytest.raises(InputError, match="a rate above 0"):
            source(tmp_path, None, None, **wrong)
