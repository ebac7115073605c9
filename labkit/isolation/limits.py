"""What a container of a submission may do and use: nothing that serving requests does not need."""

from __future__ import annotations

import os
from typing import Any

from docker.types import LogConfig, Ulimit

CPUS = 2
MEMORY_MIB = 512
PROCESSES = 256
TMP_MIB = 64
SHARED_MEMORY_MIB = 16
# Not root, and nobody that an image is likely to give files to.
USER, PORTER = 65532, 65533


def confined(*, memory_mib: int, processes: int) -> dict[str, Any]:
    """What holds for every container of an isolated grading, as docker-py calls it."""
    return {
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "pids_limit": processes,
        "mem_limit": f"{memory_mib}m",
        "memswap_limit": f"{memory_mib}m",
        "nano_cpus": min(CPUS, os.cpu_count() or 1) * 10**9,
        "ipc_mode": "private",
        "shm_size": f"{SHARED_MEMORY_MIB}m",
        "ulimits": [Ulimit(name="core", soft=0, hard=0)],
        # Output is read as it is written; the engine would keep all of it on its disk as well.
        "log_config": LogConfig(type=LogConfig.types.NONE),
        "healthcheck": {"test": ["NONE"]},
    }


def tmpfs() -> str:
    """Options of a folder that can be written: in memory, and counted as memory."""
    return f"rw,exec,nosuid,nodev,size={TMP_MIB}m,mode=1777"


def spelled() -> str:
    """The limits as arguments of `docker run`."""
    return (
        f"--network none --read-only --tmpfs /tmp --cap-drop ALL --memory {MEMORY_MIB}m"
        f" --pids-limit {PROCESSES}"
    )
