"""A model's session in ONNX Runtime: it survives a fork, and runs a batch size that is fixed."""

import dataclasses
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from wgan.errors import DeviceError, ModelFileError, UsageError
from wgan.latents import ClassInput, Latents
from wgan.model_file.graph_inputs import Inputs
from wgan.model_file.onnx_scan import ValueInfo, extra_output
from wgan.model_file.reading import read_complete
from wgan.runtime.engine import DEVICES, EngineConfig, active_provider, open_session, run_session
from wgan.runtime.feed import Feed
from wgan.runtime.model_source import ModelSource
from wgan.runtime.signature import session_interface

Padded = TypeVar("Padded", bound=npt.NDArray[Any])

NO_INPUTS: Mapping[str, npt.NDArray[Any]] = MappingProxyType({})


class ModelSession:
    """An open model. Threads may share it, because ONNX Runtime's `run` is thread-safe.

    Args:
        name: of the model, for error messages.
        source: its bytes, scanned.
        config: how it is opened.

    Attributes:
        provider: ONNX Runtime's execution provider that runs.

    Raises:
        As `wgan.runtime.engine.open_session`; ModelFileError too if the file was changed.
    """

    def __init__(self, name: str, source: ModelSource, config: EngineConfig) -> None:
        self.name, self.source, self.config = name, source, config
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._session = open_session(source.content, config)
        source.check_unchanged()
        self.provider = active_provider(self._session)

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._session is None

    @property
    def runs_on_cpu(self) -> bool:
        """Whether ONNX Runtime's own CPU provider runs."""
        return self.provider == DEVICES["cpu"].provider

    def interface(self) -> tuple[list[ValueInfo], list[ValueInfo]]:
        """Return the inputs and outputs. Raises ModelFileError."""
        return session_interface(self._open_session())

    def run(
        self,
        names: Sequence[str],
        feed: Feed,
        latents: Latents,
        labels: ClassInput | None,
        extra_inputs: Mapping[str, npt.NDArray[Any]] = NO_INPUTS,
    ) -> list[npt.NDArray[Any]]:
        """Compute outputs for latents `[n, latent_dim]`, and labels `[n]` of a graph with classes.

        Where an exporter has frozen the batch size, these are several runs, the last one padded.
        Each of them takes the `extra_inputs` as they are.

        Raises:
            UsageError: the session is closed.
            DeviceError: it runs on a GPU, and this is a forked process.
            ModelFileError: ONNX Runtime failed, or the file was changed.
        """
        session = self._open_session()
        size = feed.inputs.batch
        if size is None or size == len(latents):
            return self._run_batch(session, names, {**feed(latents, labels), **extra_inputs})
        parts = []
        for start in range(0, len(latents), size):
            rows = slice(start, start + size)
            padded = None if labels is None else pad(labels[rows], size)
            inputs = {**feed(pad(latents[rows], size), padded), **extra_inputs}
            parts.append(self._run_batch(session, names, inputs))
        return [np.concatenate(arrays)[: len(latents)] for arrays in zip(*parts, strict=True)]

    def run_one(self, inputs: Inputs, names: Sequence[str]) -> list[npt.NDArray[Any]]:
        """Compute outputs of one image, to find shapes that the graph does not declare."""
        n = inputs.batch or 1
        labels = None if inputs.labels is None else np.zeros(n, np.int64)
        feed = Feed.of(inputs)(np.zeros((n, inputs.latent_dim), np.float32), labels)
        return run_session(self._open_session(), names, feed)

    def with_outputs(self, names: Iterable[str]) -> "ModelSession":
        """Open the model again, on the CPU, with any values of its graph as outputs."""
        # "all" may fuse a value away.
        config = EngineConfig("cpu", self.config.threads, optimization="none")
        return self.reopen(self.content() + b"".join(map(extra_output, names)), config)

    def reopen(self, content: bytes, config: EngineConfig | None = None) -> "ModelSession":
        """Open other bytes of the same model, by default in the same configuration."""
        return ModelSession(self.name, ModelSource(content, None), config or self.config)

    def content(self) -> bytes:
        """Return the model's bytes, with all its weights.

        Raises:
            ModelFileError: its file was changed.
        """
        self.source.check_unchanged()
        content = self.source.content
        return content if isinstance(content, bytes) else read_complete(content)

    def close(self) -> None:
        """Release the session and its memory."""
        self._session = None

    def _run_batch(
        self, session: Any, names: Sequence[str], feed: dict[str, npt.NDArray[Any]]
    ) -> list[npt.NDArray[Any]]:
        try:
            return run_session(session, names, feed)
        except ModelFileError as exc:
            raise ModelFileError(f"{self.name} cannot be used: {exc}") from exc

    def _open_session(self) -> Any:
        """Return the session; a forked process opens its own, because threads are not inherited."""
        if self._session is None:
            raise UsageError(f"the generator of {self.name} is closed: open it again")
        if self._process != os.getpid():
            if not self.runs_on_cpu:
                raise DeviceError(
                    f"a generator that runs on the {self.provider} cannot be used in a forked"
                    " process: open it there"
                )
            with self._lock:
                if self._process != os.getpid():  # another thread may have opened it meanwhile
                    self.source.check_unchanged()
                    on_cpu = dataclasses.replace(self.config, device="cpu")
                    self._session = open_session(self.source.content, on_cpu)
                    self._process = os.getpid()
        return self._session


def pad(rows: Padded, size: int) -> Padded:
    """Append rows of zeros up to `size`."""
    return cast("Padded", np.pad(rows, [(0, size - len(rows)), *[(0, 0)] * (rows.ndim - 1)]))
