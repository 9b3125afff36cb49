"""How much memory this process has used, may use, and gives back."""

import ctypes
import sys
from pathlib import Path

from wgan.cgroups import ROOT, Version, group_folders

MIB = 2**20

# Of glibc's malloc.h, for mallopt.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4

_GROUP_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
"""Of a control group, by version: the limit, what is taken, and of its `memory.stat` what of that
is files that nobody has used of late."""


def peak_memory() -> int | None:
    """The most bytes of memory that the process has held at once; None where nobody counts.

    Linux's `getrusage` is not asked: a process inherits its parent's peak there.
    """
    return _proc_status("VmHWM") if sys.platform == "linux" else _peak_by_getrusage()


def memory_now() -> int | None:
    """Bytes of memory that the process holds now; the peak where only that is known."""
    return _proc_status("VmRSS") if sys.platform == "linux" else _peak_by_getrusage()


def keep_freed_memory() -> bool:
    """Let this process keep what its tensors on the CPU free, for those of the next step.

    glibc gives large blocks back to the kernel at once, and a step's activations come back as new
    pages, each of which the kernel fills with zeros first. Returns whether that could be arranged;
    the process then holds its peak until it ends.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    return mallopt is not None and bool(
        mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    )


def free_memory() -> int | None:
    """Bytes that the process may still take; None where that cannot be told.

    The least of what the machine has, `ulimit -v` and a container's limit leave.
    """
    if sys.platform != "linux":
        return None
    known = [_free_of_the_machine(), _free_of_the_limit(), free_in_groups()]
    return min((bytes_ for bytes_ in known if bytes_ is not None), default=None)


def free_in_groups(root: Path = ROOT) -> int | None:
    """Bytes that the process's control groups still allow; None where none sets a limit.

    `root` is where `/proc` and `/sys` are looked for.
    """
    found = [_free_in_group(*each) for each in group_folders("memory", root)]
    return min((free for free in found if free is not None), default=None)


def _free_in_group(version: Version, folder: Path) -> int | None:
    limit, used, cached = _GROUP_FILES[version]
    try:
        most = int((folder / limit).read_text())  # "max" is no limit
        taken = int((folder / used).read_text())
        stat = (folder / "memory.stat").read_text().split()
    except (OSError, ValueError):
        return None
    # Before it lets a process die, the kernel forgets files that it has cached.
    forgettable = dict(zip(stat[::2], stat[1::2], strict=False)).get(cached, "0")
    return max(0, most - taken + int(forgettable))


def _free_of_the_machine() -> int | None:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _free_of_the_limit() -> int | None:
    """What is left of the address space that `ulimit -v` allows; None without a limit."""
    import resource

    limit, held = resource.getrlimit(resource.RLIMIT_AS)[0], _proc_status("VmSize")
    return None if limit == resource.RLIM_INFINITY or held is None else max(0, limit - held)


def _proc_status(key: str) -> int | None:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return None  # a kernel that hides it, as gVisor does


def _peak_by_getrusage() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
