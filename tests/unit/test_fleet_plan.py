"""For whom an order is, and how it is rolled out: from what an operator asks for."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from cloud_bridge.cli.fleet import options, plan
from cloud_bridge.cli.fleet.plan import Known, Pace, Targets
from cloud_bridge.cli.fleet.shared import open_registry
from cloud_bridge.fleet.spec import Constant, Exponential, Group, Rollout, Stop, Timeouts, write
from cloud_bridge.protocol.fleet.commands import LARGEST, Document, Rollback, encode_document
from cloud_bridge.protocol.fleet.presence import Presence, Status
from edge_runtime.errors import InputError


def known(thing: str, *named: str, put: tuple[str, ...] = ()) -> Known:
    """A thing of the groups that it has named, and of those that an operator put it in."""
    born = Status(state="ready", session="s", bd_seq=1, groups=named)
    return Known(thing, (*named, *put), Presence(born, born) if named else Presence())


FLEET = (
    known("a1", "canary"), known("a2", put=("canary",)), known("b1", "field"), known("b2", "field", "canary"),
    known("c1"),
)  # fmt: skip


def names(found: tuple[Known, ...]) -> list[str]:
    return [each.thing for each in found]


@pytest.mark.parametrize(
    ("targets", "meant"),
    [
        (Targets(things=("c1", "a1")), ["a1", "c1"]),
        (Targets(groups=("canary",)), ["a1", "a2", "b2"]),
        (Targets(things=("c1",), groups=("field",)), ["b1", "b2", "c1"]),
        (Targets(everybody=True), ["a1", "a2", "b1", "b2", "c1"]),
    ],
)  # fmt: skip
def test_who_is_meant(targets: Targets, meant: list[str]) -> None:
    """Things, groups, or all: each once, by name."""
    assert names(plan.chosen(targets, FLEET)) == meant


@pytest.mark.parametrize(
    ("targets", "fleet", "wrong"),
    [
        (Targets(), FLEET, "--thing NAME, --group NAME, or --all"),
        (Targets(things=("d1",)), FLEET, "fleet add d1"),
        (Targets(things=("../d1",)), FLEET, "use 1 to 64"),
        (Targets(groups=("nobody",)), FLEET, "--group nobody"),
        (Targets(everybody=True), (), "knows no thing yet"),
    ],
)  # fmt: skip
def test_whom_nobody_knows_is_told(targets: Targets, fleet: tuple[Known, ...], wrong: str) -> None:
    """With what to do about it."""
    with pytest.raises(InputError, match=wrong):
        plan.chosen(targets, fleet)


@pytest.mark.parametrize(
    "targets",
    [
        Targets(things=("c1", "b2")), Targets(groups=("canary",)), Targets(groups=("canary", "field")),
        Targets(things=("a1",), groups=("canary",)), Targets(everybody=True),
    ],
)  # fmt: skip
def test_each_device_that_is_meant_obeys(targets: Targets) -> None:
    """It knows of no group but those that it has named: who was put into one is named."""
    meant = plan.chosen(targets, FLEET)
    things, groups = plan.addressed(targets, meant)
    document = Document(
        job_id="j", issued_at=0.0, expires_at=1.0, things=things, groups=groups, command=Rollback(model="m")
    )
    assert all(document.is_for(each.thing, each.named) for each in meant)
    assert all(each in meant for each in FLEET if document.is_for(each.thing, each.named))


def test_a_fleet_whose_names_fill_an_order_is_named_by_its_groups() -> None:
    """Where it is all of it; otherwise that is told."""
    many = (*(known(f"press-{number:05}", "field") for number in range(6000)), known("alone"))
    things, groups = plan.addressed(Targets(everybody=True), many)
    assert (things, groups) == (("alone",), ("field",))
    document = Document(
        job_id="j", issued_at=0.0, expires_at=1.0, things=things, groups=groups, command=Rollback(model="m")
    )
    assert len(encode_document(document)) < LARGEST
    with pytest.raises(InputError, match="let devices name a group"):
        plan.addressed(Targets(things=tuple(each.thing for each in many)), many)


def test_groups_come_in_their_order_and_then_the_rest() -> None:
    """A thing comes with the first group that has it."""
    spec = plan.rollout(FLEET, Pace(order=("canary", "field", "rest"), success=95.0))
    assert spec.groups == (
        Group("canary", ("a1", "a2", "b2"), 95.0), Group("field", ("b1",), 95.0), Group("rest", ("c1",), 95.0)
    )  # fmt: skip
    assert plan.rollout(FLEET, Pace(order=("rest", "canary"))).groups[0].things == ("b1", "c1")
    assert plan.rollout(FLEET, Pace()).groups == (Group("all", ("a1", "a2", "b1", "b2", "c1")),)


@pytest.mark.parametrize(
    ("pace", "wrong"),
    [
        (Pace(order=("canary",)), "2 are in none of the --groups: b1, c1; add 'rest'"),
        (Pace(order=("canary", "canary", "rest")), "would come with 'canary'"),
        (Pace(order=("elsewhere", "rest")), "would come with 'elsewhere'"),
        (Pace(success=95.0), "name them, --groups"),
        (Pace(per_minute=1, exponential=(1, 2.0, 3)), "give one"),
    ],
)  # fmt: skip
def test_a_rollout_that_contradicts_itself_is_told(pace: Pace, wrong: str) -> None:
    """Nobody is forgotten in silence."""
    with pytest.raises(InputError, match=wrong):
        plan.rollout(FLEET, pace)


def test_the_order_of_groups_says_for_whom_where_nothing_else_does() -> None:
    """But for the rest, of which nobody knows of whom."""
    assert plan.targets_of(Targets(), Pace(order=("canary", "field"))) == Targets(groups=("canary", "field"))
    assert plan.targets_of(Targets(everybody=True), Pace(order=("canary",))) == Targets(everybody=True)
    with pytest.raises(InputError, match="rest means all others"):
        plan.targets_of(Targets(), Pace(order=("canary", "rest")))


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    options.add_order(parser)
    return parser.parse_args(["--key", "operator", *words])


def test_every_option_of_a_rollout_is_in_it() -> None:
    """As it was typed."""
    words = "--all --per-minute 30 --in-flight 5 --stop-at 20,10 --timeout 1h --retries 2"
    spec = plan.rollout(FLEET, options.pace(parsed(*words.split())))
    assert (spec.rate, spec.in_flight, spec.retries) == (Constant(30), 5, 2)
    assert (spec.stops, spec.timeouts) == ((Stop("ALL", 20.0, 10),), Timeouts(execution=3600.0))
    grows = plan.rollout(FLEET, options.pace(parsed("--all", "--exponential", "10,2,20", "--stop-at", "5%")))
    assert (grows.rate, grows.stops) == (Exponential(10, 2.0, 20, of="succeeded"), (Stop("ALL", 5.0, 1),))
    assert options.pace(parsed("--groups", "canary, rest", "--success", "95")).order == ("canary", "rest")


@pytest.mark.parametrize(
    "words",
    [
        "--timeout 0s", "--timeout soon", "--success 101", "--success most", "--stop-at 20,0", "--stop-at 101",
        "--exponential 10,2", "--retries -1",
    ],
)  # fmt: skip
def test_what_an_option_cannot_be_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As wrong use."""
    with pytest.raises(SystemExit):
        parsed("--all", *words.split())
    assert f"argument {words.split()[0]}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("1.5m", 90.0), ("2h", 7200.0), ("7d", 604_800.0), ("50ms", 0.05)]
)  # fmt: skip
def test_times_have_units(text: str, seconds: float) -> None:
    """From milliseconds to days."""
    assert options.duration(text) == pytest.approx(seconds)


def test_a_written_rollout_says_it_all(tmp_path: Path) -> None:
    """Nothing that is typed beside it is passed over, and it names things that there are."""
    spec = Rollout((Group("first", ("a1",)), Group("then", ("b1",))), Constant(10))
    (tmp_path / "rollout.json").write_bytes(write(spec))
    path = str(tmp_path / "rollout.json")
    assert options.written(parsed("--rollout", path)) == spec
    assert options.written(parsed("--all")) is None
    for words in (["--all"], ["--per-minute", "3"], ["--thing", "a1"], ["--success", "0"]):
        with pytest.raises(InputError, match=f"leave out {words[0]}"):
            options.written(parsed("--rollout", path, *words))
    with pytest.raises(InputError, match="no rollout can be read"):
        options.written(parsed("--rollout", str(tmp_path / "other.json")))
    assert names(plan.written(spec, FLEET)) == ["a1", "b1"]
    with pytest.raises(InputError, match="knows no thing 'd1'"):
        plan.written(Rollout((Group("first", ("d1",)),)), FLEET)


def test_a_registry_is_made_only_where_one_is_wanted(tmp_path: Path) -> None:
    """A wrong name is told."""
    named = argparse.Namespace(registry=str(tmp_path / "fleet.db"))
    with pytest.raises(InputError, match="there is no registry"):
        open_registry(named)
    with open_registry(named, create=True) as made:
        made.devices.add(["a1"])
    with open_registry(named) as opened:
        assert options.fleet(opened) == (Known("a1"),)
