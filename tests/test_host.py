"""Cores that this process may use, and memory that malloc keeps."""

import os
import platform
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, run
from wgan.host import usable_cores

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

STEPS = """
import resource, sys, torch
from wgan.host import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():  # blocks of 40 MiB, which glibc always returns to the kernel
    blocks = [torch.ones(10 * 2**20) for _ in range(2)]
for _ in range(20):  # the holes that alignment leaves are large enough after five or so
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's malloc")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    faults = {}
    for what in ("keep", "give"):
        done = run([sys.executable, "-c", STEPS, what], ROOT)
        assert done.returncode == 0, done.stderr
        faults[what] = int(done.stdout)
    assert 2 * faults["keep"] < faults["give"]


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_without_cgroups_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == CORES


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"},
        {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "100000 100000\n"},
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/cpu.max": "800000 100000\n",
            "sys/fs/cgroup/a/b/cpu.max": "100000 100000\n",
        },
        {
            "proc/self/cgroup": "9:memory:/x\n4:cpu,cpuacct:/x\n",
            "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "100000\n",
            "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
        },
    ],
    ids=["half a core", "a folder above", "the smallest", "version 1"],
)
def test_a_cgroup_quota_limits_the_cores(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, files)
    assert usable_cores(tmp_path) == 1


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"},
        {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "rubbish\n"},
        {
            "proc/self/cgroup": "4:cpu,cpuacct:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    ],
    ids=["no limit", "unreadable", "version 1 without limit"],
)
def test_no_quota_leaves_all_cores(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, files)
    assert usable_cores(tmp_path) == CORES


@pytest.mark.skipif(CORES < 2, reason="needs two cores")
def test_a_fractional_quota_is_rounded_up(tmp_path: Path) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"})
    assert usable_cores(tmp_path) == 2
