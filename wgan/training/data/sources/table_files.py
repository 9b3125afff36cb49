"""Which files of a folder are the table of the training images."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wgan.errors import DataError
from wgan.training.data.sources import ImageSource
from wgan.training.data.sources.splits import choose_training_files
from wgan.training.data.sources.tables import TableSource

SAVED, SAVED_SPLITS = "state.json", "dataset_dict.json"
"""Files that `datasets.save_to_disk` writes beside one split, and beside several."""


def open_table(path: Path) -> ImageSource:
    """Open one parquet or Arrow file. Raises DataError, MissingExtra."""
    return TableSource(path.name.partition(".")[0].partition("-")[0] or "images", [path])


def open_table_folder(folder: Path, files: Sequence[str]) -> ImageSource:
    """Open the parquet files of a folder: those of the training split, if they have splits.

    Raises:
        DataError: a file is damaged, or holds no images.
        MissingExtra: pyarrow is not installed.
    """
    chosen, unused = choose_training_files(files, "parquet")
    return TableSource(_name(folder), [folder / file for file in chosen], unused)


def is_saved_dataset(folder: Path) -> bool:
    """Whether `datasets.save_to_disk` wrote the folder."""
    return any((folder / name).is_file() for name in (SAVED, SAVED_SPLITS))


def open_saved_dataset(folder: Path) -> ImageSource:
    """Open a folder of `datasets.save_to_disk`: the training split, if it has several.

    Raises:
        DataError: it is damaged or incomplete.
        MissingExtra: pyarrow is not installed.
    """
    unused: tuple[str, ...] = ()
    split = folder
    try:
        if (folder / SAVED_SPLITS).is_file():
            splits = [str(name) for name in _read_json(folder / SAVED_SPLITS)["splits"]]
            if not splits:
                raise DataError(
                    f"the saved dataset {folder} has no splits: save it again, or give the folder"
                    " of one split"
                )
            chosen = "train" if "train" in splits else splits[0]
            unused = tuple(f"the split {name}" for name in splits if name != chosen)
            split = folder / chosen
        state = _read_json(split / SAVED)
        names = [str(file["filename"]) for file in state["_data_files"]]
        if state.get("_indices_data_files"):  # of early versions of datasets
            raise DataError(
                f"the saved dataset {folder} uses some of its rows only: load it, and save it again"
                " after flatten_indices()"
            )
        files = [split / name for name in names]
    except (OSError, ValueError, TypeError, LookupError) as exc:
        raise DataError(f"the saved dataset {folder} is damaged or incomplete: {exc}") from exc
    if not files:
        raise DataError(f"the saved dataset {folder} has no rows")
    return TableSource(_name(folder), files, unused)


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


def _name(folder: Path) -> str:
    return folder.resolve().name or "images"
