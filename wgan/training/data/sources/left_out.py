"""Files beside the images that are not read, and why."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from wgan.text import plural
from wgan.training.data.image_formats import ending_of, is_hidden, why_unread

ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""Extensions of archives that are read, in lower case."""

COMPRESSED = (".zst", ".gz", ".bz2", ".xz")
"""Extensions of a compressed file, which is an archive if it is a tar."""

OTHER_ARCHIVES = (".7z", ".rar", *COMPRESSED)

TABLES = (".npy", ".npz", ".h5", ".hdf5", ".parquet", ".arrow", ".mdb", ".lmdb")
"""Extensions of files of many images, each of which is a data set of its own."""

KNOWN_IMAGES = frozenset({
    ".arw", ".cr2", ".cr3", ".dcm", ".dds", ".dng", ".eps", ".exr", ".fits", ".hdr", ".ico", ".jxl",
    ".nef", ".orf", ".pam", ".pcx", ".pdf", ".pfm", ".psd", ".raf", ".raw", ".rw2", ".svg", ".tga",
    ".xcf",
})  # fmt: skip
"""Extensions of images that are not read."""

VIDEOS = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})

_PICKLE = "Python objects are not read, because that would run their code; save images as .npy"

OTHER_DATA = {
    **dict.fromkeys((".pkl", ".pickle", ".pt", ".pth", ".joblib"), _PICKLE),
    ".mat": "a format that is not read; save images as .npy, with scipy.io.loadmat and np.save",
    ".bin": "values without a header; save images as .npy, with np.fromfile and np.save",
    ".txt": "texts are not read; rename a file of pixel rows to .csv",
    ".tfrecord": "a format that is not read; save its images as files",
    ".tfrecords": "a format that is not read; save its images as files",
}
"""Extensions of other files of many images, and what to do with them."""

_CIFAR = re.compile(r"(.*/)?(data_batch_\d|test_batch|batches\.meta)")

_IDX = re.compile(r".*idx\d-\w+(\.gz)?")

NIFTI = (".nii", ".nii.gz")
"""Extensions of volumes of medical images, which are not read."""

_LABEL_LISTS = re.compile(
    r".*\.(csv|tsv|json|jsonl|cls\.txt)|(.*/)?[^/]*(attr|class|identity|label|list)[^/]*\.txt",
    re.IGNORECASE,
)
"""Files beside images that may hold their labels."""

_ARCHIVES = ARCHIVE_ENDINGS + OTHER_ARCHIVES

MAX_NAMED = 3
"""Files, and extensions of other files, that are named."""


def describe_left_out(
    names: Iterable[str], is_archive: bool = False, has_images: bool = True
) -> tuple[str, ...]:
    """Return phrases that say which of the files of a data set are not read, and why.

    `is_archive`: they are members of an archive. `has_images`: there are images beside them, so
    that a CSV is a list of labels rather than the data.
    """
    hidden: list[str] = []
    others: list[str] = []
    for name in names:
        (hidden if is_hidden(name) else others).append(name)
    volumes = [name for name in others if name.lower().endswith(NIFTI)]
    others = [name for name in others if not name.lower().endswith(NIFTI)]
    phrases = []
    cifar = [] if has_images else list(filter(_CIFAR.fullmatch, others))
    if cifar:
        phrases.append(f"{len(cifar):,} batches of CIFAR: {_PICKLE}, or train on the name cifar10")
    idx = list(filter(_IDX.fullmatch, others)) if is_archive else []
    if idx:
        phrases.append(f"{plural(len(idx), 'idx file')}: unpack them, and give their folder")
    others = sorted(set(others).difference(cifar, idx))
    archives = [name for name in others if name.lower().endswith(_ARCHIVES)]
    if volumes:
        phrases.append(f"{len(volumes):,} NIfTI: a format that is not read; save slices as .npy")
    if archives:
        phrases.append(
            f"{plural(len(archives), 'archive')} ({listed(archives)}): unpack them first"
        )
    rest: Counter[str] = Counter()
    for ending, count in Counter(ending_of(name) for name in others).most_common():
        advice = _advice(ending, is_archive, has_images)
        if advice:
            phrases.append(f"{count:,} {ending}: {advice}")
        elif not ending.endswith(_ARCHIVES):
            rest[ending or "without an extension"] = count
    if rest:
        kinds = [f"{count:,} {ending}" for ending, count in rest.most_common(MAX_NAMED)]
        kinds += ["..."] if len(rest) > MAX_NAMED else []
        phrases.append(f"other files: {', '.join(kinds)}")
    if hidden:
        phrases.append(plural(len(hidden), "hidden file"))
    return tuple(phrases)


def describe_unread_labels(names: Iterable[str]) -> str:
    """Return that lists of labels are not read, and what to do; empty if there are none.

    They are those of Hugging Face, CelebA, webdataset, COCO and others, by their names.
    """
    lists = [name for name in names if _LABEL_LISTS.fullmatch(name) and not is_hidden(name)]
    if not lists:
        return ""
    lists.sort(key=lambda name: (name.count("/"), name))
    return (
        f"labels are not read from {listed(lists)}; put the images of each class into a subfolder"
        " with its name, or write their labels to a dataset.json, as docs/data.md says"
    )


def describe_links(links: Sequence[str]) -> str:
    """Return a phrase that names links to folders that are read under another name."""
    return f"{plural(len(links), 'link')} to folders that are read already ({listed(links)})"


def describe_runs(runs: Sequence[str]) -> str:
    """Return a phrase that names the run folders among the data."""
    return f"{plural(len(runs), 'run folder')} of wgan ({listed(runs)})"


def _advice(ending: str, is_archive: bool, has_images: bool) -> str:
    """Return why files of an extension are not read and what to do; empty if that is unknown."""
    if ending in KNOWN_IMAGES:
        return "a format that is not read; convert them, as to PNG"
    if ending in VIDEOS:
        return "videos are not read; save their frames as images"
    if ending in TABLES or (ending in (".csv", ".tsv") and not has_images):
        unpack = "unpack it, and " if is_archive else ""
        return f"{unpack}give such a file by its name"
    if ending in OTHER_DATA and not has_images:
        return OTHER_DATA[ending]
    return why_unread(ending)


def why_not_read(name: str) -> str:
    """Return why a file that is given as data is not read, and what to do; empty if unknown."""
    lower = name.lower()
    if lower.endswith(NIFTI):
        return "a format that is not read; save slices as .npy"
    if lower.endswith(COMPRESSED) and ".tar." not in lower:
        return "a compressed file that is not read; decompress it, and give the file"
    if lower.endswith(OTHER_ARCHIVES):
        return "an archive that is not read; unpack it, and give the folder"
    if _CIFAR.fullmatch(name):
        return f"{_PICKLE}, or train on the name cifar10"
    return _advice(ending_of(lower), is_archive=False, has_images=False)


def listed(names: Sequence[str]) -> str:
    """Return the first MAX_NAMED names in a line, with dots for the others."""
    return ", ".join(names[:MAX_NAMED]) + (", ..." if len(names) > MAX_NAMED else "")
