"""`edge-runtime bench --scenario`: a model under load, judged as MLPerf LoadGen judges it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from edge_runtime.bench.fingerprint import fingerprint
from edge_runtime.bench.report import Protocol, Report
from edge_runtime.bench.scenarios import (
    NAMES,
    Burst,
    FixedRate,
    MultiStream,
    Offline,
    Scenario,
    ScenarioRun,
    Server,
    SingleStream,
)  # fmt: skip
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.cli.shell import seconds
from edge_runtime.errors import InputError
from edge_runtime.profile import PROFILE, load

QUERIES = 1024


def add(bench: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = bench.add_argument_group(
        "scenarios", "load on the engine that the runtime chose, with MLPerf LoadGen's names: VALID or INVALID, and why"
    )
    group.add_argument("--scenario", action="append", choices=NAMES, help="may be given more than once")
    group.add_argument("--rate", type=float, metavar="N", help="queries a second (Server, FixedRate)")
    group.add_argument("--latency", type=seconds, metavar="TIME", help="the limit (Server; may be for FixedRate, Burst)")
    group.add_argument("--size", type=int, default=5, metavar="N", help="queries at once (Burst; default: 5)")
    group.add_argument("--gap", type=seconds, default=1.0, metavar="TIME", help="from burst to burst (Burst; default: 1s)")
    group.add_argument("--samples", type=int, default=8, metavar="N", help="samples of a query (MultiStream; default: 8)")
    group.add_argument("--queries", type=int, default=QUERIES, metavar="N", help=f"at least (default: {QUERIES})")
    group.add_argument("--loadgen", action="store_true", help="let MLPerf LoadGen itself drive it too")


def chosen(arguments: argparse.Namespace) -> list[Scenario]:
    """The scenarios that were asked for. Raises InputError where one lacks what it needs."""
    return [_scenario(name, arguments) for name in arguments.scenario or ()]


def _scenario(name: str, arguments: argparse.Namespace) -> Scenario:
    rate, latency, queries = arguments.rate, arguments.latency, arguments.queries
    match name:
        case "SingleStream":
            return SingleStream(queries=queries)
        case "MultiStream":
            return MultiStream(queries=queries, samples=arguments.samples)
        case "Offline":
            return Offline(queries=queries)
        case "Burst":
            return Burst(size=arguments.size, gap=arguments.gap, latency=latency, queries=queries)
    if rate is None:
        raise InputError(f"--scenario {name} needs --rate, the queries a second")
    if name == "FixedRate":
        return FixedRate(rate=rate, latency=latency, queries=queries)
    if latency is None:
        raise InputError("--scenario Server needs --latency, the limit that its p99 is held against")
    return Server(rate=rate, latency=latency, queries=queries)


def run(bundles: Sequence[Bundle], arguments: argparse.Namespace, tell: Callable[[str, float], None]) -> list[ScenarioRun]:
    """Every scenario on every bundle, each on what the runtime chooses here."""
    from edge_runtime.bench import loadgen
    from edge_runtime.bench.drive import drive
    from edge_runtime.bench.harness import inputs_of
    from edge_runtime.runtime import Runtime

    scenarios, runs = chosen(arguments), []
    if arguments.loadgen:
        for scenario in scenarios:
            loadgen.check(scenario)
    profile = load(Path(arguments.store) / PROFILE)
    with Runtime(None, profile=profile, device=arguments.device) as runtime:
        for number, bundle in enumerate(bundles):
            model, manifest = runtime.open(bundle), bundle.manifest
            inputs = inputs_of(bundle, 0)
            infer = model.stream().infer if manifest.signature.recurrent else model.infer
            assert model.loaded is not None  # noqa: S101  (this runtime has no cloud)
            call = partial(infer, inputs)
            call()
            for place, scenario in enumerate(scenarios):
                tell(f"{manifest.name}: {scenario.name}", (number + place / len(scenarios)) / len(bundles))
                driven = drive(call, scenario)
                other = loadgen.judged(call, scenario) if arguments.loadgen else None
                runs.append(ScenarioRun(
                    model=manifest.name, version=manifest.version, label=str(model.loaded.candidate), scenario=scenario,
                    scheduled=driven.scheduled, started=driven.started, ended=driven.ended, errors=driven.errors,
                    judged=driven.judged(scenario), loadgen=other,
                ))  # fmt: skip
    return runs


def report(
    bundles: Sequence[Bundle], arguments: argparse.Namespace, command: str, tell: Callable[[str, float], None]
) -> Report:
    """The runs as a report: no candidates, but the machine and the time."""
    date, environment = datetime.now(UTC).isoformat(timespec="seconds"), fingerprint()
    runs = run(bundles, arguments, tell)
    options = " ".join(f"--scenario {scenario.name}" for scenario in dict.fromkeys(made.scenario for made in runs))
    protocol = Protocol(runs=1, seconds=1.0, seed=0)
    command = f"{command} {options}"
    return Report(date=date, command=command, fingerprint=environment, protocol=protocol, scenarios=tuple(runs))


def lines(runs: Sequence[ScenarioRun]) -> list[str]:
    """The verdicts, and why some are not valid."""
    said = []
    for run in runs:
        said.append(f"{run.model} {run.version} {run}, on {run.label}")
        said += [f"  {reason}" for reason in run.judged.reasons]
        said += [f"  {reason}" for reason in (run.loadgen.reasons if run.loadgen is not None else ())]
    return said
