"""Exports for PyTorch, drawn with: TorchScript and pt2 files."""

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from wgan.archives import ARCHIVE_ERRORS
from wgan.errors import ModelFileError, WganError
from wgan.model_file.archive import read_records, write_records
from wgan.model_file.checksum import CHANGED, content_sha256
from wgan.model_file.manifest import Manifest
from wgan.model_file.program import harmless
from wgan.model_file.reading import describe, read_bytes

Run = Callable[[Tensor], Tensor]
"""Latents -> images."""

SHOWN = 200
"""Characters of PyTorch's own words."""

_NAMES_ERROR = re.compile(r"[\w.]*(?:Error|Exception): ")


class Program(nn.Module):
    """An export for PyTorch: latents `[n, latent_dim]` -> images `[n, c, h, w]`, in eval mode.

    Args:
        path: a TorchScript or pt2 file that wgan has exported.
        device: where it computes.

    Attributes:
        manifest: what the file says of itself.

    Raises:
        ModelFileError: the file is damaged, changed since its export, unsafe, or has no manifest.
    """

    manifest: Manifest

    def __init__(self, path: Path, device: torch.device) -> None:
        super().__init__()
        self._path = path
        description = describe(path)
        if description.manifest is None:
            raise self._error("it has no manifest, which says how long a latent is")
        self.manifest = description.manifest
        data = read_bytes(path)
        try:
            archive = _looked_through(data, self.manifest)
        except ModelFileError as exc:
            raise self._error(str(exc)) from exc
        load = _load_pt2 if description.format == "pt2" else _load_torchscript
        with self._errors("open"):
            self._run = load(archive, device)
        self.eval()
        self(torch.zeros(2, self.manifest.latent_dim, device=device))

    def forward(self, latents: Tensor) -> Tensor:
        """Draw. Raises ModelFileError where it fails, or draws something else than it says."""
        with self._errors("run"), torch.inference_mode():
            images = self._run(latents)
        told = self.manifest
        shape = (len(latents), told.channels, told.height, told.width)
        if not isinstance(images, Tensor) or images.shape != shape:
            raise self._error(f"it does not draw images of the shape {list(shape)}")
        if not images.dtype.is_floating_point or not images.isfinite().all():
            raise self._error("its images are not finite numbers")
        return images

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Turn what PyTorch raises, which may be anything, into a sentence."""
        try:
            yield
        except (WganError, MemoryError):
            raise
        except Exception as exc:
            raise self._error(f"PyTorch cannot {doing} it: {_told(exc)}") from exc

    def _error(self, words: str) -> ModelFileError:
        return ModelFileError(f"{self._path} cannot be used: {words}")


def _looked_through(data: bytes, manifest: Manifest) -> bytes:
    """The archive as PyTorch may load it. Raises ModelFileError."""
    try:
        is_whole = content_sha256(data) == manifest.content_sha256
        records = read_records(data)
    except ARCHIVE_ERRORS as exc:
        raise ModelFileError(f"it is a damaged archive ({exc})") from exc
    if not is_whole:
        raise ModelFileError(CHANGED)
    return write_records(harmless(records))


def _load_torchscript(archive: bytes, device: torch.device) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that TorchScript is deprecated
        module = torch.jit.load(io.BytesIO(archive), map_location=device)
    forward: Run = module.forward
    return forward


def _load_pt2(archive: bytes, device: torch.device) -> Run:
    with _logged_errors():
        program = torch.export.load(io.BytesIO(archive))
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass  # takes a while to import

        program = move_to_device_pass(program, device)
    forward: Run = program.module().forward
    return forward


@contextmanager
def _logged_errors() -> Iterator[None]:
    """Raise what `torch.export.load` logs before it raises that something was logged."""
    found: list[BaseException] = []

    def keep(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            found.append(record.exc_info[1])
        return not found

    log = logging.getLogger("torch.export")
    log.addFilter(keep)
    try:
        yield
    except Exception:
        if found:
            raise found[0] from None
        raise
    finally:
        log.removeFilter(keep)


def _told(exc: BaseException) -> str:
    """What PyTorch says, less the places in a program: they stand before its last error, if any."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    errors = [line for line in lines if _NAMES_ERROR.match(line)]
    return (errors[-1:] or lines[:1] or [type(exc).__name__])[0].rstrip(":")[:SHOWN]
