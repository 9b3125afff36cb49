"""How many CPU cores this process may use: affinity and cgroup limits respected."""

import math
import os
from pathlib import Path

from wgan.cgroups import ROOT, group_folders

THREADS_LIMIT = 1024
"""More threads than this help nowhere, and each takes memory."""


def usable_cores(root: Path = ROOT) -> int:
    """Count the cores that this process may keep busy, at least 1.

    The smaller of the cores it may run on (affinity, cpuset) and the CPU time that its control
    groups grant, rounded up: 1.5 cores' worth of time is used best by two threads. `root` is
    where `/proc` and `/sys` are looked for.
    """
    cores = _schedulable_cores()
    quota = _cgroup_cores(root)
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def _schedulable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cgroup_cores(root: Path) -> float | None:
    """The smallest CPU limit among the process's control groups and those above them, in cores."""
    limits = [
        _read_version_2(folder) if version == 2 else _read_version_1(folder)
        for version, folder in group_folders("cpu", root)
    ]
    return min((limit for limit in limits if limit is not None), default=None)


def _read_version_2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _read_version_1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 else None
