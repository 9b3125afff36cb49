"""What a benchmark ran on."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from wgan import __version__
from wgan.host import usable_cores


def describe_machine(*packages: str) -> str:
    """The processor, its usable cores and load, and the versions of Python and `packages`."""
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    return (
        f"{_processor()}, {usable_cores()} usable cores, load {os.getloadavg()[0]:.1f};"
        f" Python {platform.python_version()}, {versions}, wgan {__version__}"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
