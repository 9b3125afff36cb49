"""The arguments of a PyTorch generator's `forward` besides the latents."""

import inspect
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wgan.errors import UsageError
from wgan.files import open_regular
from wgan.model_file.graph_inputs import LABEL_NAME, split_label_input
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


def make_inputs(module: nn.Module, given: Mapping[str, str], label: int | None) -> dict[str, Any]:
    """The further arguments of a module from what the user wrote.

    Raises:
        UsageError: the module has no such argument, or none that is clearly a class, or a number
            is not finite.
    """
    names = list(inspect.signature(module.forward).parameters)
    _check_names(module, given)
    inputs = {name: _parse(text) for name, text in given.items()}
    for name, value in inputs.items():
        _check_finite(name, given[name], value)
    if label is not None:
        found = [name for name in names[1:] if LABEL_NAME.match(name) and name not in inputs]
        if not found:
            raise UsageError(
                f"--class {label}: forward of the generator takes {', '.join(names)}, and none of"
                " these is clearly a class; give  --input NAME=VALUE"
            )
        inputs[found[0]] = torch.tensor([label])
    return inputs


def _check_finite(name: str, text: str, value: Any) -> None:
    """Raise UsageError for NaN or infinity, which a module that ignores them would not show."""
    numbers = isinstance(value, float | Tensor)
    if numbers and not torch.isfinite(torch.as_tensor(value)).all():
        raise UsageError(
            f"--input {name}={shorten(text, 40)} is not allowed: a number in it is not finite;"
            " give finite ones"
        )


def _check_names(module: nn.Module, given: Collection[str]) -> None:
    """Raise UsageError if `forward` takes no argument of a name, or that is the latents."""
    parameters = inspect.signature(module.forward).parameters
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())
    names = ", ".join(parameters)
    for name in given:
        if name not in parameters and not takes_any:
            raise UsageError(f"--input {name}: forward of the generator takes {names}")
        if name == next(iter(parameters), None):
            raise UsageError(
                f"--input {name}: forward of the generator takes {names}, and the first of these,"
                f" {name}, takes the latents, which differ for each image"
            )


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
    """Check that each argument of `forward` besides the latents has one value, or a default.

    Raises:
        UsageError: one has none or two, there is no such argument, or it is the latents.
    """
    _check_names(module, inputs)
    if labels is not None and labels.name in inputs:
        raise UsageError(f"--labels keeps {labels.name}, --input fixes it: give one of them")
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
            f"--labels {name}:COUNT  to keep it an input,  --class K  for one class as an index, or"
            f"  --input {name}=0,0,1  for one that is one-hot"
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
