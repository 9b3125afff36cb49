"""Files beside the images that are not read, and why."""

from collections import Counter
from collections.abc import Iterable

from wgan.text import plural
from wgan.training.data.image_formats import ending_of, is_hidden, why_unread

ARCHIVE_ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
"""Extensions of archives that are read, in lower case."""

OTHER_ARCHIVES = (".7z", ".rar", ".zst", ".gz", ".bz2", ".xz")

TABLES = (".npy", ".npz", ".h5", ".hdf5", ".parquet", ".arrow", ".mdb", ".lmdb")
"""Extensions of files of many images, each of which is a data set of its own."""

KNOWN_IMAGES = frozenset({
    ".arw", ".cr2", ".cr3", ".dng", ".eps", ".exr", ".hdr", ".ico", ".jxl", ".nef", ".orf", ".psd",
    ".raf", ".raw", ".rw2", ".svg", ".tga",
})  # fmt: skip
"""Extensions of images that are not read."""

MAX_NAMED = 3
"""Files, and extensions of other files, that are named."""


def describe_left_out(names: Iterable[str]) -> tuple[str, ...]:
    """Return phrases that say which of the files of a data set are not read, and why."""
    hidden = [name for name in names if is_hidden(name)]
    others = [name for name in names if not is_hidden(name)]
    phrases = []
    rest: Counter[str] = Counter()
    archives = [name for name in others if name.lower().endswith(ARCHIVE_ENDINGS + OTHER_ARCHIVES)]
    if archives:
        phrases.append(
            f"{plural(len(archives), 'archive')} ({_listed(archives)}): unpack them first"
        )
    for ending, count in Counter(ending_of(name) for name in others).most_common():
        reason = why_unread(ending)
        if reason:
            phrases.append(f"{count:,} {ending}: {reason}")
        elif ending in KNOWN_IMAGES:
            phrases.append(
                f"{count:,} {ending}: a format that is not read; convert them, as to PNG"
            )
        elif ending in TABLES:
            phrases.append(f"{count:,} {ending}: give such a file by its name")
        elif not ending.endswith(ARCHIVE_ENDINGS + OTHER_ARCHIVES):
            rest[ending or "without an extension"] = count
    if rest:
        kinds = [f"{count:,} {ending}" for ending, count in rest.most_common(MAX_NAMED)]
        kinds += ["..."] if len(rest) > MAX_NAMED else []
        phrases.append(f"other files: {', '.join(kinds)}")
    if hidden:
        phrases.append(plural(len(hidden), "hidden file"))
    return tuple(phrases)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:MAX_NAMED]) + (", ..." if len(names) > MAX_NAMED else "")
