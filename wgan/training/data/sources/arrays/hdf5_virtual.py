"""Virtual data sets of HDF5, whose values lie in data sets of other files."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wgan.errors import DataError

SAME_FILE = "."
"""Name that a virtual data set has for its own file."""

PREFIX = "HDF5_VDS_PREFIX"
"""Environment variable with folders, separated by colons, where HDF5 looks for the files."""


def check_virtual(path: Path, sets: Mapping[str, Any]) -> None:
    """Raise DataError if a data set lacks a source, for which HDF5 would return zeros.

    `sets` are h5py's data sets of the file `path`, by their names. Sources whose names are
    patterns, as `part%b.h5`, are not checked.
    """
    checked = set()
    for name, item in sets.items():
        for source in item.virtual_sources() if item.is_virtual else ():
            place = source.file_name, source.dset_name
            if place not in checked:
                problem = _problem(path, *place)
                if problem:
                    raise DataError(f"{path}: the virtual data set {name} has its values {problem}")
            checked.add(place)


def _problem(path: Path, file: str, name: str) -> str:
    """Return where the values are and why they cannot be read; empty if they can."""
    import h5py

    if "%" in file:
        return ""
    found = path if file == SAME_FILE else next(filter(Path.is_file, _places(path, file)), None)
    if found is None:
        advice = "put that file beside this one, or train on that file"
        return f"in {file}, which is missing: {advice}"
    try:
        with h5py.File(found, "r") as source:
            is_there = "%" in name or isinstance(source.get(name), h5py.Dataset)
    except OSError as exc:
        return f"in {found}, which cannot be read: {exc}"
    return "" if is_there else f"in {found}, which has no data set {name}: write both files again"


def _places(path: Path, file: str) -> Iterator[Path]:
    """Yield the paths at which HDF5 looks for the file of a source, in its order."""
    name = file
    if Path(file).is_absolute():
        yield Path(file)
        name = Path(file).name
    for prefix in filter(None, os.environ.get(PREFIX, "").split(":")):
        yield Path(prefix, name)
    yield path.parent / name
    yield Path(name)
    yield path.resolve().parent / name
