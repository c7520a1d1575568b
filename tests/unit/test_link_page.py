"""The page of runs over real links."""

from __future__ import annotations

from benchmarks.convention import at_least
from benchmarks.link.drill import LOOK_UP, Trouble
from benchmarks.link.edge import Came, Drive
from benchmarks.link.found import Found, Row, Shares, Verdict
from benchmarks.link.page import render
from benchmarks.routing.links import LinkTrace
from edge_runtime.bench.scenarios import Judged

LINK = LinkTrace("a <link>", (0.0, 5.0, 10.0), (1e6, 1e5), (0.0,), (0.04,))


def drive(*targets: str) -> Drive:
    return Drive(tuple(Came(0.1 * i, t, 0.15, t != "none", "why") for i, t in enumerate(targets)), 0.1)


def found(verdicts: tuple[Verdict, ...] = (), troubles: tuple[Trouble, ...] = ()) -> Found:
    rows = tuple(
        Row(
            LINK.name,
            0.0,
            transport,
            Shares(0.75, 0.5, 0.6),
            Shares(1.0, 0.6, 0.7),
            drive("cloud", "local", "none", "cloud"),
        )
        for transport in ("http", "mqtt")
    )
    return Found("in thought", 4, 0.2, 150_000, rows, verdicts, troubles)


def test_a_page_of_links() -> None:
    """Every figure is there, what comes in is escaped, and the same findings give the same page."""
    told = render(found(), [at_least("budgets met", 75.0, "%", 99)], {LINK.name: LINK})
    assert "a &lt;link&gt;" in told
    assert "<link>" not in told
    assert "75.0%" in told
    assert "When something breaks" not in told
    assert told == render(found(), [at_least("budgets met", 75.0, "%", 99)], {LINK.name: LINK})


def test_a_page_with_everything() -> None:
    """Verdicts and troubles have sections of their own; a trouble after which the cloud never came says so."""
    verdicts = (Verdict(LINK.name, "http", Judged(False, 0.19, ("too few",))),)
    troubles = (
        Trouble("cable pulled", "http", 0.25, drive("cloud", "local", "local", "cloud")),
        Trouble("broker killed", "mqtt", 0.25, drive("cloud", "local", "local", "local")),
        Trouble(LOOK_UP, "http", 0.0, drive("local", "local")),
    )
    told = render(found(verdicts, troubles), [], {LINK.name: LINK})
    assert "INVALID" in told
    assert "too few" in told
    assert "cable pulled" in told
    assert "never" in told


def test_a_trouble() -> None:
    """The cloud is back at its first answer after it could be reached; calls that began before that do not count."""
    trouble = Trouble("cable pulled", "http", 4.5, Drive((
        Came(4.0, "local", 0.4, True, ""), Came(4.2, "cloud", 0.2, True, ""), Came(4.4, "cloud", 0.3, True, ""),
        Came(4.6, "none", 0.5, False, ""),
    ), 0.0))  # fmt: skip
    assert trouble.met == 0.75
    assert trouble.local == 1
    assert trouble.back is not None
    assert abs(trouble.back - 0.2) < 1e-9
