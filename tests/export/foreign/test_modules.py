"""`wgan export --module`: PyTorch generators of other projects."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.processes import RunWgan
from wgan.errors import ExportError, UsageError
from wgan.export import ExportConfig, export_module
from wgan.export.config import TOLERANCES
from wgan.export.foreign.arguments import make_inputs
from wgan.export.foreign.module import ForeignGenerator, draw
from wgan.latents import latents_from_seeds
from wgan.runtime import Generator

LATENT_DIM = 6


class Small(nn.Module):
    """Latents `[n, 6, 1, 1]` -> images `[n, 3, 8, 8]`, as pytorch/examples' DCGAN."""

    def __init__(self, last: nn.Module | None = None) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(LATENT_DIM, 12, 4, 1, 0, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
            nn.ConvTranspose2d(12, 3, 4, 2, 1, bias=False), last or nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Any:
        """Draw images."""
        return self.main(z)


class Several(nn.Module):
    """A class, a truncation and noise besides latents; a dict of images and features."""

    def __init__(self) -> None:
        super().__init__()
        self.main = Small().main
        self.embedding = nn.Embedding(10, LATENT_DIM)

    def forward(
        self, z: Tensor, y: Tensor, truncation: float = 1.0, noise_mode: str = "random"
    ) -> Any:
        """Draw images and features."""
        images = self.main((z * self.embedding(y) * truncation)[:, :, None, None])
        if noise_mode == "random":
            images = images + torch.randn_like(images)
        return {"features": z, "images": images.clamp(-1, 1)}


class Casting(Small):
    """Turns what comes into float32, as NVIDIA's StyleGANs do."""

    def forward(self, z: Tensor) -> Any:
        """Draw images."""
        return self.main.float()(z.float())


@pytest.fixture
def module() -> Small:
    torch.manual_seed(0)
    small = Small()
    with torch.no_grad():
        small(torch.randn(32, LATENT_DIM, 1, 1))
    return small


def images_of(path: Path, n: int = 5) -> Any:
    with Generator(path) as generator:
        return generator.images(latents_from_seeds(range(n), LATENT_DIM))


def drawn(module: nn.Module, n: int = 5) -> Any:
    latents = torch.from_numpy(latents_from_seeds(range(n), LATENT_DIM))
    with torch.no_grad():
        return module.eval()(latents[:, :, None, None]).numpy()


def test_a_module_becomes_a_file_that_draws_what_it_draws(module: Small, tmp_path: Path) -> None:
    manifest = export_module(module, (LATENT_DIM, 1, 1), tmp_path / "g.onnx")
    assert (manifest.source, manifest.step, manifest.config) == ("module", None, {})
    assert (manifest.height, manifest.width, manifest.channels) == (8, 8, 3)
    assert manifest.receipt.reference == "PyTorch"
    assert manifest.receipt.float64_images is not None
    assert np.abs(images_of(tmp_path / "g.onnx") - drawn(module)).max() < 1e-5


@pytest.mark.parametrize("file_format", ["torchscript", "pt2"])
def test_a_module_becomes_a_file_for_pytorch(
    module: Small, tmp_path: Path, file_format: str
) -> None:
    path = tmp_path / "small"
    manifest = export_module(module, (LATENT_DIM, 1, 1), path, file_format=file_format)
    assert manifest.receipt.providers == ("PyTorch",)
    assert (manifest.height, manifest.width, manifest.channels) == (8, 8, 3)


class Shifted(Small):
    """Its own graph has the constants of the last nodes, which turn images into pixels."""

    def forward(self, z: Tensor) -> Any:
        """Draw images in [0, 1]."""
        return (self.main(z) * 127.5 + 127.5) / 255


def test_constants_of_the_graph_that_are_those_of_the_pixels_may_be_float16(tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    config = ExportConfig(precision="fp16")
    export_module(Shifted(), (LATENT_DIM, 1, 1), path, value_range=(0, 1), config=config)
    assert images_of(path).std() > 0


class Whole(Small):
    """Turns its images into whole numbers, by the formula of NVIDIA's StyleGANs."""

    def __init__(self, dtype: torch.dtype = torch.uint8, *, clamps: bool = True) -> None:
        super().__init__()
        self.dtype, self.clamps = dtype, clamps

    def forward(self, z: Tensor) -> Any:
        """Draw images of 256 levels."""
        # Upscaled: of 49152 values rounding tips some where the fraction is cut off.
        large = nn.functional.interpolate(self.main(z), size=(128, 128), mode="bilinear")
        levels = large * 127.5 + 128
        return (levels.clamp(0, 255) if self.clamps else levels).to(self.dtype)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_rounding_may_tip_an_image_of_256_levels_by_one(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = Whole(dtype)
    manifest = export_module(module, (LATENT_DIM, 1, 1), tmp_path / "g.onnx")
    assert 1e-5 < manifest.receipt.seen.images < 0.008
    assert manifest.receipt.seen.pixels == 1
    with Generator(tmp_path / "g.onnx") as generator:
        pixels = generator.sample(4).astype(int)
    latents = torch.from_numpy(latents_from_seeds(range(4), LATENT_DIM))[:, :, None, None]
    expected = module.eval()(latents).permute(0, 2, 3, 1).numpy()
    assert np.abs(pixels - expected).max() <= 1


@pytest.mark.parametrize(
    ("dtype", "value_range", "message"),
    [
        (torch.uint8, (0, 1), "--range 0,1 is not allowed: .* whole numbers, uint8, .* is 0,255"),
        (torch.int32, None, "whole numbers, int32, .* not class indices, give  --range=0,255"),
    ],
)
def test_whole_numbers_are_of_256_levels(
    tmp_path: Path, dtype: torch.dtype, value_range: Any, message: str
) -> None:
    module = Whole(dtype, clamps=False)  # bilinear, so that its graph tells no range
    with pytest.raises(UsageError, match=message):
        export_module(module, (LATENT_DIM, 1, 1), tmp_path / "g.onnx", value_range)


class Saturated(nn.Module):
    """Levels from 0 to 256, most of them the one or the other, without a clamp."""

    def __init__(self, factor: float = 128, term: float = 128) -> None:
        super().__init__()
        self.main, self.factor, self.term = Small().main, factor, term

    def forward(self, z: Tensor) -> Any:
        """Draw images of whole numbers."""
        large = torch.tanh(torch.atanh(self.main(z) * 0.999) * 1000)
        return (large * self.factor + self.term).to(torch.int32)


def test_a_level_beside_those_of_pixels_is_clipped_if_the_range_is_given(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, path = Saturated(), tmp_path / "g.onnx"
    with pytest.raises(UsageError, match=r"from 0 to 256: .* from 0 to 255\. Give  --range=0,255"):
        export_module(module, (LATENT_DIM, 1, 1), path)
    export_module(module, (LATENT_DIM, 1, 1), path, (0, 255))
    latents = latents_from_seeds(range(4), LATENT_DIM)
    with Generator(path) as generator:
        images, pixels = generator.images(latents), generator.sample(4)
    assert (images.min(), images.max()) == (-1, 1)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_a_cast_truncates_towards_zero(tmp_path: Path) -> None:
    export_module(Saturated(128, 127.5), (LATENT_DIM, 1, 1), tmp_path / "g.onnx")


def test_signed_levels_are_refused_also_with_a_range(tmp_path: Path) -> None:
    module = Saturated(127.5, -0.5)
    with pytest.raises(UsageError, match=r"from -128 to 127: those of images are from 0 to 255$"):
        export_module(module, (LATENT_DIM, 1, 1), tmp_path / "g.onnx", (0, 255))


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.uint32, torch.complex64])
@pytest.mark.parametrize("value_range", [None, (0, 255)])
def test_types_that_images_cannot_have_are_refused(
    tmp_path: Path, dtype: torch.dtype, value_range: Any
) -> None:
    module = Whole(dtype)
    with pytest.raises(ExportError, match=f"images are of the type {dtype}: .* int32 or int64"):
        export_module(module, (LATENT_DIM, 1, 1), tmp_path / "g.onnx", value_range)


def test_an_image_shape_that_does_not_fit_is_named(module: Small, tmp_path: Path) -> None:
    flat = nn.Sequential(module, nn.Flatten())
    message = r"--image-shape 8x8x1 does not fit: the generator returns \[192\] for each image"
    with pytest.raises(UsageError, match=message):
        export_module(flat, (LATENT_DIM, 1, 1), tmp_path / "g.onnx", image_shape=(8, 8, 1))


def test_images_that_are_not_finite_are_named() -> None:
    network = Small(nn.LogSigmoid()).eval()
    next(network.parameters()).data.fill_(torch.nan)
    with pytest.raises(ExportError, match="values that are not finite"):
        draw(ForeignGenerator(network, (LATENT_DIM, 1, 1), {}))


def test_a_range_is_told_by_the_module(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Small(nn.Sigmoid())
    export_module(module, (LATENT_DIM, 1, 1), tmp_path / "g.onnx")
    assert np.abs(images_of(tmp_path / "g.onnx") - (drawn(module) * 2 - 1)).max() < 1e-5


def test_a_range_that_cannot_be_told_must_be_given(tmp_path: Path) -> None:
    module = Small(nn.Identity())
    with pytest.raises(UsageError, match=r"output images is unknown.*--range=-1,1"):
        export_module(module, (LATENT_DIM, 1, 1), tmp_path / "g.onnx")
    assert not list(tmp_path.iterdir())


def test_a_module_that_casts_to_float32_has_no_float64_referee(tmp_path: Path) -> None:
    manifest = export_module(Casting(), (LATENT_DIM, 1, 1), tmp_path / "g.onnx")
    assert manifest.receipt.float64_images is None
    with Generator(tmp_path / "g.onnx") as generator:
        assert generator.manifest == manifest


@dataclasses.dataclass
class Drawn:
    images: Tensor
    mask: Tensor


@dataclasses.dataclass(slots=True)
class WithSlots:
    images: Tensor
    mask: Tensor


class Named(NamedTuple):
    images: Tensor
    mask: Tensor


def flat(images: Tensor) -> Tensor:
    return images.reshape(len(images), -1)


@pytest.mark.parametrize(
    ("form", "output"),
    [
        (lambda images: [images], None),
        (lambda images: (images, flat(images)), None),
        (lambda images: (images, images * 2), "0"),
        (lambda images: Drawn(images, images * 2), "images"),
        (lambda images: WithSlots(images * 2, images), "mask"),
        (lambda images: (None, images, images * 2), "1"),
        (lambda images: Named(images, images * 2), "images"),
        (lambda images: Named(images, images * 2), "0"),
        (lambda images: ((images * 2, images), flat(images)), "0.1"),
        (lambda images: {"levels": {"last": images, "first": images * 2}}, "levels.last"),
    ],
)  # fmt: skip
def test_images_are_found_in_what_a_module_returns(
    form: Callable[[Tensor], Any], output: str | None
) -> None:
    class Returning(Small):
        def forward(self, z: Tensor) -> Any:
            return form(super().forward(z))

    torch.manual_seed(0)
    plain = Small().eval()
    torch.manual_seed(0)
    generator = ForeignGenerator(Returning().eval(), (LATENT_DIM, 1, 1), {}, output)
    latents = torch.randn(2, LATENT_DIM)
    expected = plain(latents[:, :, None, None])
    assert torch.equal(generator(latents), expected)


@pytest.mark.parametrize(
    ("form", "output", "message"),
    [
        (lambda _: None, None, "returns 'NoneType', in which there is no tensor"),
        (lambda _: "images", "0", "returns 'str', in which there is no tensor"),
        (lambda _: {"a": 1}, None, "returns 'dict', in which there is no tensor"),
        (lambda images: Drawn(images, images), None, r"returns 2 tensors \(images, mask\): choose"),
        (lambda images: Drawn(images, images), "other", "the generator returns images, mask"),
        (lambda images: ((images, images),), "0", "the generator returns 0.0, 0.1"),
        (lambda images: (None, images), "0", "--output-name 0: the generator returns 1"),
        (lambda images: {1: images, "1": images}, "1", "several tensors of one name: 1"),
    ],
)  # fmt: skip
def test_where_no_images_are_found_the_message_names_what_is_returned(
    form: Callable[[Tensor], Any], output: str | None, message: str
) -> None:
    class Returning(Small):
        def forward(self, z: Tensor) -> Any:
            return form(super().forward(z))

    generator = ForeignGenerator(Returning().eval(), (LATENT_DIM, 1, 1), {}, output)
    with pytest.raises(UsageError, match=message):
        generator(torch.randn(2, LATENT_DIM))


class InHalf(Small):
    """Computes its last layers in float16, as StyleGAN2 does."""

    def forward(self, z: Tensor) -> Any:
        """Draw images."""
        first, *others = self.main
        images: Any = first(z).half()
        for layer in others:
            images = layer.half()(images)
        return images.float()


def test_a_module_in_half_precision_has_the_tolerance_of_fp16(tmp_path: Path) -> None:
    manifest = export_module(InHalf(), (LATENT_DIM, 1, 1), tmp_path / "g.onnx")
    assert manifest.receipt.allowed == TOLERANCES["fp16"]
    assert not manifest.receipt.loosened


class HalfOnTheSide(Small):
    """Casts to float16 what no layer takes."""

    def forward(self, z: Tensor) -> Any:
        """Draw images."""
        images = super().forward(z)
        return images + images.half().float().mean() * 1e-9


def test_a_cast_that_no_layer_takes_does_not_loosen_the_tolerance(tmp_path: Path) -> None:
    config = ExportConfig()
    manifest = export_module(
        HalfOnTheSide(), (LATENT_DIM, 1, 1), tmp_path / "g.onnx", value_range=(-1, 1), config=config
    )
    assert manifest.receipt.allowed.images < 2 * TOLERANCES["fp32"].images


def test_a_tolerance_of_ones_own_holds_in_half_precision() -> None:
    allowed = ExportConfig(tolerance_images=1e-6).allowed(in_16_bits=True)
    assert allowed == dataclasses.replace(TOLERANCES["fp16"], images=1e-6)
    assert not ExportConfig(tolerance_images=1e-3).loosened(in_16_bits=True)
    assert ExportConfig(tolerance_images=1e-3).loosened()
    int8 = ExportConfig(precision="int8")
    assert int8.allowed(in_16_bits=True) == TOLERANCES["int8"]


def test_further_arguments_and_outputs_are_chosen(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Several()
    inputs = make_inputs(module, {"truncation": "0.7", "noise_mode": "const"}, 3)
    path = tmp_path / "g.onnx"
    export_module(module, (LATENT_DIM,), path, inputs=inputs, output="images")
    latents = torch.from_numpy(latents_from_seeds(range(5), LATENT_DIM))
    with torch.no_grad():
        expected = module(latents, torch.full((5,), 3), 0.7, "const")["images"]
    assert np.abs(images_of(path) - expected.numpy()).max() < 1e-5


def test_noise_is_found_by_drawing_twice() -> None:
    module = Several().eval()
    inputs = make_inputs(module, {}, 3)
    with pytest.raises(ExportError, match=r"draws random numbers itself.*--input noise_mode=const"):
        draw(ForeignGenerator(module, (LATENT_DIM,), inputs, "images"))


class OfLists(Small):
    """Takes a list of latents, as a public StyleGAN2 does."""

    def forward(self, z: Any) -> Any:
        """Draw images."""
        return self.main(z[0])


def test_another_number_of_images_than_latents_is_named() -> None:
    with pytest.raises(
        ExportError, match=r"returns 1 images for latents \[8, 1, 6, 1, 1\]: .* list"
    ):
        draw(ForeignGenerator(OfLists().eval(), (1, LATENT_DIM, 1, 1), {}))


class Noisy(Small):
    """Draws noise, which no argument fixes, and counts its runs."""

    runs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("runs", torch.zeros(()))

    def forward(self, z: Tensor) -> Any:
        """Draw images."""
        self.runs += 1
        return self.main(z + torch.randn_like(z))


class Iterating(Small):
    """Changes a vector in each run, as older implementations of spectral norm do."""

    u: Tensor

    def __init__(self, how: str = "in place", *, persistent: bool = True) -> None:
        super().__init__()
        self.how = how
        self.register_buffer("u", torch.ones(LATENT_DIM, 1, 1), persistent=persistent)

    def forward(self, z: Tensor) -> Any:
        """Draw images."""
        images = self.main(z + self.u)
        if self.how == "in place":
            self.u.mul_(0.5)
        elif self.how == "data":
            self.u.data.mul_(0.5)
        elif self.how == "assigned":
            self.u = self.u * 0.5
        else:
            self.u.fill_(2)
        return images


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Noisy(), "draws random numbers itself: .* Take the noise out of forward"),
        *(
            (
                Iterating(how, persistent=persistent),
                r"changes its own weights or buffers, .* \(u\).* only if  self.training",
            )
            for how in ("in place", "data", "assigned", "once")
            for persistent in (True, False)
        ),
    ],
)
def test_why_two_runs_differ_is_said(module: nn.Module, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        draw(ForeignGenerator(module.eval(), (LATENT_DIM, 1, 1), {}))


def test_weights_are_copied_only_if_two_runs_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = ForeignGenerator(Small().eval(), (LATENT_DIM, 1, 1), {})
    copied: list[Tensor] = []
    clone = Tensor.clone

    def counted(value: Tensor, **options: Any) -> Tensor:
        copied.append(value)
        return clone(value, **options)

    monkeypatch.setattr(Tensor, "clone", counted)
    draw(generator)
    weights = {value.data_ptr() for value in generator.state_dict().values()}
    assert copied
    assert weights.isdisjoint(value.data_ptr() for value in copied)


def test_an_output_that_does_not_exist_is_named() -> None:
    module = Several().eval()
    inputs = make_inputs(module, {"noise_mode": "const"}, 3)
    with pytest.raises(UsageError, match="--output-name mask: the generator returns features, im"):
        draw(ForeignGenerator(module, (LATENT_DIM,), inputs, "mask"))


def test_latents_of_the_wrong_shape_are_explained() -> None:
    with pytest.raises(ExportError, match="cannot be run on latents of this shape"):
        draw(ForeignGenerator(Small().eval(), (LATENT_DIM,), {}))


def test_a_batch_norm_that_keeps_no_statistics_is_found() -> None:
    module = Small()
    module.main[1] = nn.BatchNorm2d(12, track_running_stats=False)
    with pytest.raises(ExportError, match="depends on the other images of its batch"):
        draw(ForeignGenerator(module.eval(), (LATENT_DIM, 1, 1), {}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "w.pth"}, "--weights is for generators of other projects"),
        ({"latent_shape": (3,)}, "--latents is for generators of other projects"),
        ({"module": "a:b", "source": Path("runs/x")}, "two generators"),
        ({"module": "a:b", "image_shape": (3, 3)}, "a sequence of 3"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ExportConfig(**options)


MODULE = """
from torch import nn

def make():
    return nn.Sequential(
        nn.ConvTranspose2d(6, 12, 4, 1, 0, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.ConvTranspose2d(12, 3, 4, 2, 1, bias=False), nn.Tanh(),
    )
"""


def test_the_command_takes_a_public_dcgan_and_its_weights(
    run_wgan: RunWgan, tmp_path: Path, module: Small
) -> None:
    (tmp_path / "mygan.py").write_text(MODULE)
    torch.save(module.main.state_dict(), tmp_path / "netG.pth")
    done = run_wgan(
        "export", "--module", "mygan:make", "--weights", "netG.pth", "--latents", "6x1x1",
        "-o", "mine.onnx",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "mine.onnx: fp32 for cpu; within" in done.stdout
    assert np.abs(images_of(tmp_path / "mine.onnx") - drawn(module)).max() < 1e-5
    # It is the latest export, which other commands take by themselves.
    assert "source        module" in run_wgan("info").stdout
