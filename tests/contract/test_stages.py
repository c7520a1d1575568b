"""Where a call's time goes: every model of the zoo that has processing is timed before and after its engine."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.tiny import tiny_bundle
from edge_runtime import backends
from edge_runtime.backends.base import Session
from edge_runtime.bench.report import Stage
from edge_runtime.bench.stages import around, made_up, stages
from edge_runtime.bundles.bundle import Bundle
from edge_runtime.bundles.store import Store
from edge_runtime.engines import candidates, open_candidate
from edge_runtime.processing.kinds import checked
from models import recipe as recipes

PROCESSED = [name for name in recipes.names() if recipes.load(name).processing is not None]


def _opened(bundle: Bundle) -> Session:
    """The first way to run it here."""
    return open_candidate(bundle, candidates(bundle.manifest, backends.devices())[0])


@pytest.mark.parametrize("name", PROCESSED)
def test_what_is_made_up_goes_through_the_whole_call(store: Store, name: str) -> None:
    """It is of the kind that the model takes, and preparing and answering it take some time."""
    bundle = store.bundle(name)
    processing = bundle.manifest.processing
    assert processing is not None
    checked(processing.takes, made_up(processing, bundle.manifest.signature))
    with closing(_opened(bundle)) as session:
        parts = around(bundle, session, times=2)
    assert parts is not None
    assert min(parts) > 0.0


def test_a_bundle_without_processing_has_no_stages(tmp_path: Path) -> None:
    """Nor has an entry that was not measured."""
    bundle = tiny_bundle(tmp_path / "bundle")
    with closing(_opened(bundle)) as session:
        assert around(bundle, session) is None
    assert stages(None, 1.0) == stages((1.0, 1.0), None) == ()
    assert stages((1.0, 3.0), 2.0) == (Stage("prepare", 1.0), Stage("run", 2.0), Stage("answer", 3.0))
