"""`cloud-bridge tune`: how the endpoint of this machine answers most calls, by measurement."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import msgspec

from cloud_bridge.endpoint.opening import planned
from cloud_bridge.endpoint.plans import CACHE, FILE, Measured, Plans, load, save
from cloud_bridge.endpoint.tuning import measure
from edge_runtime.bundles.store import Bundle, Store
from edge_runtime.cli.shell import Commands, progress_bar, subcommand, table
from edge_runtime.errors import InputError
from edge_runtime.tuning import compiled


def add(commands: Commands) -> None:
    """Add the subcommand."""
    tune = subcommand(
        commands, "tune", "find by measurement how an endpoint here answers most calls: engine, threads, rows",
        "cloud-bridge tune store minilm ppocr_rec\n"
        "  cloud-bridge tune store --json",
    )  # fmt: skip
    tune.add_argument("store", type=Path, metavar="STORE")
    tune.add_argument("name", nargs="*", metavar="NAME", help="models (default: all that have an active version)")
    tune.add_argument("--json", action="store_true", help="print JSON")
    tune.set_defaults(command=_tune)


def _tune(arguments: argparse.Namespace) -> int:
    store = Store(arguments.store)
    path = store.path / FILE
    bundles = _bundles(store, arguments.name)
    save(load(path), path)  # what cannot be read or written is to be told now, not after minutes of measuring
    with progress_bar() as progress:
        for number, bundle in enumerate(bundles):

            def tell(what: str, share: float, name: str = bundle.manifest.name, before: int = number) -> None:
                progress(f"{name}: {what}", (before + share) / len(bundles))

            save(load(path).updated([measure(bundle, progress=tell)]), path)
    plans = load(path)
    _compile(store, plans)
    measured = [m for b in bundles for m in plans.models if (m.model, m.version) == (b.manifest.name, b.manifest.version)]
    if arguments.json:
        told = [{**_row(plans, m), "measured": msgspec.to_builtins(m)} for m in measured]
        print(json.dumps({"calls": plans.calls, "models": told}, indent=2))
        return 0
    rows = [tuple(_shown(value) for value in _row(plans, m).values()) for m in measured]
    table(("MODEL", "RUNS AS", "ROWS", "A SECOND", "BY ONE ROW", "A RUN (ms)"), rows)
    print(f"the endpoint will run {plans.calls} call{'s' * (plans.calls != 1)} at once, as it is started next: {path}")
    return 0


def _compile(store: Store, plans: Plans) -> None:
    """Keep what engines make of what was chosen, so that a start takes no compiling: of all models, for one that was tuned
    now may have changed the number of calls at once."""
    caches = store.path / CACHE
    for name in {model.model for model in plans.models} & set(store.names()):
        bundle = store.bundle(name)
        plan = plans.plan(bundle.manifest)
        candidate = None if plan is None else planned(bundle, plan)
        if plan is not None and candidate is not None and not (caches / plan.key.digest).is_dir():
            compiled.keep(bundle, candidate, plan.key, caches)
    compiled.prune(caches, [trial.key for model in plans.models for trial in model.trials])


def _bundles(store: Store, names: list[str]) -> list[Bundle]:
    """Those that an endpoint can run: it keeps no streams."""
    chosen = names or [name for name in store.names() if store.active(name) is not None]
    bundles = [store.bundle(name) for name in chosen]
    hidden = [bundle.manifest.name for bundle in bundles if bundle.manifest.signature.hidden_state]
    if names and hidden:
        raise InputError(
            f"{', '.join(hidden)} keeps its state inside and runs in streams only: an endpoint cannot serve it"
        )
    return [bundle for bundle in bundles if bundle.manifest.name not in hidden]


def _row(plans: Plans, measured: Measured) -> dict[str, object]:
    """What was chosen of a model."""
    plan = measured.best(plans.calls or 1)
    assert plan is not None  # noqa: S101  (each number of calls was tried, or the measuring raised)
    best, alone = plan.best, plan.points[0]
    return {
        "model": measured.model, "runs": plan.name, "rows": best.rows, "rate": best.rate, "alone": alone.rate,
        "milliseconds": best.seconds * 1e3,
    }  # fmt: skip


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
