"""A foreign ONNX file made fast, and proved to draw what it drew before."""

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from wgan.errors import ExportError, UsageError, needs_extra, translated_errors
from wgan.export.config import OptimizeConfig
from wgan.files import check_keeps_inputs, check_output
from wgan.model_file.manifest import METADATA_KEY, Manifest
from wgan.model_file.reading import read_complete
from wgan.stop import check_stop
from wgan.text import first_line

if TYPE_CHECKING:
    from onnx import ModelProto

logger = logging.getLogger(__name__)


def optimize(config: OptimizeConfig) -> Manifest:
    """Rewrite a foreign ONNX file for a target and precision, and write it if it is proved.

    The reference is the file itself in ONNX Runtime with optimisations off. The logger
    `wgan.export` reports each stage at the level INFO.

    Returns:
        The manifest of the written file, `config.path`.

    Raises:
        ModelFileError: the file is missing, damaged, or keeps weights outside its folder.
        UsageError: an option is needed, or contradicts the file, or wgan wrote the file.
        ExportError: the file is not a generator, or cannot be rewritten.
        ParityError: the rewritten file gives other images.
        MissingExtra: onnx, onnxscript, PyTorch or onnxruntime is not installed.
        OutputError: the file cannot be written.
    """
    check_output(config.path)
    read = [("the file", config.file), *config.input_files]
    check_keeps_inputs(config.path, read, "give another --output")
    with needs_extra("export", purpose="optimising an ONNX file"):
        from wgan.export.draft import prove_and_write, unproved_manifest
        from wgan.export.foreign.interface import check_operators, computes_in_16_bits
        from wgan.export.foreign.normal_form import normalize
        from wgan.export.formats.onnx import rewrite
        from wgan.export.lowering.graph import graph_operations
        from wgan.export.parity.file_reference import ForeignFile
    logger.info("reading %s", config.file)
    model, sha256 = load_foreign(config.file)
    _check_foreign(model, config.file)
    check_operators(model)
    foreign = ForeignFile.open(model, config.foreign)
    interface = foreign.interface
    check_stop()
    logger.info("folding what does not depend on the latents")
    normal = normalize(model, interface)
    draft = rewrite(normal, config, interface.classes)
    logger.info("generating reference images with the file itself")
    reference = foreign.reference(config.seeds, graph_operations(normal))
    unproved = unproved_manifest(
        draft,
        config,
        interface.shape,
        source="onnx",
        latent_dim=interface.inputs.latent_dim,
        classes=tuple(map(str, range(interface.classes))),
        step=None,
        weights_sha256=sha256,
        config={"file": config.file.name},
    )
    in_16_bits = computes_in_16_bits(model)
    return prove_and_write(
        draft,
        reference,
        unproved,
        config.path,
        config.allowed(in_16_bits=in_16_bits, in_levels=interface.value_range is None),
        loosened=config.loosened(in_16_bits=in_16_bits),
        reference_sha256=sha256,
    )


def _check_foreign(model: "ModelProto", path: Path) -> None:
    if any(entry.key == METADATA_KEY for entry in model.metadata_props):
        raise UsageError(
            f"{path} was written by wgan and is optimised already: for another precision or target"
            " run  wgan export  on its checkpoint, or  wgan optimize  on the file it was made from"
        )


def load_foreign(path: Path) -> tuple["ModelProto", str]:
    """Read a model with all its weights, and the SHA-256 of the whole.

    Raises:
        ModelFileError: it is missing, damaged, or names weights outside its folder.
        ExportError: onnx cannot read it.
    """
    import onnx

    # protobuf's errors have no common class.
    with translated_errors(
        lambda exc: ExportError(f"{path} cannot be read as ONNX: {first_line(exc)}")
    ):
        data = read_complete(path)
        return onnx.load_model_from_string(data), hashlib.sha256(data).hexdigest()
