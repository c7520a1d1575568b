"""What all tests share: where the project is, the packages that carry the models, and a store built from them."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from edge_runtime.bundles.store import Store
from edge_runtime.profile import PROFILE

# A slow example on a busy machine is no failure: nothing here tests speed.
settings.register_profile("project", settings(), deadline=None)
settings.load_profile("project")


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end, and need not be looked through by each garbage collection: a
    measurement begins with one, which took 0.1 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def packages(root: Path) -> Path:
    """The folder of the packages that carry models and inputs."""
    folder = root / ".packages"
    if not folder.is_dir():
        pytest.fail(f"{folder} is missing: run `make store`")
    return folder


@pytest.fixture(scope="session")
def store(root: Path, packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with every model of the zoo: a copy of the one that `make store` built, with what that lacks built now."""
    from models.build import build
    from models.recipe import load, names

    copy = tmp_path_factory.mktemp("zoo") / "store"
    if (root / "store").is_dir():
        shutil.copytree(root / "store", copy, ignore=shutil.ignore_patterns(PROFILE, ".lock", ".staging-*"))
    store = Store(copy, create=True)
    for name in names():
        build(load(name), packages, store)
    return store
