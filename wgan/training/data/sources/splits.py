"""Splits of a data set by the names of its folders and files: `train`, `test2017`, `val.npy`."""

import re
from collections.abc import Sequence

_NAMES = (
    r"(train[_-]?val|training|train|test[_-]?dev|testing|test|validation|valid|val|minival|dev"
    r"|evaluation|eval|pred|hold[_-]?out|unlabell?ed|unsupervised|extra)"
)

SPLIT = re.compile(
    rf"((seg|public|private)_?)?{_NAMES}([_-]?(set|images|data))?([_-]?\d+)?", re.IGNORECASE
)
"""Names of subfolders and files that part a data set and are no classes: `seg_train`, `test1`."""

SPLIT_WORDS = frozenset({
    "train", "training", "test", "testing", "val", "valid", "validation", "dev",
})  # fmt: skip
"""Parts of the names of arrays that name a split."""

_IN_PATH = re.compile(rf"(?:^|[/_.-]){_NAMES}(?=[/_.\-\d]|$)")

_TRAINING = (("train", "training"), ("trainval", "train-val", "train_val"))
"""Names of the split that is trained on, the most telling ones first."""


def split_folders(paths: Sequence[str]) -> list[str]:
    """Return the folders of splits that part the files, as `data/test` and `data/train`.

    They are the first folders that differ; none unless all of these have names of splits.
    """
    parents = [path.removeprefix("./").split("/")[:-1] for path in paths]
    depth = 1
    while found := {tuple(parent[:depth]) for parent in parents if len(parent) >= depth}:
        if len(found) > 1:
            are_splits = all(SPLIT.fullmatch(each[-1]) for each in found)
            return ["/".join(each) for each in sorted(found)] if are_splits else []
        depth += 1
    return []


def describe_splits(path: str, files: Sequence[str], is_archive: bool) -> str:
    """Return which splits of a folder or an archive are all used; empty if it has none."""
    folders = split_folders(files)
    if not folders:
        return ""
    names = [folder.rpartition("/")[2] for folder in folders]
    one = next((each for each in folders if "train" in each.rpartition("/")[2].lower()), folders[0])
    advice = f"unpack it, and give its {one}" if is_archive else f"give {path}/{one}"
    return f"{', '.join(names[:-1])} and {names[-1]} are all used; for one of them {advice}"


def files_by_split(files: Sequence[str]) -> dict[str, list[str]]:
    """Group the paths of files by the name of their split; an empty name where there is none."""
    splits: dict[str, list[str]] = {}
    for file in sorted(files):
        found = _IN_PATH.search(file.lower())
        splits.setdefault(found[1] if found else "", []).append(file)
    return splits


def choose_training_files(files: Sequence[str], kind: str) -> tuple[Sequence[str], tuple[str, ...]]:
    """Return the files of the training split, and phrases that say which others there are.

    All files if there is no such split. `kind` is that of the files in the phrases.
    """
    splits = files_by_split(files)
    for names in _TRAINING:
        chosen = [file for name in names for file in splits.get(name, [])]
        if chosen:
            unused = (
                f"{len(others)} {kind} files of the split {name or 'without a name'}"
                for name, others in splits.items()
                if name not in names
            )
            return chosen, tuple(unused)
    return sorted(files), ()
