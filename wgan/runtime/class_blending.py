"""Images between classes: the rows that a label chooses from a graph's tables, blended.

A graph with classes looks up a label's row in one table, or in one for each layer, by Gather.
Opened again with these tables as inputs, it takes other tables for each run: row k is the mean of
the classes' rows, weighted for image k, and the label of image k is k. A graph that takes one-hot
labels takes the weights as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from wgan.errors import UsageError
from wgan.latents import ClassInput, Latents
from wgan.model_file.graph_inputs import FLOATS
from wgan.model_file.onnx_scan import extra_input, extra_output
from wgan.runtime.feed import Feed
from wgan.runtime.model_session import EngineOptions, ModelSession

ELEMENTS = {"float16": "float16", "float32": "float", "float64": "double"}
"""NumPy's names of the types that tables may have, and ONNX's."""

TOLERANCE = 0.05
"""Largest difference that the same class may make, of an image's values: another graph is
optimised otherwise, and int8 rounds."""


NOTHING_BETWEEN = (
    "this model draws nothing between two classes: its graph does more with a label than look up"
    " rows of tables; give one class for each image"
)


class ClassBlending:
    """Runs a graph for shares of several classes.

    Args:
        session: the open model.
        feed: makes the graph's inputs, labels among them.
        tables: of each input, the initializers from which it chooses rows.
        output: the name of the output by which the graph is compared with itself.

    Raises:
        UsageError: the graph does more with a label than choose from tables.
        ModelFileError: ONNX Runtime failed.
    """

    def __init__(
        self, session: ModelSession, feed: Feed, tables: Mapping[str, Sequence[str]], output: str
    ) -> None:
        labels = feed.inputs.labels
        assert labels is not None, "a model without classes has no images between them"
        self._feed, self._session = feed, session
        self._tables: dict[str, npt.NDArray[Any]] = {}
        self._classes = labels.classes
        if labels.one_hot:
            if labels.value.type not in FLOATS:
                raise UsageError(NOTHING_BETWEEN)
            return
        content = session.content()
        names = tuple(dict.fromkeys(tables.get(labels.value.name, ())))
        self._tables = self._read(content, names)
        inputs = (
            extra_input(name, ELEMENTS[str(table.dtype)], table.ndim)
            for name, table in self._tables.items()
        )
        self._session = session.reopen(content + b"".join(inputs))
        self._check(session, output)

    def run(
        self, names: Sequence[str], latents: Latents, weights: ClassInput
    ) -> list[npt.NDArray[Any]]:
        """Compute outputs for latents `[n, latent_dim]` and weights `[n, classes]`.

        Raises:
            ModelFileError: ONNX Runtime failed.
        """
        if not self._tables:
            return self._session.run(names, self._feed, latents, weights)
        tables = {
            name: np.tensordot(weights, table[: self._classes], 1).astype(table.dtype)
            for name, table in self._tables.items()
        }
        labels = np.arange(len(latents))
        return self._session.run(names, self._feed, latents, labels, more=tables)

    def _read(self, content: bytes, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Return the tables by name: a graph gives its initializers too, as outputs."""
        if not names:
            raise UsageError(NOTHING_BETWEEN)
        # "all" may fuse a table away.
        options = EngineOptions("cpu", optimization="none")
        whole = self._session.reopen(content + b"".join(map(extra_output, names)), options)
        tables = whole.run_one(self._feed.inputs, names)
        if not all(str(table.dtype) in ELEMENTS for table in tables):
            raise UsageError(NOTHING_BETWEEN)
        return dict(zip(names, tables, strict=True))

    def _check(self, session: ModelSession, output: str) -> None:
        """Compare two classes with what the graph itself draws. Raises UsageError."""
        latents = np.zeros((2, self._feed.inputs.latent_dim), np.float32)
        labels = np.array([self._classes - 1, 0])
        weights = np.eye(self._classes, dtype=np.float32)[labels]
        (expected,) = session.run([output], self._feed, latents, labels)
        (found,) = self.run([output], latents, weights)
        scale = 255 if expected.dtype == np.uint8 else np.ptp(expected)
        difference = np.abs(found.astype(np.float32) - expected.astype(np.float32)).max()
        if not difference <= TOLERANCE * scale:
            raise UsageError(NOTHING_BETWEEN)
