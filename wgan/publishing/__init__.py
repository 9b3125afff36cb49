"""A folder for the Hugging Face Hub: a generator's files, its model card, and an app.

`publish` does the work of `wgan publish`. Nothing is uploaded: `hf upload` does that.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wgan import __version__
from wgan.export import ExportedFile
from wgan.files import is_file, make_folder, remove, write_whole
from wgan.model_file.published import PUBLISHED_FILES
from wgan.publishing.config import APP, CARD, PublishConfig
from wgan.text import printable

if TYPE_CHECKING:
    from wgan.publishing.exports import PublishedFile

__all__ = ["PublishConfig", "Published", "publish"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """What `publish` wrote."""

    folder: Path
    files: tuple[str, ...]  # their paths in the folder, in the order in which they were written


def publish(
    config: PublishConfig, on_export: Callable[[ExportedFile], None] | None = None
) -> Published:
    """Write a folder that the Hub, transformers.js and wgan take as a model.

    A run is exported first, in each precision, as `wgan.export.export` does; `on_export` is called
    with each such file.

    Raises:
        RunError: there is no such run.
        ModelFileError: an export is missing, damaged, or has no proof.
        UsageError: the exports are not of one generator, or the metrics are of another.
        ExportError: the run cannot be exported.
        OutputError: a file cannot be written.
        MissingExtra: PyTorch, onnx or onnxruntime is not installed.
    """
    from wgan.publishing.card import write_card
    from wgan.publishing.card_images import interpolation, samples
    from wgan.publishing.exports import gather
    from wgan.publishing.measured import read_measured
    from wgan.runtime.generator import Generator

    files = gather(config, on_export)
    measured = None
    if config.evaluation is not None:
        measured = read_measured(config.evaluation, files[0].manifest)
    with Generator(files[0].data) as generator:
        contents = {file.name: file.data for file in files}
        contents |= {
            "samples.png": samples(generator),
            "interpolation.webp": interpolation(generator),
            "config.json": _config(config, files).encode(),
        }
    for name in APP:
        contents[name] = package_files("wgan.publishing").joinpath("space", name).read_bytes()
    contents[CARD] = write_card(config, files, measured).encode()
    _write(config.folder, contents)
    return Published(config.folder, tuple(contents))


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    make_folder(folder / "onnx")
    for name in PUBLISHED_FILES.values():
        if name not in contents and is_file(folder / name):
            remove(folder / name)  # it would stay beside the files of another generator
            logger.warning("%s was removed: it is not of the published generator", folder / name)
    for name, data in contents.items():
        write_whole(folder / name, data)


def _config(config: PublishConfig, files: Sequence["PublishedFile"]) -> str:
    """Describe the generator: transformers.js needs `model_type`, app.py the rest."""
    manifest = files[0].manifest
    content: dict[str, Any] = {
        "model_type": "wgan",
        "architectures": ["Generator"],
        "name": printable(config.title),
        "wgan_version": __version__,
        "latent_dim": manifest.latent_dim,
        "height": manifest.height,
        "width": manifest.width,
        "channels": manifest.channels,
        "classes": [printable(name) for name in manifest.classes],
        "step": manifest.step,
        "weights_sha256": manifest.weights_sha256,
        "training": manifest.config,
        "files": {file.manifest.precision: _described(file) for file in files},
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _described(file: "PublishedFile") -> dict[str, Any]:
    return {
        "file": file.name,
        "bytes": len(file.data),
        "sha256": file.sha256,
        "target": file.manifest.target,
        "receipt": file.manifest.shown()["receipt"],
    }
