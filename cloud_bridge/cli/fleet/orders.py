"""`cloud-bridge fleet deploy`, `activate`, `rollback`, `bench`, `tune`, `collect-log`: orders, signed and rolled out."""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from cloud_bridge.cli.fleet import follow, options, plan
from cloud_bridge.cli.fleet.shared import open_registry
from cloud_bridge.extra import required
from cloud_bridge.protocol.fleet.commands import (
    Activate,
    Benchmark,
    CollectLog,
    Command,
    Deploy,
    Document,
    Health,
    Rollback,
    Tune,
    encode_document,
)
from edge_runtime.bundles.manifest import check_name, check_version
from edge_runtime.cli.compare import share
from edge_runtime.cli.shell import Commands, count, memory, seconds, subcommand, watts
from edge_runtime.errors import InputError
from edge_runtime.objective import METRICS, Objective

_WHO = "--group canary --key operator"


def add(acts: Commands) -> None:
    """Add the acts."""
    _add_versions(acts)
    _add_measured(acts)
    log = _order(
        acts, "collect-log", "fetch the latest part of devices' decision logs", _collect_log,
        f"cloud-bridge fleet collect-log {_WHO} --out logs/\n  edge-runtime replay logs/press-17.jsonl",
    )  # fmt: skip
    log.add_argument("--most", type=memory, default=1 << 20, metavar="SIZE", help="of a log, at most (default: 1 MiB)")
    log.add_argument("--out", type=Path, metavar="DIR", help="write each device's log to DIR/THING.jsonl")


def _add_versions(acts: Commands) -> None:
    """Which version answers."""
    deploy = _order(
        acts, "deploy", "let devices fetch a version, prove it, and run it; they go back where it does not hold", _deploy,
        f"cloud-bridge fleet deploy text-reader 1.3 {_WHO} --repository repository/\n"
        "  cloud-bridge fleet deploy text-reader 1.3 --all --groups canary,rest --success 95 --stop-at 20,10 \\\n"
        "      --key operator --repository repository/ --p99 50ms --soak 5m",
    )  # fmt: skip
    deploy.add_argument("--repository", type=Path, metavar="DIR", help="the repository that devices fetch it from")
    deploy.add_argument("--tune", action="store_true", help="let each device find by measuring how it runs best, first")
    deploy.add_argument("--digest", metavar="SHA256", help="of its manifest, where the repository is not at hand")
    activate = _order(
        acts, "activate", "let an installed version answer, held to the same as a new one", _activate,
        f"cloud-bridge fleet activate text-reader 1.2 {_WHO}",
    )  # fmt: skip
    for act in (deploy, activate):
        act.add_argument("model", metavar="MODEL")
        act.add_argument("version", metavar="VERSION")
        act.add_argument(
            "--p99", type=seconds, metavar="TIME",
            help="99 of 100 runs are to be done within this (default: the model's budget on each device)",
        )  # fmt: skip
        act.add_argument(
            "--failures",
            type=share,
            default=0.0,
            metavar="SHARE",
            help="of calls that may fail while it soaks (default: 0)",
        )
        act.add_argument(
            "--soak", type=options.duration, default=0.0, metavar="TIME", help="watch it answer for so long, then commit"
        )
    rollback = _order(
        acts, "rollback", "let the version answer that did before", _rollback,
        f"cloud-bridge fleet rollback text-reader {_WHO}",
    )  # fmt: skip
    rollback.add_argument("model", metavar="MODEL")


def _add_measured(acts: Commands) -> None:
    """What devices measure."""
    bench = _order(
        acts, "bench", "measure models on devices, and set their reports side by side", _bench,
        f"cloud-bridge fleet bench text-reader {_WHO} --out reports/\n"
        "  edge-runtime compare reports/press-17.json reports/press-18.json",
    )  # fmt: skip
    bench.add_argument("--runs", type=count, default=400, metavar="N", help="of each candidate, at most (default: 400)")
    bench.add_argument("--seconds", type=seconds, default=2.0, metavar="TIME", help="of each candidate (default: 2s)")
    bench.add_argument("--out", type=Path, metavar="DIR", help="write each device's report to DIR/THING.json")
    tune = _order(
        acts, "tune", "let devices find anew, by measuring, how models run best", _tune,
        f"cloud-bridge fleet tune text-reader {_WHO} --objective cpu",
    )  # fmt: skip
    tune.add_argument("--objective", choices=METRICS, default="p95", help="what is to be least (default: p95)")
    tune.add_argument("--busy", action="store_true", help="beside a neighbour that keeps one core busy")
    tune.add_argument("--rate", type=float, metavar="N", help="at so many inferences a second")
    tune.add_argument("--max-memory", type=memory, metavar="SIZE", help="at most so much for a loaded model: 100MB")
    tune.add_argument("--watts", type=watts, metavar="IDLE,CORE", help="the power idle and of one busy core: 2.5,3.8")
    tune.add_argument(
        "--load-timeout", type=options.duration, default=120.0, metavar="TIME",
        help="to load a candidate and run it (default: 2m)",
    )  # fmt: skip
    for act in (bench, tune):
        act.add_argument("models", nargs="+", metavar="MODEL")
        act.add_argument("--device", default="", help="only this engine, or engine and device: openvino, onnx:CPU")


def _order(
    acts: Commands, name: str, what: str, command: Callable[[argparse.Namespace], Command], example: str
) -> argparse.ArgumentParser:
    parser = subcommand(acts, name, what, example)
    options.add_order(parser)
    parser.set_defaults(command=_give, order=command, out=None)
    return parser


def _give(arguments: argparse.Namespace) -> int:
    """Sign the order, write it to the registry, and see what comes of it."""
    with required("giving orders"):
        from cloud_bridge.fleet.controller import order
        from cloud_bridge.fleet.registry import Job
        from cloud_bridge.signing import read_private, sign

        keys = [read_private(path) for path in arguments.key]
    spec, command = options.written(arguments), arguments.order(arguments)
    if arguments.detach and arguments.out is not None:
        raise InputError("--out takes what comes back, and --detach does not wait for it: leave out one of the two")
    with open_registry(arguments) as registry:
        pace, fleet = options.pace(arguments), options.fleet(registry)
        targets = plan.targets_of(options.targets(arguments), pace)
        if spec is None:
            meant = plan.chosen(targets, fleet)
            spec = plan.rollout(meant, pace)
        else:
            meant = plan.written(spec, fleet)
            targets = plan.Targets(things=tuple(each.thing for each in meant))
        document = written(command, arguments.id, *plan.addressed(targets, meant), time.time(), arguments.expires)
        name, data = document.job_id, encode_document(document)
        job = Job(name, data, sign(document, *keys), spec, document.issued_at, document.expires_at)
        try:
            if not order(registry, job):
                raise InputError(f"job {name} is there already: `cloud-bridge fleet jobs {name}` tells how it stands")
            if not arguments.detach:
                follow.follow(registry, name, arguments.registry)
        except KeyboardInterrupt:
            follow.interrupted(registry, name)
            raise
        return follow.tell(registry, name, as_json=arguments.json, out=arguments.out, ordered=arguments.detach)


def written(
    command: Command, name: str | None, things: tuple[str, ...], groups: tuple[str, ...], now: float, life: float
) -> Document:
    """An order that holds from now on. Raises InputError for one that no device would take."""
    job = name or f"{command.__struct_config__.tag}-{secrets.token_hex(4)}"
    document = Document(job_id=job, issued_at=now, expires_at=now + life, things=things, groups=groups, command=command)
    encode_document(document)
    return document


def _deploy(arguments: argparse.Namespace) -> Command:
    from cloud_bridge.artifacts.bundle import target_path

    model, version = arguments.model, arguments.version
    if (arguments.repository is None) == (arguments.digest is None):
        raise InputError("say what is to run: --repository DIR, where the bundle is, or --digest SHA256")
    digest = arguments.digest or _published(arguments.repository, model, version)
    return Deploy(
        model=model,
        version=version,
        digest=digest,
        target=target_path(model, version),
        health=_health(arguments),
        soak=arguments.soak,
        tune=arguments.tune,
    )


def _published(folder: Path, model: str, version: str) -> str:
    """The digest of a bundle that devices can fetch. Raises InputError."""
    with required("a repository"):
        from cloud_bridge.artifacts.repository import Repository

    repository = Repository(folder, folder)  # no key is needed to read it
    publish = f"cloud-bridge repository publish {folder} --keys DIR"
    name = check_name(model), check_version(version)
    for bundle in repository.published(time.time()):
        if (bundle.name, bundle.version) == name:
            return bundle.digest
    if any((bundle.name, bundle.version) == name for bundle in repository.bundles()):
        raise InputError(f"{model} {version} is in {folder}, and not published: {publish}")
    versions = ", ".join(bundle.version for bundle in repository.bundles() if bundle.name == model)
    raise InputError(
        f"{folder} has {f'versions {versions} of {model}' if versions else f'no {model}'}, and no {version}: "
        f"cloud-bridge repository add {folder} BUNDLE --keys DIR, then {publish}"
    )


def _activate(arguments: argparse.Namespace) -> Command:
    return Activate(model=arguments.model, version=arguments.version, health=_health(arguments), soak=arguments.soak)


def _rollback(arguments: argparse.Namespace) -> Command:
    return Rollback(model=arguments.model)


def _bench(arguments: argparse.Namespace) -> Command:
    return Benchmark(
        models=tuple(arguments.models), runs=arguments.runs, seconds=arguments.seconds, device=arguments.device
    )


def _tune(arguments: argparse.Namespace) -> Command:
    objective = Objective(arguments.objective, arguments.busy, arguments.max_memory, arguments.rate, arguments.watts)
    return Tune(
        models=tuple(arguments.models), objective=objective, device=arguments.device, timeout=arguments.load_timeout
    )


def _collect_log(arguments: argparse.Namespace) -> Command:
    return CollectLog(most=arguments.most)


def _health(arguments: argparse.Namespace) -> Health:
    return Health(p99=arguments.p99, failures=arguments.failures)
