"""Whether what is desired of a device, what it reports, and how it is have come to agree. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.chaos.device import MODEL
from cloud_bridge.protocol.fleet.shadow import CONFIG, MODELS, Section, Shadow, difference


def apart(name: str, wanted: Section, shadow: Shadow, active: str | None, moved: bool) -> Iterator[str]:
    """In words, what does not agree. `wanted` is all that an operator ever desired, merged; `active` the version on the
    disk; `moved` whether a job has given the device another version, which ends a wish for one."""
    if not shadow.version:
        yield f"there is no shadow {name}"
    elif name == CONFIG:
        yield from _config(wanted, shadow)
    elif name == MODELS:
        yield from _models(wanted, shadow, active, moved)


def _config(wanted: Section, shadow: Shadow) -> Iterator[str]:
    if wanted != shadow.desired:
        yield f"{wanted} was desired, and the registry has {shadow.desired}"
    budgets: Mapping[str, Any] = shadow.desired.get("budgets", {})
    bad = {model for model, budget in budgets.items() if budget <= 0.0}
    good = {**shadow.desired, "budgets": {model: budget for model, budget in budgets.items() if model not in bad}}
    if missing := difference(good, shadow.reported):
        yield f"{missing} is desired, and {shadow.reported} reported"
    if extra := set(shadow.reported.get("budgets", {})) - set(good["budgets"]):
        yield f"a budget of {extra} is reported, which nobody desires"
    if set(shadow.reported.get("refused", {})) != bad:
        yield f"{bad} cannot be taken, and {shadow.reported.get('refused')} is refused"


def _models(wanted: Section, shadow: Shadow, active: str | None, moved: bool) -> Iterator[str]:
    wish, held = wanted.get("active", {}).get(MODEL), shadow.desired.get("active", {}).get(MODEL)
    if held != wish and not (held is None and moved):
        yield f"version {wish} was desired, and the registry has {held}"
    if shadow.reported.get("active") != {MODEL: active}:
        yield f"{active} is active, and {shadow.reported.get('active')} reported"
    refused = shadow.reported.get("refused", {}).get(MODEL, "")
    if held is not None and held != active and not refused.startswith(f"{held}: "):
        yield f"{held} is desired, {active} is active, and {refused or 'nothing'} is refused"
    if refused and (held is None or held == active):
        yield f"{held} is desired, {active} is active, and yet refused is {refused}"
