"""Where data is kept between runs."""

import os
from pathlib import Path

CACHE_VARIABLE = "WGAN_CACHE"
"""The environment variable that moves the folder below."""


def cache_folder() -> Path:
    """The folder of all that can be fetched or made again; `~/.cache/wgan` unless told otherwise.

    `$WGAN_CACHE` names it whole; `$XDG_CACHE_HOME` names the folder that it stands in.
    """
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wgan"


def datasets_folder() -> Path:
    """Where torchvision's data sets are looked for, and downloaded to."""
    return cache_folder() / "datasets"
