"""Limits and use of this machine: CPU cores and memory, as affinity and containers allow."""

import math
import os
import sys
from pathlib import Path
from typing import Literal

MIB = 2**20

MAX_THREADS = 1024
"""An upper bound for options that set a number of threads: each thread takes memory."""

ROOT = Path("/")
"""The folder that contains `/proc` and `/sys`; tests use another."""

# glibc's malloc.h, for mallopt
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4

_MEMORY_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
"""By cgroup version: the limit, the usage, and the key in `memory.stat` of reclaimable cache."""


def usable_cores(root: Path = ROOT) -> int:
    """Return the number of cores that this process may keep busy, at least 1.

    The minimum of the cores that it may run on (affinity, cpuset) and the CPU quota of its
    cgroups, rounded up: two threads make the best use of a quota of 1.5 cores.
    """
    if hasattr(os, "sched_getaffinity"):  # Linux
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quotas = [_cpu_quota(version, folder) for version, folder in _cgroups("cpu", root)]
    limits = [math.ceil(quota) for quota in quotas if quota is not None]
    return max(1, min([cores, *limits]))


def peak_memory() -> int | None:
    """Return the process's largest resident memory so far, in bytes; None if unknown."""
    # Not getrusage on Linux: there a process inherits the peak of its parent.
    return _proc_status("VmHWM") if sys.platform == "linux" else _getrusage_peak()


def resident_memory() -> int | None:
    """Return the process's resident memory in bytes; the peak where only that is known."""
    return _proc_status("VmRSS") if sys.platform == "linux" else _getrusage_peak()


def free_memory() -> int | None:
    """Return how many bytes this process may still allocate; None if unknown.

    The minimum of the machine's available memory and what `ulimit -v` and the cgroups allow.
    """
    if sys.platform != "linux":
        return None
    limits = [_available_memory(), _free_address_space(), free_cgroup_memory()]
    return min((limit for limit in limits if limit is not None), default=None)


def free_cgroup_memory(root: Path = ROOT) -> int | None:
    """Return how many bytes the process's cgroups still allow; None without a limit."""
    found = [_free_in_cgroup(version, folder) for version, folder in _cgroups("memory", root)]
    return min((free for free in found if free is not None), default=None)


def keep_freed_memory() -> bool:
    """Make malloc keep freed memory for the next training step; return whether that worked.

    By default glibc returns large blocks to the kernel, which zeroes each page again before the
    next step can use it. Afterwards the process keeps its peak memory until it exits.
    """
    if sys.platform != "linux":
        return False
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc only
    return mallopt is not None and bool(
        mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    )


def _cgroups(controller: str, root: Path) -> list[tuple[Literal[1, 2], Path]]:
    """Version and folder of each cgroup of this process and of its ancestors.

    Every ancestor may set a limit. Some of the folders may not exist.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found: list[tuple[Literal[1, 2], Path]] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        version: Literal[1, 2] = 1
        if controllers == "":
            version, top = 2, root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            top = root / "sys/fs/cgroup" / controller
        else:
            continue
        # In a container the path may be the host's, and then only the top folder exists.
        parts = Path(path.lstrip("/")).parts
        found += [(version, top.joinpath(*parts[:depth])) for depth in range(len(parts) + 1)]
    return found


def _cpu_quota(version: Literal[1, 2], folder: Path) -> float | None:
    """CPU quota of a cgroup in cores; None without a limit."""
    try:
        if version == 2:
            quota, period = (folder / "cpu.max").read_text().split()
            return int(quota) / int(period)  # a quota of "max" raises ValueError
        limit = int((folder / "cpu.cfs_quota_us").read_text())
        return limit / int((folder / "cpu.cfs_period_us").read_text()) if limit > 0 else None
    except (OSError, ValueError):
        return None


def _free_in_cgroup(version: Literal[1, 2], folder: Path) -> int | None:
    limit, usage, cache = _MEMORY_FILES[version]
    try:
        free = int((folder / limit).read_text()) - int((folder / usage).read_text())
        stat = (folder / "memory.stat").read_text().split()
    except (OSError, ValueError):  # also a limit of "max"
        return None
    # The kernel drops cached files before it kills a process.
    reclaimable = dict(zip(stat[::2], stat[1::2], strict=False)).get(cache, "0")
    return max(0, free + int(reclaimable))


def _available_memory() -> int | None:
    return _proc_value(Path("/proc/meminfo"), "MemAvailable")


def _free_address_space() -> int | None:
    """What `ulimit -v` leaves; None without a limit."""
    import resource

    limit, used = resource.getrlimit(resource.RLIMIT_AS)[0], _proc_status("VmSize")
    return None if limit == resource.RLIM_INFINITY or used is None else max(0, limit - used)


def _proc_status(key: str) -> int | None:
    return _proc_value(Path("/proc/self/status"), key)


def _proc_value(path: Path, key: str) -> int | None:
    """Value of `key` in a file of `/proc`, in bytes; None where the kernel hides it (gVisor)."""
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return None


def _getrusage_peak() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB elsewhere
