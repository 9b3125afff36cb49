"""From a checkpoint to an exported file: write it in memory, prove it, describe it, name it."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from wgan import __version__
from wgan.export.config import ExportConfig
from wgan.export.formats.pt2 import to_pt2
from wgan.export.formats.torchscript import to_torchscript
from wgan.export.parity.engines import (
    Engine,
    onnx_engines,
    pt2_engines,
    torchscript_engines,
)
from wgan.export.parity.gate import prove
from wgan.export.parity.reference import Reference
from wgan.extras import needs_extra
from wgan.files import write_whole
from wgan.model_file.archive import add_manifest
from wgan.model_file.checksum import content_sha256
from wgan.model_file.manifest import Distance, Manifest, Receipt
from wgan.training.checkpoint import Checkpoint
from wgan.training.networks import Architecture

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class ExportDraft:
    """An export that has no name yet."""

    serialize: Callable[[str], bytes]  # the manifest's JSON -> the whole file
    engines: Callable[[bytes], Iterator[Engine]]  # the whole file -> all that can run it
    opset: int | None


def export(
    checkpoint: Checkpoint,
    config: ExportConfig,
    path: Path,
    architecture: Architecture | None = None,
) -> Manifest:
    """Write the checkpoint's EMA generator to `path`, once it matches PyTorch.

    Equal checkpoints give equal bytes, on one machine and with one set of versions.

    Args:
        checkpoint: what is exported.
        config: its format, precision and target.
        path: the file; its folder is there.
        architecture: as for `wgan.training.networks.build`.

    Returns:
        What the file says of itself.

    Raises:
        ParityError: it does not match; nothing stands under the name.
        ExportError: it could not be made.
        OutputError: it could not be written.
    """
    generator = checkpoint.ema_generator(architecture)
    candidate = make_candidate(generator, checkpoint.config.latent_dim, config)
    return publish(candidate, checkpoint, config, path, architecture)


def publish(
    candidate: ExportDraft,
    checkpoint: Checkpoint,
    config: ExportConfig,
    path: Path,
    architecture: Architecture | None = None,
) -> Manifest:
    """Prove `candidate` against the checkpoint's generator, then give it the name `path`.

    Raises:
        ParityError: it does not match; nothing stands under the name.
        OutputError: it could not be written.
    """
    latent_dim = checkpoint.config.latent_dim
    reference = Reference.draw(checkpoint.ema_generator(architecture), latent_dim, config.seeds)
    # The gate runs the file as it will be, but for a receipt that is not known before.
    draft = _describe(checkpoint, config, candidate)
    draft_file = candidate.serialize(draft.to_json())
    receipt = prove(
        candidate.engines(draft_file), reference, config.allowed, loosened=config.loosened
    )
    manifest = dataclasses.replace(
        draft, receipt=receipt, content_sha256=content_sha256(draft_file)
    )
    write_whole(path, candidate.serialize(manifest.to_json()))
    return manifest


def make_candidate(generator: nn.Module, latent_dim: int, config: ExportConfig) -> ExportDraft:
    """Trace `generator` as `config` says. Raises ExportError, MissingExtra."""
    if config.format == "torchscript":
        archive = to_torchscript(generator, latent_dim)
        return archive_candidate(archive, torchscript_engines)
    if config.format == "pt2":
        return archive_candidate(to_pt2(generator, latent_dim), pt2_engines)
    with needs_extra("export", purpose="exporting to ONNX"):
        from wgan.export.formats.onnx import check, to_onnx
        from wgan.export.lowering.conv_transpose import lower
        from wgan.export.lowering.fp16 import halve
        from wgan.export.lowering.int8 import quantize
    model = to_onnx(generator, latent_dim)
    if config.target == "cpu":
        model = lower(model, eight_bits=config.precision == "int8")
    if config.precision == "fp16":
        model = halve(model)
    elif config.precision == "int8":
        model = quantize(model)
    check(model)
    return onnx_candidate(model)


def onnx_candidate(model: "onnx.ModelProto") -> ExportDraft:
    """A model in memory as something to be proved and named."""
    from wgan.export.formats.onnx import OPSET, serialize

    return ExportDraft(lambda manifest: serialize(model, manifest), onnx_engines, OPSET)


def archive_candidate(archive: bytes, engines: Callable[[bytes], Iterator[Engine]]) -> ExportDraft:
    """An archive of PyTorch's in memory as something to be proved and named."""
    return ExportDraft(lambda manifest: add_manifest(archive, manifest), engines, None)


def weights_sha256(state: dict[str, Any]) -> str:
    """Hash a `state_dict`: each tensor's name, type, shape and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        assert isinstance(value, Tensor)
        array = np.ascontiguousarray(value.numpy())
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def described_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """The training configuration for people to read anywhere: of a path, only its last part."""
    config = dataclasses.asdict(checkpoint.config)
    for name in ("data", "eval_features"):
        path = PurePath(config[name].replace("\\", "/"))
        config[name] = path.name or str(path)
    return config


def _describe(checkpoint: Checkpoint, config: ExportConfig, candidate: ExportDraft) -> Manifest:
    """All that is known before the gate; the receipt is blank."""
    trained = checkpoint.config
    return Manifest(
        latent_dim=trained.latent_dim,
        height=trained.size,
        width=trained.size,
        channels=trained.channels,
        precision=config.precision,
        target=config.target,
        opset=candidate.opset,
        step=checkpoint.step,
        config=described_config(checkpoint),
        weights_sha256=weights_sha256(checkpoint.average),
        content_sha256="",
        wgan_version=__version__,
        receipt=_blank_receipt(),
    )


def _blank_receipt() -> Receipt:
    nothing = Distance(images=0.0, pixels=0, mean_pixels=0.0, psnr=0.0)
    return Receipt(
        seeds="0",
        batch_sizes=(),
        providers=(),
        optimizations=(),
        threads=(),
        seen=nothing,
        allowed=nothing,
        loosened=False,
        float64_images=0.0,
        goldens=(),
    )
