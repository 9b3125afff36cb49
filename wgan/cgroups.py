"""The control groups of this process, by which containers and systemd limit it on Linux."""

from pathlib import Path
from typing import Literal

Version = Literal[1, 2]
"""Of the kernel's interface: its files have other names."""

ROOT = Path("/")
"""Where `/proc` and `/sys` are."""


def group_folders(controller: str, root: Path = ROOT) -> list[tuple[Version, Path]]:
    """The folders of the process's control groups and of those above them: each may set limits.

    Nothing where there are no control groups; not every folder needs to be there.

    Args:
        controller: what is limited, "cpu" or "memory".
        root: where `/proc` and `/sys` are looked for.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    return [found for line in lines for found in _along(line, controller, root)]


def _along(line: str, controller: str, root: Path) -> list[tuple[Version, Path]]:
    """The folders on the path that a line of `/proc/self/cgroup` names."""
    _, controllers, path = line.split(":", 2)
    version: Version
    if controllers == "":
        version, top = 2, root / "sys/fs/cgroup"
    elif controller in controllers.split(","):
        version, top = 1, root / "sys/fs/cgroup" / controller
    else:
        return []
    # Inside a container the path may be the host's, and then only the top is there.
    parts = Path(path.lstrip("/")).parts
    return [(version, top.joinpath(*parts[:depth])) for depth in range(len(parts) + 1)]
