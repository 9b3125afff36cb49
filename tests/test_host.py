"""Cores and memory that this process may use, and memory that malloc keeps."""

import os
import platform
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, run
from wgan.host import MIB, free_cgroup_memory, free_memory, usable_cores

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


def write_group(path: Path, memory__stat: str = "anon 4096", **files: str) -> None:
    """Write a folder's files as the kernel shows them; `__` is a dot in their names."""
    path.mkdir(parents=True, exist_ok=True)
    for name, text in {"memory__stat": memory__stat, **files}.items():
        (path / name.replace("__", ".")).write_text(text + "\n")


def stat(key: str, size: int) -> str:
    return f"anon 4096\nfile 12288\n{key} {size}"


def of_process(root: Path, lines: str) -> Path:
    write_group(root / "proc/self", cgroup=lines)
    return root


def test_memory_is_unlimited_without_a_cgroup(tmp_path: Path) -> None:
    assert free_cgroup_memory(tmp_path) is None


def test_a_container_finds_its_memory_limit_at_the_top(tmp_path: Path) -> None:
    root = of_process(tmp_path, "0::/")
    write_group(root / "sys/fs/cgroup", memory__max=str(512 * MIB), memory__current=str(200 * MIB))
    assert free_cgroup_memory(root) == 312 * MIB


def test_reclaimable_page_cache_counts_as_free(tmp_path: Path) -> None:
    root = of_process(tmp_path, "0::/")
    write_group(
        root / "sys/fs/cgroup",
        memory__max=str(512 * MIB),
        memory__current=str(500 * MIB),
        memory__stat=stat("inactive_file", 300 * MIB),
    )
    assert free_cgroup_memory(root) == 312 * MIB


def test_the_limit_of_a_parent_cgroup_applies(tmp_path: Path) -> None:
    root = of_process(tmp_path, "0::/user.slice/run.scope")
    mount = root / "sys/fs/cgroup"
    write_group(mount / "user.slice/run.scope", memory__max="max", memory__current=str(50 * MIB))
    write_group(mount / "user.slice", memory__max=str(100 * MIB), memory__current=str(70 * MIB))
    write_group(mount, memory__stat=stat("inactive_file", 0))
    assert free_cgroup_memory(root) == 30 * MIB


def test_usage_over_the_limit_leaves_no_free_memory(tmp_path: Path) -> None:
    root = of_process(tmp_path, "0::/")
    write_group(root / "sys/fs/cgroup", memory__max=str(MIB), memory__current=str(2 * MIB))
    assert free_cgroup_memory(root) == 0


@pytest.mark.parametrize("folder", ["sys/fs/cgroup/memory/docker/abc", "sys/fs/cgroup/memory"])
def test_cgroup_v1_is_read_at_its_path_or_at_the_top(tmp_path: Path, folder: str) -> None:
    root = of_process(tmp_path, "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc")
    write_group(
        root / folder,
        memory__limit_in_bytes=str(256 * MIB),
        memory__usage_in_bytes=str(100 * MIB),
        memory__stat=stat("total_inactive_file", 10 * MIB),
    )
    assert free_cgroup_memory(root) == 166 * MIB


def test_cgroup_v1_without_a_limit_reports_a_huge_one(tmp_path: Path) -> None:
    root = of_process(tmp_path, "4:memory:/")
    write_group(
        root / "sys/fs/cgroup/memory",
        memory__limit_in_bytes=str(2**63 - 4096),
        memory__usage_in_bytes=str(MIB),
    )
    found = free_cgroup_memory(root)
    assert found is not None
    assert found > 2**60


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups exist on Linux only")
def test_free_memory_is_at_most_what_the_cgroups_allow() -> None:
    allowed, free = free_cgroup_memory(), free_memory()
    assert free is not None
    assert allowed is None or free <= allowed + 256 * MIB  # others allocate meanwhile


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
