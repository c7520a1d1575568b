"""Where a device's bundles come from: a repository that its operator signs, trusted by the root that came with it."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from cloud_bridge.agent.deploy import Fetch
from cloud_bridge.extra import check_installed
from edge_runtime.errors import InputError

if TYPE_CHECKING:
    from cloud_bridge.artifacts.trusted import Trusted

LIMIT = 6 * 3600.0
"""Seconds after which a bundle that is not there is given up, if nothing else is said."""


def source(
    folder: Path, url: str | None, root: str | Path | None, limit: float = LIMIT, *, rate: float | None = None,
    spare: int | None = None,
) -> Fetch:  # fmt: skip
    """What fetches bundles from the repository at `url` into `folder`, trusted by the file `root`: each within `limit`
    seconds, or LateError; what has come by then is there the next time. At most `rate` bytes come in a second, and `spare`
    bytes of the disk stay free (None: see Terms). Raises InputError for what cannot be used."""
    if (url is None) != (root is None):
        raise InputError(
            "bundles come from a repository, trusted by a root: give both its URL and its root.json, or neither"
        )
    if not limit > 0.0:
        raise InputError(f"{limit} seconds for a download: give more than none")
    if (rate is not None and not rate > 0.0) or (spare is not None and spare < 0):
        raise InputError(
            f"a download at {rate} bytes a second that leaves {spare} free: give a rate above 0, and none below"
        )
    if url is None or root is None:
        return _nowhere
    check_installed("fetching bundles from a repository", "tuf")
    try:
        trust = Path(root).read_bytes()
    except OSError as error:
        raise InputError(f"the root of the repository cannot be read at {root}: {error.strerror}") from error
    return Source(folder, url, trust, limit, rate, spare).fetch


class Source:
    """A repository, not asked for anything yet."""

    def __init__(
        self, folder: Path, url: str, trust: bytes, limit: float, rate: float | None, spare: int | None
    ) -> None:  # fmt: skip
        self._folder, self._url, self._trust, self._limit = folder, url, trust, limit
        self._rate, self._spare = rate, spare
        self._trusted: Trusted | None = None

    def fetch(self, target: str, halt: Event) -> Path:
        """The verified file of a target. Raises an EdgeError."""
        from cloud_bridge.artifacts.download import Terms
        from cloud_bridge.artifacts.trusted import Trusted  # here: who waits for orders needs no tuf

        if self._trusted is None:
            terms = Terms(self._rate) if self._spare is None else Terms(self._rate, self._spare)
            self._trusted = Trusted(self._folder, self._trust, self._url, terms=terms)
        deadline = time.monotonic() + self._limit
        self._trusted.refresh(deadline=deadline, cancel=halt)
        found = self._trusted.find_path(target, deadline=deadline, cancel=halt)
        return self._trusted.download(found, deadline=deadline, cancel=halt)


def _nowhere(target: str, halt: Event) -> Path:
    raise InputError(
        f"{target} cannot be fetched: this device's agent was given no repository (--artifacts, --root-metadata)"
    )
