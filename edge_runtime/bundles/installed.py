"""The bundles of a store as a reader sees them. All that a runtime needs: it changes nothing, and imports little."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edge_runtime.bundles.bundle import Bundle, State, read_bundle
from edge_runtime.bundles.manifest import MANIFEST, check_name, check_version
from edge_runtime.errors import BundleError, ManifestError, NotInstalledError
from edge_runtime.whole import Stamp, stamp

STATE = "state.json"

_decoder = msgspec.json.Decoder(State)
"""Made here, as in `manifest`: two threads must not be the first to read a type, at the same moment."""


class Installed:
    """The bundles installed in a folder. `bundles.store.Store` is the same with the means to change it."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._states: dict[str, tuple[Stamp, State]] = {}
        if not self.path.is_dir():
            raise BundleError(f"there is no store at {self.path}; make one with Store(path, create=True)")

    def names(self) -> tuple[str, ...]:
        """The models that have a version here, sorted."""
        with disk(f"cannot read the store at {self.path}"):
            folders = sorted(entry.name for entry in os.scandir(self.path) if entry.is_dir())
        return tuple(name for name in folders if _can_be(check_name, name) and self.versions(name))

    def versions(self, name: str) -> tuple[str, ...]:
        """The installed versions of a model, oldest first; () if there is none."""
        folder = self.path / check_name(name)
        with disk(f"cannot read the versions of {name}"):
            found = [v for v in os.listdir(folder) if _can_be(check_version, v)] if folder.is_dir() else []
            return tuple(sorted((version for version in found if (folder / version / MANIFEST).is_file()), key=order))

    def active(self, name: str) -> str | None:
        """The active version of a model, if one is."""
        return self._state(name).active

    def trial(self, name: str) -> str | None:
        """The active version of a model, if it is on trial."""
        state = self._state(name)
        return state.active if state.trial else None

    def before(self, name: str) -> str:
        """The version that a rollback brings back. Raises NotInstalledError if none was active before."""
        back = self._state(name).rollback().active
        assert back is not None  # noqa: S101  (a history holds versions)
        return back

    def bundle(self, name: str, version: str | None = None) -> Bundle:
        """An installed version, the active one if none is named. Raises NotInstalledError."""
        version = version or self.active(name)
        if version is None:
            raise self._missing(name)
        folder = self.path / check_name(name) / check_version(version)
        with disk(f"cannot read {name} {version}"):
            if not (folder / MANIFEST).is_file():
                raise self._missing(name, version)
        bundle = read_bundle(folder)
        if (bundle.manifest.name, bundle.manifest.version) != (name, version):
            raise BundleError(f"{folder} holds {bundle.manifest.name} {bundle.manifest.version}: the store is damaged")
        return bundle

    def _state(self, name: str) -> State:
        file = f"{self.path}/{check_name(name)}/{STATE}"
        if (key := stamp(file)) is None:
            return self._read_state(Path(file))
        if (kept := self._states.get(name)) is None or kept[0] != key:
            kept = self._states[name] = key, self._read_state(Path(file))
        return kept[1]

    def _read_state(self, file: Path) -> State:
        with disk(f"cannot read {file}"):
            try:
                return _decoder.decode(file.read_bytes())
            except FileNotFoundError:
                return State()
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise BundleError(f"{file} is damaged ({error}): delete it and activate a version") from error

    def _missing(self, name: str, version: str | None = None) -> NotInstalledError:
        versions = self.versions(name)
        if not versions:
            known = ", ".join(self.names()) or "nothing"
            return NotInstalledError(f"{name} is not installed in {self.path}, which holds {known}")
        if version is None:
            return NotInstalledError(f"no version of {name} is active; installed are {', '.join(versions)}: activate one")
        return NotInstalledError(f"{name} {version} is not installed; installed are {', '.join(versions)}")


def _can_be(check: Callable[[str], str], name: str) -> bool:
    """Whether a folder can be a model's or a version's. A disk has others too: "lost+found", a copy that somebody made."""
    try:
        check(name)
    except ManifestError:
        return False
    return True


def order(version: str) -> tuple[tuple[int, ...], int, str]:
    """The key that sorts versions: by number, "-tag" before the plain one, "+tag" after it."""
    numbers, sign, tag = re.fullmatch(r"([0-9.]*)(\W?)(.*)", version).groups()  # type: ignore[union-attr]
    return tuple(int(number) for number in numbers.split(".") if number), {"-": 0, "": 1}.get(sign, 2), tag


@contextmanager
def disk(trouble: str) -> Iterator[None]:
    """What an operating system's error becomes."""
    try:
        yield
    except OSError as error:
        raise BundleError(f"{trouble}: {error}") from error
