"""A generator that is a PyTorch module of another project, called as wgan calls its own."""

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wgan.errors import ExportError, UsageError
from wgan.export.formats import export_errors
from wgan.files import open_regular
from wgan.model_file.graph_inputs import LABEL_NAME, split_label_input
from wgan.model_file.image_outputs import FoundImages, as_images
from wgan.model_file.onnx_scan import ValueInfo
from wgan.text import first_line, shorten


@dataclass(frozen=True)
class LabelArgument:
    """An argument of a module that takes the label of each image."""

    name: str
    classes: int
    one_hot: bool = False  # [n, classes] rather than indices [n]

    def value(self, labels: Tensor, dtype: torch.dtype) -> Tensor:
        """The argument for labels `[n]`."""
        return torch.eye(self.classes, dtype=dtype)[labels] if self.one_hot else labels


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
        result = self.module(latents.reshape(n, *self.latent_shape), **given)
        images = self._channels_first(self._select(result))
        low, high = self.value_range
        return images if (low, high) == (-1, 1) else (images - low) * (2 / (high - low)) - 1

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


def make_inputs(module: nn.Module, given: Mapping[str, str], label: int | None) -> dict[str, Any]:
    """The further arguments of a module from what the user wrote.

    Raises:
        UsageError: the module has no such argument, or none that is clearly a class.
    """
    names = list(inspect.signature(module.forward).parameters)
    takes_any = any(
        parameter.kind is inspect.Parameter.VAR_KEYWORD
        for parameter in inspect.signature(module.forward).parameters.values()
    )
    for name in given:
        if name not in names and not takes_any:
            raise UsageError(f"--input {name}: forward of the generator takes {', '.join(names)}")
    inputs = {name: _parse(text) for name, text in given.items()}
    if label is not None:
        found = [name for name in names[1:] if LABEL_NAME.match(name) and name not in inputs]
        if not found:
            raise UsageError(
                f"--class {label}: forward of the generator takes {', '.join(names)}, and none of"
                " these is clearly a class; give  --input NAME=VALUE"
            )
        inputs[found[0]] = torch.tensor([label])
    return inputs


def make_labels(module: nn.Module, text: str | None) -> LabelArgument | None:
    """The argument that `"NAME:COUNT"` names; without COUNT it is that of its only embedding.

    Raises:
        UsageError: the module has no such argument, or the number of classes is unknown.
    """
    if text is None:
        return None
    names = list(inspect.signature(module.forward).parameters)[1:]
    name, classes = split_label_input(text, names)
    if name not in names:
        raise UsageError(
            f"--labels {text}: forward of the generator takes no {name}, only {', '.join(names)}"
        )
    tables = [each for each in module.modules() if isinstance(each, nn.Embedding)]
    if not classes and len(tables) == 1:
        classes = tables[0].num_embeddings
    if not classes:
        raise UsageError(
            f"--labels {name}: how many classes it has is unknown; give it, as in"
            f"  --labels {name}:10"
        )
    return LabelArgument(name, classes)


def check_arguments(
    module: nn.Module, inputs: Mapping[str, Any], labels: LabelArgument | None
) -> None:
    """Raise UsageError if `forward` has an argument besides the latents that nothing gives."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD,
             inspect.Parameter.KEYWORD_ONLY)  # fmt: skip
    given = {*inputs, *([] if labels is None else [labels.name])}
    missing = [
        each.name
        for each in parameters[1:]
        if each.kind in kinds and each.default is each.empty and each.name not in given
    ]
    if not missing:
        return
    name, taken = missing[0], ", ".join(each.name for each in parameters)
    advice = f"--input {name}=VALUE"
    if LABEL_NAME.match(name):
        advice = (
            f"--labels {name}:COUNT  to keep it an input,  --class K  for one class, or  {advice}"
        )
    raise UsageError(
        f"forward of the generator takes {taken}, the latents first, and {name} has no value: give"
        f"  {advice}"
    )


def _parse(text: str) -> Any:
    """A number, a flag, None, a text, a .npy file's array, or numbers: one row of a tensor.

    A number without a point is an int, as in Python. Raises UsageError if the file cannot be read.
    """
    words = {"none": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    if text.endswith(".npy"):
        try:
            with open_regular(Path(text)) as file:
                array = np.load(file, allow_pickle=False)
            # float64 is NumPy's default and no network's.
            return torch.from_numpy(array.astype(np.float32) if array.dtype == float else array)
        except (ValueError, TypeError, OSError, EOFError) as exc:
            raise UsageError(f"--input {text} cannot be read: {first_line(exc)}") from exc
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        return text
    if len(numbers) > 1:
        return torch.tensor([numbers])
    return int(text) if text.strip().lstrip("+-").isdecimal() else numbers[0]


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
    with export_errors("run on latents of this shape"), torch.no_grad():
        first, second = generator(*inputs), generator(*inputs)
        first_two = generator(*(each[:2] for each in inputs))
    images: Tensor = first
    if not torch.isfinite(images).all():
        raise ExportError(
            "the generator draws values that are not finite (NaN or infinite): are these the right"
            " weights, and were they trained to the end?"
        )
    if not torch.equal(first, second):
        raise ExportError(
            "the generator draws random numbers itself: two runs on the same latents differ, so"
            " that an image would depend on more than its seed. Fix the noise by an argument of"
            " forward, as in  --input noise_mode=const"
        )
    # Rounding may tip whole numbers by one.
    atol = 1e-3 if images.is_floating_point() else 1.0
    if not torch.allclose(first[:2].double(), first_two.double(), atol=atol):
        raise ExportError(
            "an image of the generator depends on the other images of its batch, also in eval mode"
        )
    return images


def _choose_label_form(generator: ForeignGenerator, inputs: Sequence[Tensor]) -> None:
    """Give the labels one-hot if the module takes no indices."""
    assert generator.labels is not None
    with torch.no_grad():
        try:
            generator(*inputs)
        except UsageError:
            raise
        except Exception:  # noqa: BLE001 - if one-hot labels fail too, the caller says how
            generator.labels = replace(generator.labels, one_hot=True)
