"""How much memory this process has used."""

import sys
from pathlib import Path

MIB = 2**20


def peak_memory() -> int | None:
    """The most bytes of memory that the process has held at once; None where nobody counts.

    Linux's `getrusage` is not asked: a process inherits its parent's peak there.
    """
    return _proc_status("VmHWM") if sys.platform == "linux" else _peak_by_getrusage()


def memory_now() -> int | None:
    """Bytes of memory that the process holds now; the peak where only that is known."""
    return _proc_status("VmRSS") if sys.platform == "linux" else _peak_by_getrusage()


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
