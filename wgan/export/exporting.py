"""From a checkpoint to an exported file: write it in memory, prove it, describe it, name it."""

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from wgan import __version__
from wgan.errors import UsageError
from wgan.export.parity import (
    Engine,
    Reference,
    Tolerance,
    onnx_engine,
    prove,
    torchscript_engine,
)
from wgan.export.places import ENDINGS
from wgan.export.torchscript_format import serialize as serialize_torchscript
from wgan.export.torchscript_format import to_torchscript
from wgan.extras import needs_extra
from wgan.files import write_whole
from wgan.manifest import Manifest, Receipt
from wgan.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Candidate:
    """An export that has no name yet."""

    serialize: Callable[[str], bytes]  # the manifest's JSON -> the whole file
    engine: Callable[[bytes], Engine]  # the whole file -> what runs it
    providers: tuple[str, ...]
    opset: int | None


def export(checkpoint: Checkpoint, kind: str, path: Path) -> Manifest:
    """Write the checkpoint's EMA generator to `path` as `kind`, once it matches PyTorch.

    Equal checkpoints give equal bytes, on one machine and with one set of versions.

    Args:
        checkpoint: what is exported.
        kind: `"onnx"` or `"torchscript"`.
        path: the file; its folder is there.

    Returns:
        What the file says of itself.

    Raises:
        ParityError: it does not match; nothing stands under the name.
        ExportError: it could not be made.
        OutputError: it could not be written.
    """
    generator = checkpoint.ema_generator()
    return publish(make_candidate(generator, checkpoint.config.latent_dim, kind), checkpoint, path)


def publish(candidate: Candidate, checkpoint: Checkpoint, path: Path) -> Manifest:
    """Prove `candidate` against the checkpoint's generator, then give it the name `path`.

    Raises:
        ParityError: it does not match; nothing stands under the name.
        OutputError: it could not be written.
    """
    reference = Reference.draw(checkpoint.ema_generator(), checkpoint.config.latent_dim)
    # The gate runs the file as it will be, but for a receipt that is not known before.
    draft = _manifest(checkpoint, candidate, _blank_receipt())
    engine = candidate.engine(candidate.serialize(draft.to_json()))
    receipt = prove(engine, reference, candidate.providers, Tolerance())
    manifest = dataclasses.replace(draft, receipt=receipt)
    write_whole(path, candidate.serialize(manifest.to_json()))
    return manifest


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
    data = PurePath(checkpoint.config.data.replace("\\", "/"))
    return {**config, "data": data.name or str(data)}


def make_candidate(generator: nn.Module, latent_dim: int, kind: str) -> Candidate:
    """Trace `generator` into the format `kind`. Raises UsageError, ExportError, MissingExtra."""
    if kind == "onnx":
        with needs_extra("export", purpose="exporting to ONNX"):
            from wgan.export import onnx_format
        return onnx_candidate(onnx_format.to_onnx(generator, latent_dim))
    if kind == "torchscript":
        return torchscript_candidate(to_torchscript(generator, latent_dim))
    raise UsageError(f"--format {kind} is not one of {', '.join(ENDINGS)}")


def onnx_candidate(model: "onnx.ModelProto") -> Candidate:
    """A model in memory as something to be proved and named."""
    from wgan.export import onnx_format

    return Candidate(
        serialize=lambda manifest: onnx_format.serialize(model, manifest),
        engine=onnx_engine,
        providers=("CPUExecutionProvider",),
        opset=onnx_format.OPSET,
    )


def torchscript_candidate(archive: bytes) -> Candidate:
    """An archive in memory as something to be proved and named."""
    return Candidate(
        serialize=lambda manifest: serialize_torchscript(archive, manifest),
        engine=torchscript_engine,
        providers=("TorchScript",),
        opset=None,
    )


def _manifest(checkpoint: Checkpoint, candidate: Candidate, receipt: Receipt) -> Manifest:
    config = checkpoint.config
    return Manifest(
        latent_dim=config.latent_dim,
        height=config.size,
        width=config.size,
        channels=config.channels,
        precision="fp32",
        target="portable",
        opset=candidate.opset,
        step=checkpoint.step,
        config=described_config(checkpoint),
        weights_sha256=weights_sha256(checkpoint.average),
        wgan_version=__version__,
        receipt=receipt,
    )


def _blank_receipt() -> Receipt:
    return Receipt(
        seeds="0",
        batch_sizes=(),
        providers=(),
        float_difference=0.0,
        float_tolerance=0.0,
        pixel_difference=0,
        pixel_tolerance=0,
        goldens=(),
    )
