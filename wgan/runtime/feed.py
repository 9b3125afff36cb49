"""What a session is fed: latents and labels in the form that the graph takes, and fixed inputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wgan.errors import ModelFileError, UsageError
from wgan.files import open_regular
from wgan.latents import ClassInput, Latents
from wgan.model_file.graph_inputs import FLOATS, INTEGERS, FixedInput, Inputs
from wgan.text import shorten

InputArray = npt.NDArray[Any]

DTYPES = {**FLOATS, **INTEGERS, "tensor(bool)": "bool", "tensor(uint8)": "uint8"}
"""ONNX Runtime's names of the types that inputs may have, and NumPy's."""

INPUT_BYTES = 2**28
"""Largest size of a fixed input, of one image."""


@dataclass(frozen=True)
class Feed:
    """Makes a graph's inputs of latents and labels.

    Raises:
        UsageError: a fixed input's value does not fit.
        ModelFileError: an input has a type that NumPy lacks.
    """

    inputs: Inputs
    fixed: Mapping[str, InputArray]  # of those with a batch axis, the value of one image

    @classmethod
    def of(cls, inputs: Inputs) -> "Feed":
        """Read the values of fixed inputs; .npy files are opened here."""
        dtype_of(inputs.latents.type)
        return cls(inputs, {each.value.name: fixed_value(each) for each in inputs.fixed})

    def __call__(self, latents: Latents, labels: ClassInput | None) -> dict[str, InputArray]:
        """Latents `[n, latent_dim]` and labels `[n]` -> the inputs by name.

        A one-hot input takes class weights `[n, classes]` too.
        """
        inputs = self.inputs
        rows: InputArray = latents.astype(dtype_of(inputs.latents.type), copy=False)
        rows = rows.T if inputs.batch_axis else rows.reshape(-1, *inputs.axes)
        feed = {inputs.latents.name: np.ascontiguousarray(rows)}
        if inputs.labels is not None and labels is not None:
            value, dtype = inputs.labels.value, dtype_of(inputs.labels.value.type)
            if labels.ndim == 2:
                feed[value.name] = labels.astype(dtype)
            elif inputs.labels.one_hot:
                rows = np.zeros((len(labels), inputs.labels.classes), dtype)
                rows[np.arange(len(labels)), labels] = 1
                feed[value.name] = rows
            else:
                feed[value.name] = labels.astype(dtype).reshape(-1, *[1] * (len(value.shape) - 1))
        for each in inputs.fixed:
            array = self.fixed[each.value.name]
            if each.per_image:
                array = np.repeat(array, len(latents), axis=0)
            feed[each.value.name] = array
        return feed


def dtype_of(kind: str) -> str:
    """NumPy's name of an input's type. Raises ModelFileError if it has none."""
    name = DTYPES.get(kind)
    if name is None or name == "bfloat16":
        raise ModelFileError(f"an input has the type {kind}, which cannot be fed: export float32")
    return name


def fixed_value(fixed: FixedInput) -> InputArray:
    """The value of a fixed input, with a batch of size 1 if it has a batch axis.

    One number fills the input; several are its last axis. Raises UsageError.
    """
    name = fixed.value.name
    misfit = (
        f"--input {name}={shorten(fixed.text, 40)} does not fit {fixed.value}: write a number,"
        " numbers as in 0,1,0, or the name of a .npy file"
    )
    try:
        array = _parse(fixed.text)
    except FileNotFoundError as exc:
        raise UsageError(f"--input {name}: there is no file {shorten(fixed.text, 60)}") from exc
    except (ValueError, OSError, EOFError) as exc:
        raise UsageError(misfit) from exc
    sizes = _sizes(fixed, array)
    dtype = np.dtype(dtype_of(fixed.value.type))
    if np.prod(sizes, dtype=float) * dtype.itemsize > INPUT_BYTES:
        raise UsageError(f"--input {name}: {fixed.value} is larger than {INPUT_BYTES} bytes")
    try:
        if dtype.kind in "iub" and (array != np.round(array)).any():
            raise ValueError("not whole numbers")
        with np.errstate(over="ignore"):  # infinity is refused below
            array = array.astype(dtype)
        value = np.ascontiguousarray(np.broadcast_to(array, sizes)).reshape(sizes)
    except ValueError as exc:
        raise UsageError(misfit) from exc
    if not np.isfinite(value).all():
        raise UsageError(
            f"--input {name}={shorten(fixed.text, 40)} is not allowed: a number in it is not"
            f" finite in {dtype}; give finite ones"
        )
    return value


def _sizes(fixed: FixedInput, array: InputArray) -> tuple[int, ...]:
    """The shape of an input; `array` has the sizes that the file leaves free. Raises UsageError."""
    known = tuple(axis for axis in fixed.axes if isinstance(axis, int))
    if len(known) == len(fixed.axes):
        return known
    if array.ndim != len(fixed.axes):
        raise UsageError(
            f"--input {fixed.value.name}: the file does not say how large {fixed.value} is; give a"
            " .npy file of that shape, with 1 for the batch"
        )
    pairs = zip(fixed.axes, array.shape, strict=True)
    return tuple(axis if isinstance(axis, int) else size for axis, size in pairs)


def _parse(text: str) -> InputArray:
    if text.endswith(".npy"):
        with open_regular(Path(text)) as file:
            loaded: InputArray = np.load(file, allow_pickle=False)
        return loaded
    numbers = [float(part) for part in text.split(",")]
    return np.array(numbers[0] if len(numbers) == 1 else numbers)
