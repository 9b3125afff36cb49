"""Images that lie on the device as bytes: batches are cut out, mirrored and scaled there."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wgan.images import Pixels

CHUNK = 2**26
"""Bytes that are taken to the device at a time: 64 MiB."""


class ResidentPixels:
    """All images of a run, uint8 `[n, height, width, channels]`, on the device."""

    def __init__(self, pixels: Pixels, device: torch.device) -> None:
        """Copy `pixels` to the device, some at a time: they may be mapped from a file."""
        self._pixels = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
        at_a_time = max(1, CHUNK // max(1, pixels[:1].nbytes))
        for first in range(0, len(pixels), at_a_time):
            some = np.array(pixels[first : first + at_a_time])
            self._pixels[first : first + len(some)] = torch.from_numpy(some)

    def take(self, chosen: npt.NDArray[np.int64], mirrored: npt.NDArray[np.bool_] | None) -> Tensor:
        """Cut out images, `[batch, height, width, channels]` uint8, some of them mirrored.

        Args:
            chosen: their numbers, `[batch]`.
            mirrored: whether each is mirrored, `[batch]`; None for none.
        """
        batch = self._pixels.index_select(0, self._send(chosen))
        if mirrored is None:
            return batch
        return torch.where(self._send(mirrored)[:, None, None, None], batch.flip(2), batch)

    def _send(self, values: npt.NDArray[np.generic]) -> Tensor:
        """Take a batch's few numbers to the device without waiting for it."""
        sent = torch.from_numpy(np.ascontiguousarray(values))
        if self._pixels.device.type == "cuda":
            sent = sent.pin_memory()
        return sent.to(self._pixels.device, non_blocking=True)
