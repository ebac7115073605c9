"""Lets one process see another time of day than the others do.

libfaketime is loaded into the process by the dynamic linker: that works for programs that ask the C
library for the time (Python, Node.js, Java, Ruby, Rust, C), on Linux; not for static ones (Go).
Monotonic clocks are left alone, as a wrong clock on another machine leaves them.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path


def library() -> Path | None:
    """libfaketime's library for this machine, if there is one."""
    if not sys.platform.startswith("linux"):
        return None
    spec = importlib.util.find_spec("libfaketime")
    places = [*Path("/usr/lib").glob("*-linux-gnu/faketime/libfaketime.so.1")]
    if spec is not None and spec.origin is not None:
        places.append(Path(spec.origin).parent / "vendor/libfaketime/src/libfaketime.so.1")
    return next((place for place in places if place.is_file()), None)


def skewed(seconds: float) -> dict[str, str]:
    """Environment of a process whose clock is `seconds` ahead; empty where that cannot be done."""
    found = library()
    if found is None:
        return {}
    return {
        "LD_PRELOAD": str(found),
        "FAKETIME": f"{seconds:+.3f}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def left_in_memory(pid: int, env: Mapping[str, str]) -> list[Path]:
    """Files that libfaketime, if `env` loads it, makes for a process and that outlive a kill."""
    if "FAKETIME" not in env:
        return []
    return [Path(f"/dev/shm/faketime_shm_{pid}"), Path(f"/dev/shm/sem.faketime_sem_{pid}")]  # noqa: S108


def time_of_day(date_header: str | None) -> float | None:
    """What an HTTP Date header says, in seconds since 1970, to the second."""
    try:
        return parsedate_to_datetime(date_header).timestamp() if date_header else None
    except ValueError:
        return None
