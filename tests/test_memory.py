"""What malloc is told to keep, and what a container leaves a process."""

import platform
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, run
from wgan.memory import MIB, free_in_groups, free_memory

STEPS = """
import resource, sys, torch
from wgan.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():  # blocks of 40 MiB, which glibc always gives back by itself
    blocks = [torch.ones(10 * 2**20) for _ in range(2)]
for _ in range(20):  # the holes that alignment leaves are large enough after five or so
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc is what is told")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    faults = {}
    for what in ("keep", "give"):
        done = run([sys.executable, "-c", STEPS, what], ROOT)
        assert done.returncode == 0, done.stderr
        faults[what] = int(done.stdout)
    assert 2 * faults["keep"] < faults["give"]


def write(path: Path, memory__stat: str = "anon 4096", **files: str) -> None:
    """Write a folder's files as the kernel shows them; `__` stands for a point in their names."""
    path.mkdir(parents=True, exist_ok=True)
    for name, text in {"memory__stat": memory__stat, **files}.items():
        (path / name.replace("__", ".")).write_text(text + "\n")


def stat(key: str, size: int) -> str:
    return f"anon 4096\nfile 12288\n{key} {size}"


def of_process(root: Path, lines: str) -> Path:
    write(root / "proc/self", cgroup=lines)
    return root


def test_no_group_is_no_limit(tmp_path: Path) -> None:
    assert free_in_groups(tmp_path) is None


def test_a_container_sees_its_own_limit_at_the_top(tmp_path: Path) -> None:
    root = of_process(tmp_path, "0::/")
    write(root / "sys/fs/cgroup", memory__max=str(512 * MIB), memory__current=str(200 * MIB))
    assert free_in_groups(root) == 312 * MIB


def test_files_that_the_kernel_only_caches_are_free(tmp_path: Path) -> None:
    root = of_process(tmp_path, "0::/")
    write(
        root / "sys/fs/cgroup",
        memory__max=str(512 * MIB),
        memory__current=str(500 * MIB),
        memory__stat=stat("inactive_file", 300 * MIB),
    )
    assert free_in_groups(root) == 312 * MIB


def test_a_group_without_a_limit_is_held_to_the_one_above_it(tmp_path: Path) -> None:
    root = of_process(tmp_path, "0::/user.slice/run.scope")
    mount = root / "sys/fs/cgroup"
    write(mount / "user.slice/run.scope", memory__max="max", memory__current=str(50 * MIB))
    write(mount / "user.slice", memory__max=str(100 * MIB), memory__current=str(70 * MIB))
    write(mount, memory__stat=stat("inactive_file", 0))
    assert free_in_groups(root) == 30 * MIB


def test_more_than_the_limit_leaves_nothing(tmp_path: Path) -> None:
    root = of_process(tmp_path, "0::/")
    write(root / "sys/fs/cgroup", memory__max=str(MIB), memory__current=str(2 * MIB))
    assert free_in_groups(root) == 0


@pytest.mark.parametrize("folder", ["sys/fs/cgroup/memory/docker/abc", "sys/fs/cgroup/memory"])
def test_the_first_version_is_read_under_its_path_or_at_the_top(
    tmp_path: Path, folder: str
) -> None:
    root = of_process(tmp_path, "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc")
    write(
        root / folder,
        memory__limit_in_bytes=str(256 * MIB),
        memory__usage_in_bytes=str(100 * MIB),
        memory__stat=stat("total_inactive_file", 10 * MIB),
    )
    assert free_in_groups(root) == 166 * MIB


def test_no_limit_of_the_first_version_is_far_more_than_there_is(tmp_path: Path) -> None:
    root = of_process(tmp_path, "4:memory:/")
    write(
        root / "sys/fs/cgroup/memory",
        memory__limit_in_bytes=str(2**63 - 4096),
        memory__usage_in_bytes=str(MIB),
    )
    found = free_in_groups(root)
    assert found is not None
    assert found > 2**60


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_what_is_free_is_not_more_than_the_groups_allow() -> None:
    allowed, free = free_in_groups(), free_memory()
    assert free is not None
    assert allowed is None or free <= allowed + 256 * MIB  # others take and give meanwhile
