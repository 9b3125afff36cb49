"""A generator that is a PyTorch module of another project, called as wgan calls its own."""

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from wgan.errors import ExportError, UsageError, WganError, translated_errors
from wgan.export.foreign.arguments import LabelArgument
from wgan.model_file.graph_inputs import LABEL_NAME
from wgan.model_file.image_outputs import OTHER_WHOLE, UINT8, FoundImages, as_images
from wgan.model_file.onnx_scan import ValueInfo
from wgan.text import first_line, shorten


class ForeignGenerator(nn.Module):
    """Maps latents `[n, latent_dim]` to images `[n, c, h, w]` in [-1, 1] by another module.

    Args:
        module: the generator; its images have values in `value_range`.
        latent_shape: axes of one image's latents as the module takes them.
        inputs: its further arguments, by name: numbers, texts, tensors of one image.
        output: index or name of the images in a tuple, a dict or a dataclass, as in `levels.last`
            where they are nested; None takes the only tensor, or the only one with four axes.
        image_shape: height, width and channels of flat images.
        labels: the argument that takes the label of each image; None without classes.
    """

    def __init__(
        self,
        module: nn.Module,
        latent_shape: Sequence[int],
        inputs: Mapping[str, Any],
        output: str | None = None,
        image_shape: tuple[int, int, int] | None = None,
        labels: LabelArgument | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self.latent_shape = tuple(latent_shape)
        self.inputs, self.output = dict(inputs), output
        self.image_shape, self.labels = image_shape, labels
        self.value_range = (-1.0, 1.0)
        self.copies_inputs = False  # where the module changes them in place
        parameters = list(inspect.signature(module.forward).parameters.values())[1:]
        self._positional = [each.name for each in parameters if each.kind is each.POSITIONAL_ONLY]
        self._layout: FoundImages | None = None  # of the module's output, once it has run

    @property
    def latent_dim(self) -> int:
        """Numbers in one image's latents."""
        return math.prod(self.latent_shape)

    @property
    def classes(self) -> int:
        """Number of classes; 0 without labels."""
        return self.labels.classes if self.labels is not None else 0

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """`[n, latent_dim]` and, with classes, labels `[n]` -> `[n, c, h, w]`."""
        n = latents.shape[0]
        if self.copies_inputs:
            latents, labels = latents.clone(), None if labels is None else labels.clone()
        given = {
            name: value.to(latents.dtype if value.is_floating_point() else value.dtype).expand(
                n, *value.shape[1:]
            )
            if isinstance(value, Tensor)
            else value
            for name, value in self.inputs.items()
        }
        if self.labels is not None and labels is not None:
            given[self.labels.name] = self.labels.value(labels, latents.dtype)
        by_position = [given.pop(name) for name in self._positional if name in given]
        result = self.module(latents.reshape(n, *self.latent_shape), *by_position, **given)
        images = self._channels_first(self._select(result))
        low, high = self.value_range
        if (low, high) == (-1, 1):
            return images
        scaled: Tensor = (images - low) * (2 / (high - low)) - 1
        # Whole numbers may be a level beside those of pixels, as 256 is.
        may_be_outside = not images.is_floating_point() and images.dtype != torch.uint8
        return scaled.clamp(-1, 1) if may_be_outside else scaled

    def _select(self, result: Any) -> Tensor:
        found = list(_tensors_of(result))
        if not found:
            raise UsageError(
                f"forward of the generator returns {shorten(type(result).__name__)}, in which there"
                " is no tensor: it must return images"
            )
        tensors = dict(found)
        names = ", ".join(filter(None, tensors)) or "one tensor without a name"
        if len(tensors) < len(found):
            raise UsageError(f"the generator returns several tensors of one name: {names}")
        if self.output is None:
            images = [value for value in tensors.values() if value.ndim == 4]
            if len(tensors) > 1 and len(images) != 1:
                raise UsageError(
                    f"the generator returns {len(tensors)} tensors ({names}): choose its images"
                    " with  --output-name"
                )
            return images[0] if images else next(iter(tensors.values()))
        field_names = getattr(result, "_fields", ())  # of a named tuple, which has indices too
        is_index = self.output.isdecimal() and int(self.output) < len(field_names)
        name = field_names[int(self.output)] if is_index else self.output
        if name not in tensors:
            raise UsageError(f"--output-name {self.output}: the generator returns {names}")
        return tensors[name]

    def _channels_first(self, images: Tensor) -> Tensor:
        found = self._layout
        if found is None:  # later, while TorchScript traces, sizes are tensors and not numbers
            value = ValueInfo("images", "tensor(float)", (None, *images.shape[1:]))
            found = as_images(value, self.image_shape)[1]
        if found is None or found.sides is None:
            returned = f"the generator returns {list(images.shape[1:])} for each image"
            if self.image_shape is not None:
                shown = "x".join(map(str, self.image_shape))
                raise UsageError(
                    f"--image-shape {shown} does not fit: {returned}; give HEIGHTxWIDTHxCHANNELS"
                )
            raise UsageError(
                f"{returned}: images are [n, c, h, w], [n, h, w, c] or [n, h, w]; say what flat"
                " ones are with  --image-shape HEIGHTxWIDTHxCHANNELS, as in 28x28x1"
            )
        self._layout = found
        if found.layout == "nhwc":
            return images.permute(0, 3, 1, 2)
        if found.layout == "nchw":
            return images
        return images.reshape(-1, found.channels, *found.sides)


def _tensors_of(result: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in what a module returns, each with its names or indices, as in `1.images`."""
    if isinstance(result, Tensor):
        yield path, result
        return
    if isinstance(result, Mapping):
        items = list(result.items())
    elif is_dataclass(result) and not isinstance(result, type):
        items = [(each.name, getattr(result, each.name, None)) for each in fields(result)]
    elif isinstance(result, tuple | list):
        items = list(zip(getattr(result, "_fields", range(len(result))), result, strict=True))
    else:
        items = []
    for key, value in items:
        yield from _tensors_of(value, f"{path}.{key}" if path else str(key))


def draw(generator: ForeignGenerator, n: int = 8) -> Tensor:
    """Images of a few latents, drawn twice to see whether they are the same.

    Raises:
        ExportError: the generator fails, or is not deterministic.
        UsageError: what it returns is not clearly images.
    """
    latents = torch.randn(n, generator.latent_dim, generator=torch.Generator().manual_seed(0))
    inputs = [latents]
    if generator.labels is not None:
        inputs.append(torch.arange(n) % generator.classes)
        _choose_label_form(generator, inputs)
    kept = [each.clone() for each in inputs]
    before = _versions(generator)
    with _run_errors(generator), torch.no_grad():
        first = generator(*kept)
        generator.copies_inputs = not all(map(torch.equal, kept, inputs))
        second, first_two = generator(*inputs), generator(*(each[:2] for each in inputs))
    images: Tensor = first
    kind = f"tensor({str(images.dtype).removeprefix('torch.')})"
    if not images.is_floating_point() and kind not in (UINT8, *OTHER_WHOLE):
        raise ExportError(
            f"the generator's images are of the type {images.dtype}: they must be floats, or whole"
            " numbers from 0 to 255 as uint8, int16, uint16, int32 or int64. Convert them in"
            " forward, as in  images.float()"
        )
    if len(images) != n:
        raise ExportError(
            f"the generator returns {len(images)} images for latents [{n},"
            f" {', '.join(map(str, generator.latent_shape))}]: does forward take a list of latents,"
            " or another axis as the batch? Give it a forward that takes latents with the batch"
            " first"
        )
    if not torch.isfinite(images).all():
        raise ExportError(
            "the generator draws values that are not finite (NaN or infinite): are these the right"
            " weights, and were they trained to the end?"
        )
    if not torch.equal(first, second):
        raise ExportError(_why_runs_differ(generator, inputs, before))
    # Rounding may tip whole numbers by one.
    atol = 1e-3 if images.is_floating_point() else 1.0
    if not torch.allclose(first[:2].double(), first_two.double(), atol=atol):
        raise ExportError(
            "an image of the generator depends on the other images of its batch, also in eval mode"
        )
    return images


def _why_runs_differ(
    generator: ForeignGenerator, inputs: Sequence[Tensor], before: dict[str, tuple[Tensor, int]]
) -> str:
    """Whether the module draws random numbers or changes its state, which was `before`.

    Two runs that start from the same state differ only if it draws random numbers.
    """
    saved = {name: value.clone() for name, value in _state_of(generator)}
    versions = _versions(generator)
    changed = {name for name in saved if not _is_same(before.get(name), versions[name])}
    with _run_errors(generator), torch.no_grad():
        again = generator(*inputs)
        # Values too: no version counts what is written through `.data`.
        changed |= {
            name
            for name, value in _state_of(generator)
            if name in saved and not torch.equal(value, saved[name])
        }
        repeated = functional_call(generator, saved, tuple(inputs))
    if changed and torch.equal(again, repeated):
        shown = ", ".join(name.removeprefix("module.") for name in sorted(changed)[:4])
        return (
            "forward of the generator changes its own weights or buffers, also in eval mode"
            f" ({shown}), so that two runs on the same latents differ and an image"
            " would depend on more than its seed: let it change them only if  self.training"
        )
    names = ", ".join(list(inspect.signature(generator.module.forward).parameters)[1:])
    advice = (
        f"Fix the noise by an argument of forward, which takes {names}, as in  --input"
        " noise_mode=const"
        if names
        else "Take the noise out of forward, or let it be an argument that  --input  can fix"
    )
    return (
        "the generator draws random numbers itself: two runs on the same latents differ, so that"
        f" an image would depend on more than its seed. {advice}"
    )


def _state_of(generator: ForeignGenerator) -> Iterator[tuple[str, Tensor]]:
    """The module's weights and buffers, also those that its state_dict leaves out."""
    yield from generator.named_parameters()
    yield from generator.named_buffers()


def _versions(generator: ForeignGenerator) -> dict[str, tuple[Tensor, int]]:
    """The weights and buffers, each with PyTorch's count of the writes to it."""
    return {
        # Inference tensors have no count, and cannot be written to.
        name: (value, 0 if value.is_inference() else value._version)
        for name, value in _state_of(generator)
    }


def _is_same(before: tuple[Tensor, int] | None, after: tuple[Tensor, int]) -> bool:
    return before is not None and before[0] is after[0] and before[1] == after[1]


def _choose_label_form(generator: ForeignGenerator, inputs: Sequence[Tensor]) -> None:
    """Give the labels one-hot if the module takes no indices.

    Raises:
        UsageError: it takes neither.
    """
    indices = generator.labels
    assert indices is not None
    refused = _error_of(generator, inputs)
    if refused is None:
        return
    generator.labels = replace(indices, one_hot=True)
    also_refused = _error_of(generator, inputs)
    if also_refused is None:
        return
    generator.labels = indices
    if str(refused) == str(also_refused):
        return  # the reason is another one: the caller says it
    sizes = {each.num_embeddings for each in generator.modules() if isinstance(each, nn.Embedding)}
    table = f"its nn.Embedding has {sizes.pop()} rows; " if len(sizes) == 1 else ""
    raise UsageError(
        f"--labels {indices.name}:{indices.classes}: forward of the generator takes neither indices"
        f" from 0 to {indices.classes - 1} ({first_line(refused, 120)}) nor one-hot labels"
        f" [n, {indices.classes}] ({first_line(also_refused, 120)}):"
        f" {table}check  --latents  too"
    )


def _error_of(generator: ForeignGenerator, inputs: Sequence[Tensor]) -> Exception | None:
    """The error that the module raises; None if it runs."""
    try:
        with torch.no_grad():
            generator(*(each.clone() for each in inputs))
    except (WganError, MemoryError):
        raise
    except Exception as exc:  # noqa: BLE001 - of any kind, from the user's code
        return exc
    return None


def _run_errors(generator: ForeignGenerator) -> AbstractContextManager[None]:
    """Say with which arguments the module failed, and what to check. Raises ExportError."""

    def explained(exc: Exception) -> ExportError:
        given = [f"{name}={_say(value)}" for name, value in generator.inputs.items()]
        names = list(generator.inputs)
        if generator.labels is not None:
            given.append(f"labels {generator.labels.name}")
        advice = "Give the latents of one image as forward takes them, as in  --latents 100x1x1"
        if given:
            advice = "Check  --latents,  and the values of these arguments"
        labels = [name for name in names if LABEL_NAME.match(name)]
        if labels:
            advice += (
                f": a class is an index below their number,  --class K,  or one-hot,  --input"
                f" {labels[0]}=0,0,1"
            )
        shape = ", ".join(map(str, ("n", *generator.latent_shape)))
        arguments = f", with {', '.join(given)}" if given else ""
        return ExportError(
            f"the generator cannot be run on latents of this shape, [{shape}]{arguments}:"
            f" {first_line(exc, 200)}. {advice}"
        )

    return translated_errors(explained)


def _say(value: Any) -> str:
    """A value as the user wrote it, shortened."""
    if isinstance(value, Tensor):
        numbers = value.flatten().tolist()
        return ",".join(f"{each:g}" for each in numbers[:4]) + ",..." * (len(numbers) > 4)
    return shorten(value, 30)
