"""An export in memory: traced, proved against PyTorch, and only then written under its name."""

import dataclasses
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any

from torch import Tensor, nn

from wgan import __version__
from wgan.errors import needs_extra
from wgan.export.config import TOLERANCES, ExportConfig, PrecisionConfig
from wgan.export.parity.engines import Engine, pytorch_engines
from wgan.export.parity.gate import Reference, prove
from wgan.files import write_whole
from wgan.model_file import FORMATS
from wgan.model_file.archive import add_manifest
from wgan.model_file.manifest import Distance, Manifest, Receipt
from wgan.model_file.reading import content_sha256
from wgan.stop import check_stop
from wgan.text import printable
from wgan.training.checkpoint import Checkpoint, weights_sha256
from wgan.training.data.data_range import parse_data_range
from wgan.training.networks import Architecture, folded

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportDraft:
    """An export that is not proved yet."""

    file_format: str  # one of `wgan.model_file.FORMATS`
    serialize: Callable[[str], bytes]  # the manifest's JSON -> the whole file
    engines: Callable[[bytes], Iterator[Engine]]  # the whole file -> every way to run it
    opset: int | None = None  # of ONNX
    float_layers: tuple[str, ...] = ()  # of an 8-bit graph: layers that lose too much in 8 bits


def export_checkpoint(
    checkpoint: Checkpoint,
    config: ExportConfig,
    path: Path,
    file_format: str = "onnx",
    architecture: Architecture | None = None,
) -> Manifest:
    """Write the checkpoint's EMA generator to `path` if it matches PyTorch.

    The same checkpoint and options give the same bytes, on one machine with the same versions.

    Args:
        checkpoint: the checkpoint; its networks are rebuilt from its configuration.
        config: precision, target and tolerances.
        path: the file, in a folder that exists. A file that is there stays if the export fails.
        file_format: one of `wgan.model_file.FORMATS` that is a file.
        architecture: as for `wgan.training.networks.build`.

    Raises:
        ParityError: the export does not match PyTorch.
        ExportError: the generator cannot be exported.
        OutputError: the file cannot be written.
    """
    logger.info("%s: tracing the generator", path)
    generator = checkpoint.ema_generator(architecture)
    trained = checkpoint.config
    draft = make_draft(generator, trained.latent_dim, config, file_format, len(trained.classes))
    return publish(draft, checkpoint, config, path, architecture)


def publish(
    draft: ExportDraft,
    checkpoint: Checkpoint,
    config: ExportConfig,
    path: Path,
    architecture: Architecture | None = None,
) -> Manifest:
    """Prove `draft` against the checkpoint's generator, then write it to `path`.

    Raises:
        ParityError: the draft does not match; nothing is written.
        OutputError: the file cannot be written.
    """
    latent_dim, classes = checkpoint.config.latent_dim, len(checkpoint.config.classes)
    check_stop()
    logger.info("%s: generating reference images with PyTorch", path)
    # A generator of its own: tracing may have changed the one that the draft was made from.
    generator = checkpoint.ema_generator(architecture)
    reference = Reference.draw(
        generator, latent_dim, config.seeds, classes, float64_optional=architecture is not None
    )
    trained = checkpoint.config
    unproved = unproved_manifest(
        draft,
        config,
        (trained.height, trained.image_width, trained.channels),
        latent_dim=latent_dim,
        step=checkpoint.step,
        config=public_config(checkpoint),
        weights_sha256=weights_sha256(checkpoint.average),
        data_range=parse_data_range(trained.data_range) or (),
        # Names come from files: escaped here, they are the same in every message and answer.
        classes=tuple(map(printable, trained.classes)),
    )
    return prove_and_write(
        draft, reference, unproved, path, config.allowed(), loosened=config.loosened()
    )


def prove_and_write(
    draft: ExportDraft,
    reference: Reference,
    unproved: Manifest,
    path: Path,
    allowed: Distance,
    *,
    loosened: bool,
    reference_sha256: str = "",
) -> Manifest:
    """Prove `draft` against `reference`, then write it to `path`.

    Args:
        draft: the export.
        reference: the images that it must give.
        unproved: its manifest, with an empty receipt.
        path: the file to write.
        allowed: the largest distance that passes.
        loosened: whether it exceeds wgan's own, which the receipt says.
        reference_sha256: the checksum of the file that gave the reference, if one did.

    Raises:
        ParityError: the draft does not match; nothing is written.
        OutputError: the file cannot be written.
    """
    if allowed.images >= TOLERANCES["fp32"].images:  # unless the user allows less
        allowed = reference.widened(allowed)
    # The gate runs the file as it will be, except for the receipt, which the gate itself gives.
    file = draft.serialize(unproved.to_json())
    receipt = prove(draft.engines(file), reference, allowed, loosened=loosened)
    receipt = dataclasses.replace(receipt, reference_sha256=reference_sha256)
    manifest = dataclasses.replace(unproved, receipt=receipt, content_sha256=content_sha256(file))
    logger.info("%s: writing", path)
    check_stop()  # the last moment: a file that is complete is not taken back
    write_whole(path, draft.serialize(manifest.to_json()))
    return manifest


def make_draft(
    generator: nn.Module,
    latent_dim: int,
    config: ExportConfig,
    file_format: str = "onnx",
    classes: int = 0,
) -> ExportDraft:
    """Trace `generator`, which takes labels if it has classes, into a draft.

    Raises:
        UsageError: the format does not have this precision or target.
        ExportError: the generator cannot be exported.
        MissingExtra: a package is not installed.
    """
    config.check_format(file_format)
    check_stop()
    generator = folded(generator)
    form = FORMATS[file_format]
    with needs_extra(form.extra, purpose=f"exporting to {form.label}"):
        module = import_module(f"wgan.export.formats.{file_format}")
    draft: ExportDraft = module.make_draft(generator, latent_dim, config, classes)
    return draft


def archive_draft(
    file_format: str, archive: bytes, load: Callable[[bytes], Callable[..., Tensor]]
) -> ExportDraft:
    """Make a draft of an archive of PyTorch, which `load` opens."""
    return ExportDraft(
        file_format,
        lambda manifest: add_manifest(archive, manifest),
        lambda file: pytorch_engines(load(file)),
    )


def public_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return the training configuration without folders: of a path, only the last part."""
    config = dataclasses.asdict(checkpoint.config)
    for name in ("data", "eval_features", "start_from"):
        if config[name] is not None:
            path = PurePath(config[name].replace("\\", "/"))
            config[name] = printable(path.name or path)  # it may have bytes that are not UTF-8
    return config


def unproved_manifest(
    draft: ExportDraft,
    precision: PrecisionConfig,
    image_shape: tuple[int, int, int],
    **fields: Any,
) -> Manifest:
    """Return the manifest of a draft before its proof, with an empty receipt.

    `image_shape` is height, width and channels; `fields` are the other fields of the manifest.
    """
    height, width, channels = image_shape
    return Manifest(
        height=height,
        width=width,
        channels=channels,
        precision=precision.precision,
        target=precision.target_of(draft.file_format),
        opset=draft.opset,
        float_layers=draft.float_layers,
        content_sha256="",
        wgan_version=__version__,
        receipt=Receipt(),
        **fields,
    )
