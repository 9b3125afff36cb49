"""A model's bytes: in memory, or in a file that is looked through once and then opened by name."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wgan.errors import ModelFileError
from wgan.model_file.checksum import CHANGED, content_sha256
from wgan.model_file.manifest import Manifest
from wgan.model_file.onnx_scan import OnnxFile
from wgan.model_file.protobuf import WireError
from wgan.model_file.reading import map_bytes, read_model, scan_model

Stamp = tuple[int, int, int]
"""A file's number, size and time of change: another file, or a changed one, has another."""


@dataclass(frozen=True)
class ModelSource:
    """Where ONNX Runtime takes the model from.

    A file is not kept in memory beside what ONNX Runtime makes of it.
    """

    content: bytes | Path
    stamp: Stamp | None  # of the file, None for bytes

    def check_unchanged(self) -> None:
        """Raise ModelFileError where the file is no longer the one that was looked through."""
        if isinstance(self.content, Path) and self.stamp != _stamp(self.content):
            raise ModelFileError("it was changed while it was in use")

    def content_sha256(self) -> str:
        """As the manifest has it; empty where it cannot be found."""
        content = self.content
        try:
            return content_sha256(content if isinstance(content, bytes) else map_bytes(content))
        except (ModelFileError, WireError):
            return ""

    def sha256(self) -> str:
        """SHA-256 of the bytes, in hexadecimal. Raises ModelFileError where the file changed."""
        if isinstance(self.content, bytes):
            return hashlib.sha256(self.content).hexdigest()
        self.check_unchanged()
        with self.content.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def unchanged_since_export(source: ModelSource, manifest: Manifest | None) -> Iterator[None]:
    """Hold the bytes against the manifest's checksum while the block opens them.

    A thread beside it takes as good as no time of its own, and a bit that turned over in the
    weights would be drawn with as if nothing were wrong. An error of the block comes first: it
    says more.

    Raises:
        ModelFileError: the bytes are others than those that were exported.
    """
    if manifest is None:
        yield
        return
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(source.content_sha256()))
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if found != [manifest.content_sha256]:
        raise ModelFileError(CHANGED)


def look_through(model: Path | str | bytes) -> tuple[ModelSource, OnnxFile]:
    """Find a model's bytes and look through them before ONNX Runtime does.

    Raises:
        ModelFileError: the file is missing, damaged, unsafe or not ONNX.
    """
    if isinstance(model, bytes):
        try:
            return ModelSource(model, None), scan_model(model)
        except ModelFileError as exc:
            raise ModelFileError(f"the model cannot be used: {exc}") from exc
    path = Path(model)
    stamp = _stamp(path)
    return ModelSource(path, stamp), read_model(path)


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except (OSError, ValueError):  # what is wrong with the file is told by `read_model`
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
