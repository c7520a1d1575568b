"""`cloud-bridge fleet` as an operator types it: on a real broker, to a controller and agents that run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from benchmarks.tiny import tiny_bundle
from cloud_bridge import broker
from cloud_bridge.agent.agent import Agent
from cloud_bridge.broker import Broker
from cloud_bridge.cli import main
from cloud_bridge.fleet.registry import Registry
from cloud_bridge.fleet.service import Service
from edge_runtime import Runtime
from edge_runtime.bench import report
from edge_runtime.bundles.store import Store
from edge_runtime.cli import main as edge
from tests.endpoint import eventually
from tests.system.agent_parts import Operator
from tests.system.artifact_parts import serving
from tests.system.mqtt_parts import WAIT, need
from tests.system.test_mqtt_trouble import mosquitto_with

THINGS = ("press-17", "press-18")


class Fleet(NamedTuple):
    """Two devices, of the groups canary and field; a third one that has never connected; who commands them."""

    broker: Broker
    folder: Path
    operator: Operator
    stores: dict[str, Store]

    def run(self, act: str, *options: str, broker: bool = False) -> int:
        """An act: its exit status."""
        more = ["--broker", self.broker.url] if broker else ["--registry", str(self.folder / "fleet.db")]
        return main(["fleet", act, *options, *more])

    def order(self, act: str, *options: str) -> int:
        """An order, signed: its exit status."""
        return self.run(act, *options, "--key", str(self.operator.folder / "operator"))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """All in this process but the broker."""
    folder = tmp_path_factory.mktemp("fleet")
    operator = Operator(folder)
    operator.publish("1.1")
    stores = {thing: Store(folder / thing, create=True) for thing in THINGS}
    with ExitStack() as stack:
        running = stack.enter_context(broker.start(kind=need("mosquitto")))
        artifacts = stack.enter_context(serving(folder / "repository"))
        stack.enter_context(Service(running.url, registry=folder / "fleet.db"))
        for (thing, store), group in zip(stores.items(), ("canary", "field"), strict=True):
            store.install(tiny_bundle(folder / f"{thing}-1.0", version="1.0", partner="tiny", adds=1.0).folder)
            log = folder / f"{thing}.log"
            with Runtime(store.path, cloud="http://127.0.0.1:9", log=log) as runtime:
                runtime.model("tiny").infer({"x": np.zeros((1, 10), np.float32)}, budget=1.0)
            stack.enter_context(Agent(
                running.url, store=store, thing=thing, groups=[group], keys=[operator.public], artifacts=artifacts.url,
                root_metadata=operator.root, device="onnx", telemetry=1.0, log=log,
            ))  # fmt: skip
        with Registry(folder / "fleet.db") as registry:
            eventually(lambda: len(registry.devices.all(state="ready")) == 2, "the devices are not there", WAIT)
        yield Fleet(running, folder, operator, stores)


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    """The JSON that was printed."""
    return json.loads(capsys.readouterr().out)


def test_a_version_is_deployed_from_the_repository(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    """By name and version, group after group; the devices run it, and the listings say so."""
    repository = str(fleet.folder / "repository")
    assert fleet.order(
        "deploy", "tiny", "1.1", "--all", "--groups", "canary,rest", "--success", "100", "--stop-at", "50",
        "--timeout", "2m", "--repository", repository, "--id", "d1", "--json",
    ) == 0  # fmt: skip
    told = printed(capsys)
    assert (told["phase"], told["counts"], told["total"]) == ("succeeded", {"SUCCEEDED": 2}, 2)
    assert {store.active("tiny") for store in fleet.stores.values()} == {"1.1"}
    assert fleet.run("jobs", "d1") == 0
    shown = capsys.readouterr().out
    assert "deploy tiny 1.1" in shown
    assert "press-18" in shown
    with Registry(fleet.folder / "fleet.db") as registry:
        groups = registry.jobs.get("d1").rollout.groups
        assert [(group.name, group.things) for group in groups] == [("canary", ("press-17",)), ("rest", ("press-18",))]
        eventually(lambda: len(registry.overview.reported("models")) == 2, "the versions are not reported", WAIT)

    def active() -> list[Any]:
        assert fleet.run("devices", "--json") == 0
        return [(each["thing"], each["state"], each["groups"], each["active"]) for each in printed(capsys)]

    wanted = [("press-17", "ready", ["canary"], {"tiny": "1.1"}), ("press-18", "ready", ["field"], {"tiny": "1.1"})]
    eventually(lambda: active() == wanted, f"the listing says {active()}", WAIT)


def test_a_job_that_fails_says_where_and_why(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1; the device's own words, while it is watched and afterwards."""
    assert fleet.order("activate", "tiny", "9.9", "--thing", "press-17", "--id", "a1", "--retries", "1") == 1
    told = capsys.readouterr()
    assert "press-17: FAILED at check: " in told.err
    assert "9.9" in told.err
    assert "a1 has failed" in told.out
    assert fleet.run("jobs", "a1", "--json") == 0
    assert printed(capsys)["things"]["press-17"]["number"] == 2  # the device has tried twice: the first had failed
    assert fleet.run("jobs", "--json") == 0
    (job,) = [each for each in printed(capsys) if each["job"] == "a1"]
    assert (job["order"], job["phase"], job["counts"]) == ("activate tiny 9.9", "failed", {"FAILED": 1})


def test_reports_come_back_and_compare(fleet: Fleet, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A file for each device, which the usual command sets side by side; a table across them."""
    out = ["--out", str(tmp_path / "reports")]
    assert fleet.order("bench", "tiny", "--all", "--runs", "20", "--seconds", "200ms", "--device", "onnx", *out) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("FASTEST", "P50", "press-17", "press-18"))
    paths = [tmp_path / "reports" / f"{thing}.json" for thing in THINGS]
    assert all(report.load(path).models for path in paths)
    assert edge(["compare", *map(str, paths)]) == 0


def test_logs_come_back_and_replay(fleet: Fleet, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Now or later: what a job brought back stays in the registry."""
    assert fleet.order("collect-log", "--thing", "press-18", "--id", "l1") == 0
    assert "fleet jobs l1 --out DIR" in capsys.readouterr().out
    assert fleet.run("jobs", "l1", "--out", str(tmp_path)) == 0
    assert edge(["replay", str(tmp_path / "press-18.jsonl")]) == 0
    assert "1 of 1 plans come out the same" in capsys.readouterr().out


def test_a_budget_and_a_policy_reach_devices(fleet: Fleet, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Waited for until each has reported them; of one that is away it is said that it is."""
    policy = tmp_path / "cheap.json"
    policy.write_text('{"byte_price": 1e-6}')
    registry = ["--registry", str(fleet.folder / "fleet.db"), "--json"]
    for act in (["budget", "tiny", "50ms"], ["policy", str(policy)], ["budget", "tiny", "none"], ["policy", "none"]):
        assert fleet.run(*act, "--all", *registry, broker=True) == 0
        told = printed(capsys)
        assert [(each["thing"], each["stage"], each["state"]) for each in told] == [
            (thing, "reported", "ready") for thing in THINGS
        ]
    assert fleet.run("budget", "tiny", "50ms", "--thing", "press-99", "--timeout", "3s", broker=True) == 1
    told_of = capsys.readouterr().out
    assert "press-99  accepted  unknown" in told_of
    assert "a device has it when it is there" in told_of
    assert fleet.run("budget", "tiny", "60ms", "--thing", "press-99", "--detach", broker=True) == 0
    elsewhere = ["--broker", f"{fleet.broker.url}/nobody/v1", "--timeout", "300ms"]
    assert main(["fleet", "budget", "tiny", "60ms", "--thing", "press-17", *elsewhere]) == 5
    assert "no controller has answered within 0.3 s" in capsys.readouterr().err


def test_questions_are_answered_or_not_in_time(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    """A device that is there, one that is not, and a broker that is not."""
    assert fleet.run("ping", "press-17", broker=True) == 0
    assert "press-17 is there (" in capsys.readouterr().out
    assert fleet.run("status", "press-17", "--json", broker=True) == 0
    told = printed(capsys)
    assert told["thing"] == "press-17"
    assert told["models"]["tiny"]["version"] == fleet.stores["press-17"].active("tiny")
    assert fleet.run("ping", "press-99", "--timeout", "300ms", broker=True) == 5
    assert "press-99 has not answered within 0.3 s" in capsys.readouterr().err
    assert main(["fleet", "ping", "press-17", "--broker", "mqtt://127.0.0.1:9"]) == 5
    assert "cannot be reached" in capsys.readouterr().err


RIGHTS = """user fleet
topic readwrite #
topic readwrite $share/controllers/#
user operator
topic write edge/v1/things/+/rpc/+
topic write edge/v1/things/+/shadow/name/+/update
topic write edge/v1/things/+/shadow/name/+/get
topic read edge/v1/things/#
topic read edge/v1/controller/#
"""


def test_an_operator_needs_of_the_broker_what_the_docs_say(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With these rights questions and wishes arrive; of who has none it is told that it is the broker who says no."""
    (passwords := tmp_path / "passwords").touch()
    for user in ("fleet", "operator", "guest"):
        subprocess.run(
            ["mosquitto_passwd", "-b", passwords, user, "secret"], check=True, env={"PATH": "/usr/bin:/usr/sbin"}
        )
    config = f"allow_anonymous false\npassword_file {passwords}\nacl_file {tmp_path / 'rights'}\n"
    with mosquitto_with(tmp_path, config=config, rights=RIGHTS) as port:
        urls = {user: f"mqtt://{user}:secret@127.0.0.1:{port}" for user in ("fleet", "operator", "guest")}
        store = Store(tmp_path / "store", create=True)
        with (
            Service(urls["fleet"], registry=tmp_path / "fleet.db"),
            Agent(urls["fleet"], store=store, thing="press-1", keys=[fleet.operator.public], telemetry=None),
            Registry(tmp_path / "fleet.db") as registry,
        ):
            eventually(lambda: bool(registry.devices.all(state="ready")), "the device is not there", WAIT)
            assert main(["fleet", "ping", "press-1", "--broker", urls["operator"]]) == 0
            desire = ["fleet", "budget", "tiny", "50ms", "--thing", "press-1", "--timeout", "30s", "--broker"]
            assert main([*desire, urls["operator"]]) == 0
            capsys.readouterr()
            for command in (["fleet", "ping", "press-1", "--broker"], desire):
                assert main([*command, urls["guest"]]) == 5
                assert "does not let this client" in capsys.readouterr().err


def test_a_rollout_is_paused_resumed_and_cancelled(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    """By words that its log keeps. It waits for a thing that is not there, which is cancelled by itself."""
    assert fleet.run("add", "press-97", "press-98") == 0
    order = ["rollback", "tiny", "--thing", "press-97", "--thing", "press-98", "--id", "w1", "--detach"]
    assert fleet.order(*order) == 0
    assert "w1 is ordered, for 2" in capsys.readouterr().out

    def phase() -> str:
        assert fleet.run("jobs", "w1", "--json") == 0
        return str(printed(capsys)["phase"])

    for act, wanted in (("pause", "paused"), ("resume", "running")):
        assert fleet.run(act, "w1") == 0
        assert "w1 is told" in capsys.readouterr().out
        eventually(lambda wanted=wanted: phase() == wanted, f"it is {phase()}", WAIT)  # type: ignore[misc]
    assert fleet.run("cancel", "w1", "--thing", "press-97") == 0
    assert fleet.run("cancel", "w1", "--thing", "press-97") == 1
    capsys.readouterr()
    assert phase() == "running"
    assert fleet.run("cancel", "w1") == 0
    capsys.readouterr()
    eventually(lambda: phase() == "aborted", f"it is {phase()}", WAIT)
    assert fleet.run("pause", "w1") == 2
    assert "w1 is over: aborted" in capsys.readouterr().err
    assert fleet.run("prune", "--older-than", "1h") == 0
    assert capsys.readouterr().out == "0 jobs are forgotten\n"
    assert phase() == "aborted"
    assert fleet.run("remove", "press-97", "press-98") == 0


def test_ctrl_c_ends_the_watching_and_not_the_job(fleet: Fleet) -> None:
    """It says so, and how to end the job."""
    where = ["--registry", str(fleet.folder / "fleet.db"), "--key", str(fleet.operator.folder / "operator")]
    assert fleet.run("add", "press-96") == 0
    command = ["fleet", "rollback", "tiny", "--thing", "press-96", "--id", "c1", *where]
    with started(*command) as process, Registry(fleet.folder / "fleet.db") as registry:
        eventually(lambda: "c1" in registry.jobs.list() and bool(registry.jobs.executions("c1")), "not told", WAIT)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=WAIT)
        assert process.returncode == 130
        assert "c1 goes on" in told
        assert "cloud-bridge fleet cancel c1" in told
        assert registry.jobs.get("c1").phase == "running"
    assert fleet.run("cancel", "c1") == 0


def test_what_happens_is_told_as_it_happens(fleet: Fleet) -> None:
    """Who was there before, jobs step by step, figures: a line of JSON each."""
    command = ["fleet", "watch", "--broker", fleet.broker.url, "--thing", "press-17", "--json"]
    with started(*command) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert (first["about"], first["thing"], first["state"], first["before"]) == ("presence", "press-17", "ready", True)
        assert fleet.order("tune", "nothing", "--thing", "press-17", "--id", "t1", "--detach") == 0
        events: list[dict[str, Any]] = []
        while not {("figures", None), ("jobs", "FAILED")} <= {(each["about"], each.get("status")) for each in events}:
            events.append(json.loads(process.stdout.readline()))
        assert [each["status"] for each in events if each.get("job") == "t1"][:2] == ["QUEUED", "IN_PROGRESS"]
        assert {each["thing"] for each in events} == {"press-17"}
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT) == 0


def test_an_order_waits_for_a_controller(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said that none is there, and how to start one."""
    registry = ["--registry", str(tmp_path / "fleet.db")]
    assert main(["fleet", "key", str(tmp_path / "operator")]) == 0
    assert main(["fleet", "add", "press-17", *registry]) == 0
    order = ["fleet", "rollback", "tiny", "--all", "--key", str(tmp_path / "operator"), "--id", "o1", *registry]
    with started(*order) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        assert "no controller has taken it" in told
        assert f"--registry {registry[1]}" in told
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT) == 130


def started(*command: str) -> subprocess.Popen[str]:
    """`cloud-bridge`, as a process."""
    code = "import sys; from cloud_bridge.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["deploy", "tiny", "1.1", "--all"], "--repository DIR, where the bundle is, or --digest"),
        (["deploy", "tiny", "9.9", "--all", "--repository", "repository"], "has versions 1.1 of tiny, and no 9.9"),
        (["deploy", "none", "1.1", "--all", "--repository", "repository"], "has no none, and no 1.1"),
        (["rollback", "tiny"], "say for whom it is"),
        (["rollback", "tiny", "--thing", "press-55"], "the registry knows no thing 'press-55'"),
        (["rollback", "tiny", "--group", "none"], "no thing is in group 'none'"),
        (["rollback", "../tiny", "--all"], "this cannot be a job"),
        (["bench", "tiny", "--all", "--detach", "--out", "reports"], "leave out one of the two"),
    ],
)  # fmt: skip
def test_what_cannot_be_ordered_is_refused(
    fleet: Fleet, words: list[str], wrong: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 2, with what is wrong and what to do; nothing is ordered."""
    monkeypatch.chdir(fleet.folder)
    with Registry(fleet.folder / "fleet.db") as registry:
        before = registry.jobs.list()
        assert fleet.order(*words) == 2
        assert wrong in capsys.readouterr().err
        assert registry.jobs.list() == before


def test_an_id_is_one_job_s(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    """Of an order that is given once more devices would do nothing, so it is refused."""
    assert fleet.run("add", "press-95") == 0
    order = ["rollback", "tiny", "--thing", "press-95", "--id", "i1", "--detach"]
    assert fleet.order(*order) == 0
    assert fleet.order(*order) == 2
    assert "there is a job i1 with another document" in capsys.readouterr().err
    assert fleet.run("cancel", "i1") == 0


def test_a_fleet_that_is_not_there_is_not_made_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong name of a registry is told, and makes none."""
    assert main(["fleet", "devices", "--registry", str(tmp_path / "other.db")]) == 2
    assert "there is no registry" in capsys.readouterr().err
    assert not (tmp_path / "other.db").exists()
