import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, numpy_helper

from tests.checkpoints import trained_checkpoint
from wgan.errors import ParityError
from wgan.export.config import TOLERANCES, ExportConfig
from wgan.export.exporting import make_candidate, onnx_candidate, publish
from wgan.export.onnx_format import Drawing, clean, to_onnx
from wgan.export.parity import Engine, prove
from wgan.export.reference import BATCH_SIZES, Latents, Reference
from wgan.images import Images, Pixels, to_pixels
from wgan.training.checkpoint import Checkpoint

LATENT_DIM = 16
PORTABLE = ExportConfig(target="portable")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return trained_checkpoint()


@pytest.fixture(scope="module")
def reference(checkpoint: Checkpoint) -> Reference:
    return Reference.draw(checkpoint.ema_generator(), LATENT_DIM)


@pytest.fixture(scope="module")
def sound_model(checkpoint: Checkpoint) -> ModelProto:
    return to_onnx(checkpoint.ema_generator(), LATENT_DIM)


@pytest.fixture
def model(sound_model: ModelProto) -> ModelProto:
    """A copy to plant faults in."""
    return copy.deepcopy(sound_model)


def weights(model: ModelProto) -> list[onnx.TensorProto]:
    return [tensor for tensor in model.graph.initializer if len(tensor.dims) == 4]


def replace(tensor: onnx.TensorProto, value: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))


def change_a_weight(model: ModelProto) -> None:
    for tensor in weights(model)[1:2]:
        value = numpy_helper.to_array(tensor).copy()
        value[np.unravel_index(np.abs(value).argmax(), value.shape)] *= 1.01
        replace(tensor, value)


def swap_channels(model: ModelProto) -> None:
    last = weights(model)[-1]
    replace(last, numpy_helper.to_array(last)[:, [1, 0, 2]])


def freeze_the_batch(model: ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Unsqueeze":
            node.op_type = "Reshape"
            shape = numpy_helper.from_array(np.array([2, LATENT_DIM, 1, 1]), "frozen")
            model.graph.initializer.append(shape)
            node.input[1] = "frozen"


def drop_the_last_activation(model: ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Tanh":
            node.op_type = "Identity"


def truncate_the_pixels(model: ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == "Round":
            node.op_type = "Floor"


FAULTS = [change_a_weight, swap_channels, freeze_the_batch, drop_the_last_activation]


@pytest.mark.parametrize("plant", FAULTS)
def test_a_fault_in_the_graph_refuses_the_export_and_leaves_no_file(
    checkpoint: Checkpoint, model: ModelProto, tmp_path: Path, plant: Callable[[ModelProto], None]
) -> None:
    plant(model)
    with pytest.raises(ParityError):
        publish(onnx_candidate(model), checkpoint, PORTABLE, tmp_path / "generator.onnx")
    assert not list(tmp_path.iterdir())


def test_the_same_graph_without_a_fault_is_exported(
    checkpoint: Checkpoint, model: ModelProto, tmp_path: Path
) -> None:
    publish(onnx_candidate(model), checkpoint, PORTABLE, tmp_path / "generator.onnx")
    assert (tmp_path / "generator.onnx").is_file()


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("kind", ["onnx", "torchscript", "pt2"])
def test_batch_norm_in_training_mode_refuses_the_export(
    checkpoint: Checkpoint, tmp_path: Path, kind: str
) -> None:
    generator = checkpoint.ema_generator()
    for module in generator.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean = module.running_var = None  # the batch's own are taken then
    config = ExportConfig(format=kind, target="portable")
    candidate = make_candidate(generator, LATENT_DIM, config)
    with pytest.raises(ParityError, match="images of seed"):
        publish(candidate, checkpoint, config, tmp_path / "generator")
    assert not list(tmp_path.iterdir())


def test_a_refused_export_leaves_the_old_file_as_it_was(
    checkpoint: Checkpoint, model: ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "generator.onnx"
    path.write_bytes(b"the old one")
    swap_channels(model)
    with pytest.raises(ParityError):
        publish(onnx_candidate(model), checkpoint, PORTABLE, path)
    assert path.read_bytes() == b"the old one"


def test_the_error_says_where_and_by_how_much(reference: Reference) -> None:
    def engine(drawn: Latents) -> tuple[Images, Pixels]:
        start = int(np.flatnonzero((reference.latents == drawn[0]).all(axis=1))[0])
        images = reference.images[start : start + len(drawn)].copy()
        if len(drawn) == 7:
            images[2, 1, 5, 6] += 0.5
        return images, to_pixels(images)

    # Batches 1, 2 and 3 have the seeds 0 to 5, so the third of the batch of 7 is seed 8.
    with pytest.raises(
        ParityError,
        match=r"images of seed 8 at \[1, 5, 6\].* batch of 7 \(seeds 6-12\).* by 0\.5 .*1e-05",
    ):
        prove([Engine("test", engine)], reference, TOLERANCES["fp32"], loosened=False)


def test_pixels_that_do_not_follow_from_the_images_are_caught(reference: Reference) -> None:
    def engine(drawn: Latents) -> tuple[Images, Pixels]:
        start = int(np.flatnonzero((reference.latents == drawn[0]).all(axis=1))[0])
        rows = slice(start, start + len(drawn))
        return reference.images[rows], reference.pixels[rows][..., ::-1]

    with pytest.raises(ParityError, match="pixels of seed 0"):
        prove([Engine("test", engine)], reference, TOLERANCES["fp32"], loosened=False)


@pytest.mark.parametrize("wrong", ["nan", "shape", "dtype"])
def test_nan_shape_and_type_are_differences(reference: Reference, wrong: str) -> None:
    def engine(drawn: Latents) -> tuple[Images, Pixels]:
        images = reference.images[: len(drawn)].copy()
        if wrong == "nan":
            images[0, 0, 0, 0] = np.nan
        elif wrong == "shape":
            images = images[:, :, :-1]
        else:
            images = images.astype(np.float64)
        return images, reference.pixels[: len(drawn)]

    with pytest.raises(ParityError, match=r"are nan|32, 32|float64"):
        prove([Engine("test", engine)], reference, TOLERANCES["fp32"], loosened=False)


def test_the_receipt_tells_what_was_tried_and_seen(reference: Reference) -> None:
    def engine(drawn: Latents) -> tuple[Images, Pixels]:
        start = int(np.flatnonzero((reference.latents == drawn[0]).all(axis=1))[0])
        rows = slice(start, start + len(drawn))
        return reference.images[rows] + np.float32(1.234e-6), reference.pixels[rows]

    receipt = prove([Engine("test", engine)], reference, TOLERANCES["fp32"], loosened=False)
    assert receipt.seeds == f"0-{sum(BATCH_SIZES) - 1}"
    assert 1.2e-6 <= receipt.seen.images <= 1.4e-6
    assert receipt.seen.pixels == 0


def test_a_batch_axis_traced_with_one_row_is_caught(checkpoint: Checkpoint, tmp_path: Path) -> None:
    program = torch.onnx.export(
        Drawing(checkpoint.ema_generator()).eval(), (torch.zeros(1, LATENT_DIM),), dynamo=True,
        external_data=False, input_names=["latents"], output_names=["images", "pixels"],
        opset_version=18, verbose=False,
    )  # fmt: skip
    assert program is not None
    candidate = onnx_candidate(clean(program.model_proto))
    with pytest.raises(ParityError, match="takes a batch of 1 alone"):
        publish(candidate, checkpoint, PORTABLE, tmp_path / "x.onnx")
