"""A wall clock that jumps, for one process: a library loaded before libc, which adds an hour while a file is there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HOUR = 3600

_SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t ahead(void) {
    const char *flag = getenv("CLOCK_AHEAD");
    return flag && !access(flag, F_OK) ? HOUR : 0;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += ahead();
    return failed;
}

int gettimeofday(struct timeval *at, void *zone) {
    static int (*real)(struct timeval *, void *);
    if (!real) real = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
    int failed = real(at, zone);
    if (!failed) at->tv_sec += ahead();
    return failed;
}

time_t time(time_t *out) {
    struct timeval at;
    gettimeofday(&at, NULL);
    if (out) *out = at.tv_sec;
    return at.tv_sec;
}
"""


class Clock:
    """What `CLOCK_REALTIME` says to processes that are started with `prefix`."""

    def __init__(self, folder: Path) -> None:
        self._flag = folder / "ahead"
        source, library = folder / "clock.c", folder / "clock.so"
        source.write_text(_SOURCE.replace("HOUR", str(HOUR)))
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)  # noqa: S603, S607
        self.prefix = ("env", f"LD_PRELOAD={library}", f"CLOCK_AHEAD={self._flag}")

    def jump(self) -> None:
        """An hour ahead."""
        self._flag.touch()

    def back(self) -> None:
        """And back again."""
        self._flag.unlink()


def can_jump() -> bool:
    """Whether there is a compiler for it."""
    return shutil.which("cc") is not None
