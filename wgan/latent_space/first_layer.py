"""The first affine layer of a generator, as a matrix.

It is not read from the weights, which may be transposed, reshaped, in half precision or folded, but
measured: the layer's output for each unit latent, less that for zero.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wgan.errors import UsageError
from wgan.model_file.onnx_scan import OnnxFile
from wgan.model_file.reading import scan_model
from wgan.model_file.value_range import VALUE_PRESERVING
from wgan.runtime import Generator

if TYPE_CHECKING:
    from wgan.latent_space.models import LatentModel

AFFINE = ("Gemm", "MatMul", "Conv", "ConvTranspose")
"""Operators whose output is affine in their first input."""

BEFORE = (*VALUE_PRESERVING, "Flatten", "Cast", "Mul", "Div", "Concat")
"""Operators that may come before it: they rearrange or scale the latents, or join a class to
them."""

SEFA_DIM_LIMIT = 4096
"""Most numbers of a latent: each costs a run of the layer."""

Matrix = npt.NDArray[np.float64]
"""`[latent_dim, features]`: what each number of a latent adds to the layer's output."""


def first_layer(model: "LatentModel") -> Matrix:
    """Measure the first affine layer.

    Raises:
        UsageError: there is none, or the latents have too many numbers.
    """
    if model.latent_dim > SEFA_DIM_LIMIT:
        raise UsageError(
            f"the model's latents have {model.latent_dim} numbers, and --method sefa takes at most"
            f" {SEFA_DIM_LIMIT}: use --method pca"
        )
    # Zero, and then each unit vector.
    latents = np.eye(model.latent_dim + 1, model.latent_dim, -1, dtype=np.float32)
    if isinstance(model, Generator):
        name = first_affine_value(scan_model(model.content()), model.latent_input)
        outputs = None if name is None else model.values(name, latents)
    else:
        outputs = model.first_layer(latents)
    if outputs is None:
        raise UsageError(
            "the model has no affine layer that its latents enter, which --method sefa looks at:"
            " use --method pca"
        )
    rows = outputs.reshape(len(outputs), -1).astype(np.float64)
    layer: Matrix = rows[1:] - rows[0]
    return layer


def first_affine_value(file: OnnxFile, latents: str) -> str | None:
    """Return the output of the first affine operator that is computed from the input `latents`."""
    reached = {latents}
    for name, producer in file.producers.items():  # in the graph's order, inputs first
        if producer.source in reached:
            if producer.operator in AFFINE:
                return name
            if producer.operator in BEFORE:
                reached.add(name)
    return None
