"""The parity gate with engines whose faults are known."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.checkpoints import trained_checkpoint
from wgan.errors import ExportError, ParityError
from wgan.export.config import TOLERANCES, ExportConfig
from wgan.export.draft import publish
from wgan.export.formats.onnx import WithPixels, clean, onnx_draft
from wgan.export.parity.engines import Engine
from wgan.export.parity.extent import BATCH_SIZES, REFERENCE_BYTES, batch_sizes, seed_count
from wgan.export.parity.gate import Reference, prove
from wgan.images import Images, Pixels, to_images, to_pixels
from wgan.latents import Latents
from wgan.training.checkpoint import Checkpoint

LATENT_DIM = 16
PORTABLE = ExportConfig(target="portable")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return trained_checkpoint()


@pytest.fixture(scope="module")
def reference(checkpoint: Checkpoint) -> Reference:
    return Reference.draw(checkpoint.ema_generator(), LATENT_DIM)


@pytest.mark.parametrize(
    ("rounding", "allowed"),
    [(1e-6, 1e-5), (2e-5, 4e-5), (1e-2, 1e-4)],
    ids=["small", "large", "fault"],
)
def test_twice_the_rounding_of_the_reference_is_allowed_up_to_a_limit(
    reference: Reference, rounding: float, allowed: float
) -> None:
    assert reference.images64 is not None
    exact = reference.images[: len(reference.images64)].astype(np.float64)
    exact[0, 0, 0, 0] += rounding
    widened = dataclasses.replace(reference, images64=exact).widened(TOLERANCES["fp32"])
    assert widened.images == pytest.approx(allowed, rel=0.05)
    of_a_file = dataclasses.replace(reference, images64=None)
    assert of_a_file.widened(TOLERANCES["fp32"]) == TOLERANCES["fp32"]
    optimized = exact[:2].astype(np.float32)
    widened = dataclasses.replace(of_a_file, optimized=optimized).widened(TOLERANCES["fp32"])
    assert widened.images == pytest.approx(allowed, rel=0.05)


def test_the_error_names_the_value_and_the_difference(reference: Reference) -> None:
    def run(latents: Latents) -> tuple[Images, Pixels]:
        start = int(np.flatnonzero((reference.latents == latents[0]).all(axis=1))[0])
        images = reference.images[start : start + len(latents)].copy()
        if len(latents) == 7:
            images[2, 1, 5, 6] += 0.5
        return images, to_pixels(images)

    # Batches 1, 2 and 3 have the seeds 0 to 5, so the third of the batch of 7 is seed 8.
    with pytest.raises(
        ParityError,
        match=r"images of seed 8 at \[1, 5, 6\].* batch of 7 \(seeds 6-12\).* by 0\.5, .*1e-05",
    ):
        prove([Engine("test", run)], reference, TOLERANCES["fp32"], loosened=False)


def test_pixels_that_do_not_match_the_images_are_refused(reference: Reference) -> None:
    def run(latents: Latents) -> tuple[Images, Pixels]:
        start = int(np.flatnonzero((reference.latents == latents[0]).all(axis=1))[0])
        rows = slice(start, start + len(latents))
        return reference.images[rows], reference.pixels[rows][..., ::-1]

    with pytest.raises(ParityError, match="pixels of seed 0"):
        prove([Engine("test", run)], reference, TOLERANCES["fp32"], loosened=False)


@pytest.mark.parametrize("wrong", ["nan", "shape", "dtype"])
def test_a_nan_a_wrong_shape_and_a_wrong_type_are_refused(reference: Reference, wrong: str) -> None:
    def run(latents: Latents) -> tuple[Images, Pixels]:
        images = reference.images[: len(latents)].copy()
        if wrong == "nan":
            images[0, 0, 0, 0] = np.nan
        elif wrong == "shape":
            images = images[:, :, :-1]
        else:
            images = images.astype(np.float64)
        return images, reference.pixels[: len(latents)]

    with pytest.raises(ParityError, match=r"are nan|32, 32|float64"):
        prove([Engine("test", run)], reference, TOLERANCES["fp32"], loosened=False)


def test_the_receipt_records_seeds_and_differences(reference: Reference) -> None:
    def run(latents: Latents) -> tuple[Images, Pixels]:
        start = int(np.flatnonzero((reference.latents == latents[0]).all(axis=1))[0])
        rows = slice(start, start + len(latents))
        return reference.images[rows] + np.float32(1.234e-6), reference.pixels[rows]

    receipt = prove([Engine("test", run)], reference, TOLERANCES["fp32"], loosened=False)
    assert receipt.seeds == f"0-{sum(BATCH_SIZES) - 1}"
    assert 1.2e-6 <= receipt.seen.images <= 1.4e-6
    assert receipt.seen.pixels == 0


def test_a_frozen_batch_axis_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    program = torch.onnx.export(
        WithPixels(checkpoint.ema_generator()).eval(), (torch.zeros(1, LATENT_DIM),), dynamo=True,
        external_data=False, input_names=["latents"], output_names=["images", "pixels"],
        opset_version=18, verbose=False,
    )  # fmt: skip
    assert program is not None
    draft = onnx_draft(clean(program.model_proto))
    with pytest.raises(ParityError, match="takes only batches of 1;"):
        publish(draft, checkpoint, PORTABLE, tmp_path / "x.onnx")


@pytest.mark.parametrize(
    ("shape", "largest"),
    [((128, 128, 3), 257), ((256, 256, 3), 257), ((512, 512, 3), 64), ((512, 512, 16), 7)],
)
def test_large_images_are_proved_on_as_many_as_fit(
    shape: tuple[int, int, int], largest: int
) -> None:
    values = math.prod(shape)
    assert batch_sizes(values)[-1] == largest
    assert sum(batch_sizes(values)) <= seed_count(values, 1024) <= 1024
    assert seed_count(values, 1024) * values * 5 <= REFERENCE_BYTES
    assert seed_count(values, 0) == sum(batch_sizes(values))


@pytest.mark.parametrize(
    ("operations", "largest", "seeds"),
    [(10**6, 257, 1024), (10**9, 257, 549), (3 * 10**9, 64, 183), (10**12, 7, 13)],
)
def test_expensive_generators_are_proved_on_fewer_images(
    operations: int, largest: int, seeds: int
) -> None:
    assert batch_sizes(32 * 32 * 3, operations)[-1] == largest
    assert seed_count(32 * 32 * 3, 1024, operations) == seeds


def test_the_reference_counts_the_operations_of_an_image() -> None:
    class Linear(torch.nn.Module):
        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return (z @ torch.ones(LATENT_DIM, 64).to(z.dtype)).reshape(-1, 1, 8, 8).tanh()

    assert Reference.draw(Linear(), LATENT_DIM).operations == 2 * LATENT_DIM * 64


def test_golden_images_that_do_not_fit_are_left_out() -> None:
    reference = noise_reference(1024)
    receipt = prove([engine_of(reference)], reference, TOLERANCES["fp32"], loosened=False)
    assert [golden.seed for golden in receipt.goldens] == [0]
    assert receipt.batch_sizes == (1, 2, 3, 7)
    large = noise_reference(2400, channels=1)
    with pytest.raises(ExportError, match="images of 2400x2400 pixels and 1 channels are too"):
        prove([engine_of(large)], large, TOLERANCES["fp32"], loosened=False)


def noise_reference(side: int, channels: int = 3) -> Reference:
    """Images of noise, which no PNG shrinks."""
    seeds = seed_count(side * side * channels, 0)
    shape = (seeds, side, side, channels)
    pixels = np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)
    latents = np.zeros((seeds, 1), np.float32)
    latents[:, 0] = np.arange(seeds)
    return Reference(latents, to_images(pixels), pixels, None)


def engine_of(reference: Reference) -> Engine:
    """An engine that gives the images of the reference."""

    def run(latents: Latents) -> tuple[Images, Pixels]:
        chosen = latents[:, 0].astype(int)
        return reference.images[chosen], reference.pixels[chosen]

    return Engine("CPUExecutionProvider", run)
