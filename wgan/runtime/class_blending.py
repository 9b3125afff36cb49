"""Images between classes: the rows that a label chooses from a graph's tables, blended.

A graph with classes looks up a label's row in one table, or in one for each layer, by Gather.
Opened again with these tables as inputs, it takes other tables for each run: row k is the mean of
the classes' rows by the weights of image k, and the label of image k is k. A graph that takes
one-hot labels takes the weights as they are.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wgan.errors import ModelFileError, UsageError
from wgan.latents import ClassInput, Latents, latents_from_seeds
from wgan.model_file.graph_inputs import FLOATS
from wgan.model_file.onnx_scan import extra_input
from wgan.runtime.feed import Feed
from wgan.runtime.model_session import ModelSession

ELEMENTS = {"float16": "float16", "float32": "float", "float64": "double"}
"""NumPy's names of the types that tables may have, and ONNX's."""

TOLERANCE = 0.05
"""Largest difference that the same class may make, as a share of the images' range: another graph
is optimised otherwise, and int8 rounds."""

CANNOT_BLEND = (
    "this model cannot blend classes: its graph does more with a label than look up rows of tables"
)

Tables = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class _Opened:
    session: ModelSession
    tables: Tables  # empty for one-hot labels


class ClassBlending:
    """Runs a graph for class weights. Threads may share it.

    Args:
        session: the open model.
        feed: makes the graph's inputs, labels among them.
        tables: of each input, the initializers from which it chooses rows.
        output: the name of the output by which the graph is compared with itself.
    """

    def __init__(
        self, session: ModelSession, feed: Feed, tables: Mapping[str, Sequence[str]], output: str
    ) -> None:
        self._model, self._feed, self._output = session, feed, output
        self._table_names = {name: tuple(dict.fromkeys(each)) for name, each in tables.items()}
        self._lock = threading.Lock()
        self._opened: _Opened | None = None
        self._refusal = ""

    def open(self) -> None:
        """Open the model again and compare it with itself, unless that was done before.

        Raises:
            UsageError: the graph does more with a label than choose from tables, or the model is
                closed.
        """
        with self._lock:
            if self._refusal:
                raise UsageError(self._refusal)
            if self._opened is None:
                self._model.interface()  # raises UsageError if it is closed
                try:
                    self._opened = self._open()
                except UsageError as exc:
                    self._refusal = str(exc)
                    raise

    def run(
        self, names: Sequence[str], latents: Latents, weights: ClassInput
    ) -> list[npt.NDArray[Any]]:
        """Compute outputs for latents `[n, latent_dim]` and class weights `[n, classes]`.

        Raises:
            UsageError: as `open`.
            ModelFileError: ONNX Runtime failed.
        """
        self.open()
        assert self._opened is not None
        return self._run(self._opened, names, latents, weights)

    def close(self) -> None:
        """Release the session and its memory."""
        opened, self._opened = self._opened, None
        if opened is not None and opened.session is not self._model:
            opened.session.close()

    def _open(self) -> _Opened:
        labels = self._feed.inputs.labels
        assert labels is not None, "a model without classes has no images between them"
        if labels.one_hot and labels.value.type not in FLOATS:
            raise UsageError("this model cannot blend classes: its labels are whole numbers")
        try:
            tables = {} if labels.one_hot else self._read_tables(labels.value.name)
            inputs = b"".join(
                extra_input(name, ELEMENTS[str(table.dtype)], table.ndim)
                for name, table in tables.items()
            )
            session = self._model.reopen(self._model.content() + inputs) if tables else self._model
            opened = _Opened(session, tables)
            blends = self._blends(opened, labels.classes)
        except ModelFileError as exc:  # the graph itself works, but not with other tables
            raise UsageError(CANNOT_BLEND) from exc
        if not blends:
            raise UsageError(CANNOT_BLEND)
        return opened

    def _read_tables(self, label_input: str) -> Tables:
        """Return the tables by name: a graph gives its initializers too, as outputs."""
        names = self._table_names.get(label_input, ())
        if not names:
            raise UsageError(CANNOT_BLEND)
        tables = self._model.with_outputs(names).run_one(self._feed.inputs, names)
        if not all(str(table.dtype) in ELEMENTS for table in tables):
            raise UsageError(CANNOT_BLEND)
        return dict(zip(names, tables, strict=True))

    def _run(
        self, opened: _Opened, names: Sequence[str], latents: Latents, weights: ClassInput
    ) -> list[npt.NDArray[Any]]:
        if not opened.tables:
            return opened.session.run(names, self._feed, latents, weights)
        classes = weights.shape[1]  # a table may have more rows
        tables = {
            name: np.tensordot(weights, table[:classes], 1).astype(table.dtype)
            for name, table in opened.tables.items()
        }
        labels = np.arange(len(latents))
        return opened.session.run(names, self._feed, latents, labels, extra_inputs=tables)

    def _blends(self, opened: _Opened, classes: int) -> bool:
        """Whether whole classes are the graph's own, and an image between two is another.

        An image must not depend on the others of its batch either, whose rows are in its table.
        """
        latents = latents_from_seeds([0, 1], self._feed.inputs.latent_dim)
        ends = np.array([classes - 1, 0])
        (expected,) = self._model.run([self._output], self._feed, latents, ends)
        whole = np.eye(classes, dtype=np.float32)[ends]
        half = whole.mean(axis=0, keepdims=True)

        def draw(latents: Latents, weights: ClassInput) -> npt.NDArray[np.float32]:
            (images,) = self._run(opened, [self._output], latents, weights)
            return images.astype(np.float32)

        found = draw(latents, whole)
        scale = 255 if expected.dtype == np.uint8 else np.ptp(expected)

        def differs(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
            return not np.abs(one - other).max() <= TOLERANCE * scale

        if differs(found, expected.astype(np.float32)):
            return False
        mixed = draw(latents[[0, 0]], np.concatenate([half, whole[1:]]))
        if differs(mixed[:1], draw(latents[:1], half)):
            return False
        same_seed = draw(latents[[0, 0]], whole)
        if not differs(same_seed[0], same_seed[1]):  # two classes that look alike tell nothing
            return True
        return not any(np.array_equal(mixed[0], image) for image in same_seed)
