"""Features from any ONNX network, by ONNX Runtime: for images unlike ImageNet's.

The network has one input, whose type says which values it takes:

    uint8                       pixels, 0 to 255
    float32, float16, float64   images, -1 (black) to 1 (white), or another given range

as `[n, height, width, channels]` or `[n, channels, height, width]`, with 1 or 3 channels. Height
and width may be free; if they are fixed, images are resized to them (Pillow's bicubic,
antialiased). For a network of 3 channels, grey images are repeated and alpha is composited over
white.

The feature vectors are the output called `features`, or else the first one that is not called
`logits`: `[n, ...]`, flattened. An output called `logits`, `[n, classes]`, gives the Inception
Score.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from wgan.errors import ModelFileError
from wgan.evaluation.features import FeatureBatch
from wgan.images import Pixels, to_colour, to_pil
from wgan.model_file.graph_inputs import FLOATS
from wgan.model_file.image_outputs import UINT8, Layout
from wgan.model_file.onnx_scan import ValueInfo
from wgan.model_file.value_range import ValueRange
from wgan.runtime.engine import EngineConfig, open_session, run_session
from wgan.runtime.model_source import scan_source
from wgan.runtime.signature import session_interface

VECTORS, LOGITS = "features", "logits"
"""Names of outputs."""


class OnnxFeatures:
    """A feature network in an ONNX file; an implementation of `wgan.evaluation.features.Features`.

    `device` is as for `wgan.runtime.Generator`; `value_range` holds black and white, for a network
    with float input.

    Raises:
        ModelFileError: the file is missing, damaged or unsafe, or its network does not map
            images to vectors.
        UsageError: the device is not known.
        DeviceError: a device was named and does not work.
        MissingExtra: onnxruntime is not installed.
    """

    def __init__(
        self,
        path: Path,
        device: str = "auto",
        value_range: ValueRange = (-1.0, 1.0),
    ) -> None:
        self.name = path.name
        source, _ = scan_source(path)
        identity = json.dumps([source.sha256(), value_range])
        self.key = hashlib.sha256(identity.encode()).hexdigest()
        self._range = value_range
        try:
            self._session = open_session(source.content, EngineConfig(device))
            source.check_unchanged()
            inputs, outputs = session_interface(self._session)
            self._input, self._layout = _find_input(inputs)
            self._outputs = _find_outputs(outputs)
            self.has_logits = LOGITS in self._outputs
        except ModelFileError as exc:
            raise ModelFileError(f"the features {path} cannot be used: {exc}") from exc

    def __call__(self, pixels: Pixels) -> FeatureBatch:
        """Compute the features of `[n, height, width, channels]`. Raises ModelFileError."""
        feed = self._prepare(pixels)
        size = self._input.shape[0]
        if isinstance(size, int):  # an export that froze its batch size
            parts = [self._run(feed[k : k + size], size) for k in range(0, len(feed), size)]
            results = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
        else:
            results = self._run(feed, len(feed))
        return FeatureBatch(*(self._check(result, len(pixels)) for result in results))

    def _prepare(self, pixels: Pixels) -> npt.NDArray[Any]:
        """Convert pixels to the network's size, type, range and layout."""
        axes = self._input.shape[1:]
        height, width, channels = axes if self._layout == "nhwc" else (*axes[1:], axes[0])
        if pixels.shape[3] in (1, 4) and channels == 3:
            pixels = to_colour(pixels)
        if pixels.shape[3] != channels:
            raise self._error(
                f"it takes images of {channels} channels, these have {pixels.shape[3]}"
            )
        height = height if isinstance(height, int) else pixels.shape[1]
        width = width if isinstance(width, int) else pixels.shape[2]
        if pixels.shape[1:3] != (height, width):
            bicubic = Image.Resampling.BICUBIC
            images = [np.asarray(to_pil(each).resize((width, height), bicubic)) for each in pixels]
            # Pillow drops the axis of a single channel.
            pixels = np.stack(images).reshape(-1, height, width, pixels.shape[3])
        feed: npt.NDArray[Any] = pixels
        if self._input.type != UINT8:
            low, high = self._range
            # In this order of operations black and white are exact: -1 and 1, 0 and 1.
            values = pixels.astype(np.float32) / np.float32(255 / (high - low)) + np.float32(low)
            feed = values.astype(FLOATS[self._input.type], copy=False)
        if self._layout == "nchw":
            feed = feed.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(feed)

    def _run(self, feed: npt.NDArray[Any], size: int) -> list[npt.NDArray[Any]]:
        """Run a batch, padded to `size`; the padding's results are dropped."""
        count = len(feed)
        if count < size:
            feed = np.concatenate([feed, np.repeat(feed[-1:], size - count, axis=0)])
        try:
            results = run_session(self._session, self._outputs, {self._input.name: feed})
        except ModelFileError as exc:
            raise self._error(str(exc)) from exc
        return [np.asarray(result)[:count] for result in results]

    def _check(self, result: npt.NDArray[Any], count: int) -> npt.NDArray[np.float32]:
        if result.ndim < 2 or len(result) != count:
            raise self._error(
                f"for {count} images its output has the shape {list(result.shape)}, not"
                f" [{count}, ...]"
            )
        vectors = result.reshape(count, -1).astype(np.float32, copy=False)
        if not np.isfinite(vectors).all():
            raise self._error("its output has values that are not finite")
        return vectors

    def _error(self, reason: str) -> ModelFileError:
        return ModelFileError(f"the features {self.name} cannot be used: {reason}")


def _find_input(inputs: list[ValueInfo]) -> tuple[ValueInfo, Layout]:
    if len(inputs) == 1 and inputs[0].type in (*FLOATS, UINT8) and len(inputs[0].shape) == 4:
        shape = inputs[0].shape
        if shape[3] in (1, 3):
            return inputs[0], "nhwc"
        if shape[1] in (1, 3):
            return inputs[0], "nchw"
    raise ModelFileError(
        "expected one input, uint8 or float, [n, h, w, c] or [n, c, h, w] with 1 or 3 channels;"
        f" found {', '.join(map(str, inputs[:4])) or 'none'}"
    )


def _find_outputs(outputs: list[ValueInfo]) -> list[str]:
    """Return the name of the vectors' output, then that of the logits, if any."""
    names = [output.name for output in outputs if output.type in FLOATS]
    vectors = [name for name in names if name != LOGITS]
    if not vectors:
        raise ModelFileError(
            f"expected a float output of vectors, preferably called {VECTORS!r}; found"
            f" {', '.join(map(str, outputs[:4])) or 'none'}"
        )
    chosen = VECTORS if VECTORS in vectors else vectors[0]
    return [chosen, LOGITS] if LOGITS in names else [chosen]
