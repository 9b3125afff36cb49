"""The model that a command names, and its bytes, scanned before ONNX Runtime opens them."""

import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wgan.errors import ModelFileError
from wgan.files import is_file, is_folder
from wgan.model_file import FORMATS
from wgan.model_file.manifest import Manifest
from wgan.model_file.onnx_scan import OnnxFile
from wgan.model_file.published import find_published
from wgan.model_file.reading import CHANGED, content_sha256, map_bytes, read_model, scan_model
from wgan.model_file.wire import WireError
from wgan.runs import find_run, follow_pointer, has_runs, latest_export
from wgan.runtime import builtin
from wgan.runtime.hub import find_hub_file, is_hub_address

Stamp = tuple[int, int, int]
"""Inode, size and modification time of a file: they differ if it was replaced or changed."""

CORE_ML_SUFFIX = ".mlpackage"


def find_model(name: Path | str | None, *, only_onnx: bool = True) -> Path:
    """Return the exported file that a command means, the same for every command.

    Args:
        name: a file; a run's folder, for its newest export; a folder from `wgan publish` or
            `wgan export --format web`; `hf://USER/NAME`, for a published folder on the Hugging Face
            Hub, which is downloaded (see `wgan.runtime.hub`); `builtin`, for the generator that is
            installed with wgan; None for the latest export in this folder. In a folder without runs
            that is the built-in one too, and a warning of the logger `wgan` says so.
        only_onnx: whether a run's TorchScript, pt2 and LiteRT files do not count.

    Raises:
        ModelFileError: there is no such file, or no export yet, or the Hub cannot be reached.
        RunError: the folder is not a run.
        UsageError: the address of the Hub is not one.
        MissingExtra: the address needs huggingface_hub.
    """
    if name is None:
        latest = latest_export()
        if latest is not None:
            return latest
        if has_runs():
            raise ModelFileError(
                "the runs in this folder have no export yet: run  wgan export  first, or name a"
                f" file, or {builtin.NAME} for the built-in generator"
            )
        model = builtin.builtin_model()
        logging.getLogger("wgan").warning(
            "no generator was exported in this folder: using the built-in one (%s)",
            builtin.DESCRIPTION,
        )
        return model
    if str(name) == builtin.NAME:
        return builtin.builtin_model()
    if is_hub_address(name):
        return find_hub_file(name)
    name = follow_pointer(Path(name))
    if not is_folder(name):
        return name
    published = find_published(name)
    if published is not None:
        return published
    if name.suffix == CORE_ML_SUFFIX or is_folder(name / f"generator{CORE_ML_SUFFIX}"):
        raise ModelFileError(
            f"{name} is a Core ML package for Apple's devices, and generating images here needs an"
            " ONNX file: run  wgan export --format onnx. The package's manifest is manifest.json"
            " beside it"
        )
    run = find_run(name)
    exports = [
        path
        for kind in FORMATS.values()
        if kind.extension and (kind.is_onnx or not only_onnx)
        for path in run.path.glob(f"*{kind.extension}")
        if is_file(path)
    ]
    if not exports:
        raise ModelFileError(
            f"the run {name} has no {'ONNX ' * only_onnx}export yet: run  wgan export {name}  first"
        )
    return max(exports, key=lambda path: (path.stat().st_mtime_ns, path.name))


def is_named(name: Path | str) -> bool:
    """Whether a model is meant by a name or an address, and not by a path."""
    return str(name) == builtin.NAME or is_hub_address(name)


@dataclass(frozen=True)
class ModelSource:
    """Where ONNX Runtime reads the model from.

    A file is opened by its path, so that its bytes are not in memory twice.
    """

    content: bytes | Path
    stamp: Stamp | None  # of the file, None for bytes

    def check_unchanged(self) -> None:
        """Raise ModelFileError if the file is no longer the one that was scanned."""
        if isinstance(self.content, Path) and self.stamp != _stamp(self.content):
            raise ModelFileError("it was changed while it was in use")

    def content_sha256(self) -> str:
        """Checksum as in the manifest.

        Raises:
            ModelFileError: the file cannot be read.
            WireError: the bytes are damaged.
        """
        content = self.content
        return content_sha256(content if isinstance(content, bytes) else map_bytes(content))

    def sha256(self) -> str:
        """SHA-256 of the bytes, in hexadecimal. Raises ModelFileError if the file changed."""
        if isinstance(self.content, bytes):
            return hashlib.sha256(self.content).hexdigest()
        self.check_unchanged()
        with self.content.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def check_seeds_count(file: OnnxFile, *, allow_random: bool) -> None:
    """Check that a foreign graph's image k depends on seed k and nothing else.

    With `allow_random` a graph that breaks this is a warning of the logger `wgan`.

    Raises:
        ModelFileError: the graph draws random numbers, or has batch norm or dropout in training
            mode.
    """
    cause = why_seeds_do_not_count(file)
    if not cause:
        return
    if not file.inputs:
        raise ModelFileError(
            f"{cause}, and it has no input of latents, so that no seed could choose its images:"
            " export the generator with its latents as an input"
        )
    said = f"{cause}, so that an image depends on more than its seed"
    if not allow_random:
        raise ModelFileError(f"{said}; wgan sample --allow-random draws such images all the same")
    logging.getLogger("wgan").warning("the model is used although %s", said)


def why_seeds_do_not_count(file: OnnxFile) -> str:
    """Why an image depends on more than its seed, as far as operators tell it; else empty."""
    if file.draws:
        return f"it draws random numbers itself ({', '.join(sorted(file.draws))})"
    if file.trains:
        layers = " and ".join(sorted(file.trains))
        return f"it has {layers} in training mode (export it after  model.eval())"
    return ""


@contextmanager
def verify_checksum(source: ModelSource, manifest: Manifest | None) -> Iterator[None]:
    """Compare the bytes with the manifest's checksum, in a thread, while the block opens them.

    ONNX Runtime would run a file with a flipped bit in its weights. Hashing beside the opening
    takes almost no extra time. An error of the block has precedence: it says more.

    Raises:
        ModelFileError: the bytes differ from those that were exported, or cannot be read.
    """
    if manifest is None:
        yield
        return
    found: list[str | Exception] = []

    def hash_content() -> None:
        try:
            found.append(source.content_sha256())
        except Exception as exc:  # noqa: BLE001 - raised by the caller's thread
            found.append(exc)

    thread = threading.Thread(target=hash_content)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    (result,) = found
    if isinstance(result, Exception) and not isinstance(result, WireError):
        raise result  # which says nothing about the bytes
    if result != manifest.content_sha256:
        raise ModelFileError(CHANGED)


def scan_source(model: Path | str | bytes) -> tuple[ModelSource, OnnxFile]:
    """Find a model's bytes and scan them.

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
    # Absolute: the file is found again when the current folder has changed.
    return ModelSource(path.absolute(), stamp), read_model(path)


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except (OSError, ValueError):  # `read_model` reports what is wrong with the file
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
