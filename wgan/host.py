"""CPU cores that this process may use, and the memory that it holds."""

import math
import os
import sys
from pathlib import Path

MIB = 2**20

MAX_THREADS = 1024
"""An upper bound for options that set a number of threads: each thread takes memory."""

ROOT = Path("/")
"""The folder that contains `/proc` and `/sys`; tests use another."""

# glibc's malloc.h, for mallopt
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def usable_cores(root: Path = ROOT) -> int:
    """Return the number of cores that this process may keep busy, at least 1.

    The minimum of the cores that it may run on (affinity, cpuset) and the CPU quota of its
    cgroups, rounded up: two threads make the best use of a quota of 1.5 cores.
    """
    if hasattr(os, "sched_getaffinity"):  # Linux
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quotas = map(_cpu_quota, _cpu_cgroups(root))  # every ancestor may set a limit
    limits = [math.ceil(quota) for quota in quotas if quota is not None]
    return max(1, min([cores, *limits]))


def peak_memory() -> int | None:
    """Return the process's largest resident memory so far, in bytes; None if unknown."""
    # Not getrusage on Linux: there a process inherits the peak of its parent.
    return _proc_status("VmHWM") if sys.platform == "linux" else _getrusage_peak()


def resident_memory() -> int | None:
    """Return the process's resident memory in bytes; the peak where only that is known."""
    return _proc_status("VmRSS") if sys.platform == "linux" else _getrusage_peak()


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


def need_no_temporary_folder() -> None:
    """Let PyTorch work where there is no folder for temporary files, or none that can be written.

    PyTorch asks for it when it is imported, and makes a folder for compiled code, used or not.
    """
    import tempfile  # slow to import

    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = os.sep  # exists, and is not written to
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.sep)


def _cpu_cgroups(root: Path) -> list[Path]:
    """Folders of the CPU cgroups of this process and of their ancestors; some may not exist."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found: list[Path] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            top = root / "sys/fs/cgroup"
        elif "cpu" in controllers.split(","):
            top = root / "sys/fs/cgroup/cpu"
        else:
            continue
        # In a container the path may be the host's, and then only the top folder exists.
        parts = Path(path.lstrip("/")).parts
        found += [top.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
    return found


def _cpu_quota(folder: Path) -> float | None:
    """CPU quota of a cgroup in cores; None without a limit."""
    try:
        if (folder / "cpu.max").exists():  # version 2
            quota, period = (folder / "cpu.max").read_text().split()
            return int(quota) / int(period)  # a quota of "max" raises ValueError
        limit = int((folder / "cpu.cfs_quota_us").read_text())
        return limit / int((folder / "cpu.cfs_period_us").read_text()) if limit > 0 else None
    except (OSError, ValueError):
        return None


def _proc_status(key: str) -> int | None:
    """Bytes that `/proc/self/status` gives for `key`; None where the kernel hides it (gVisor)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return None


def _getrusage_peak() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB elsewhere
