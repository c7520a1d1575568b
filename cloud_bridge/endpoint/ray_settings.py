"""Settings that Ray reads from the environment as it is imported: import this before. What is set already stays.

Replicas are processes of their own, and are given theirs.
"""

from __future__ import annotations

import os

SOON = {"RAY_timeout_ms_task_wait_for_death_info": "50", "RAY_core_worker_internal_heartbeat_ms": "50"}
"""A call whose replica hangs up is known to be lost after a tenth of a second, not after two, in which Ray waits to hear
why."""

DIRECT = {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0"}
"""What replicas run is asynchronous already: a call through Ray takes a third less without another thread."""

SILENT = {"RAY_USAGE_STATS_ENABLED": "0"}
"""Nothing is told to anybody."""

for name, value in {**SOON, **SILENT}.items():
    os.environ.setdefault(name, value)
