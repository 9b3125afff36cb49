"""The order in which a run sees its images: a function of the seed alone, exact on resume."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wgan.errors import DataError
from wgan.images import Pixels
from wgan.training.data.on_device import ResidentPixels

ALL_ROWS = slice(None)
"""A batch as a whole."""


class Batches:
    """Batches without end, each epoch in a new order.

    An epoch's order depends on the seed and the epoch's number alone, so how many batches were
    drawn is all there is to remember. The last images of an epoch that fill no batch are left
    out; the next epoch's order leaves out others.
    """

    def __init__(
        self,
        pixels: Pixels,
        batch_size: int,
        seed: int,
        device: torch.device,
        drawn: int = 0,
        chosen: npt.NDArray[np.int64] | None = None,
        flip: bool = False,
        resident: bool = False,
        rows: slice = ALL_ROWS,
    ) -> None:
        """Start after `drawn` batches.

        Args:
            pixels: `[n, height, width, channels]`.
            batch_size: images in a batch.
            seed: of the order.
            device: where the batches go.
            drawn: batches drawn before.
            chosen: which of the images take part; None for all.
            flip: mirror half of each epoch's images, at random.
            resident: keep the images on the device, and make batches there.
            rows: which of a batch's images are given, where others take the rest.

        Raises:
            DataError: there are fewer images than a batch holds.
        """
        self._chosen = np.arange(len(pixels)) if chosen is None else chosen
        count = len(self._chosen)
        if count < batch_size:
            raise DataError(
                f"there are {count} images to learn from, fewer than a batch of {batch_size}: "
                f"give more, or run with --batch-size {max(1, count)}"
            )
        self.drawn = drawn
        """Batches drawn so far: the whole position in the data."""
        self._pixels = pixels
        self._batch_size = batch_size
        self._seed = seed
        self._device = device
        self._epoch = -1
        self._flip = flip
        self._resident = ResidentPixels(pixels, device) if resident else None
        self._rows = rows
        self._order: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._mirrored: npt.NDArray[np.bool_] = np.empty(0, np.bool_)

    def next(self) -> Tensor:
        """Draw a batch: float32 `[batch, c, h, w]` in [-1, 1], channels last, on the device."""
        epoch, place = divmod(self.drawn, len(self._chosen) // self._batch_size)
        if epoch != self._epoch:
            self._begin(epoch)
        chosen = self._order[place * self._batch_size : (place + 1) * self._batch_size][self._rows]
        self.drawn += 1
        mirrored = self._mirrored[chosen] if self._flip else None
        if self._resident is not None:
            return scale(self._resident.take(chosen, mirrored))
        pixels = self._pixels[chosen]
        if mirrored is not None:
            pixels[mirrored] = pixels[mirrored, :, ::-1]
        return to_batch(pixels, self._device)

    def _begin(self, epoch: int) -> None:
        self._epoch = epoch
        random = np.random.RandomState([self._seed, epoch])  # its stream is frozen (NEP 19)
        self._order = random.permutation(self._chosen)
        if self._flip:
            self._mirrored = random.random_sample(len(self._pixels)) < 0.5


def to_batch(pixels: Pixels, device: torch.device) -> Tensor:
    """Make images of pixels, on the device, channels last in memory.

    (n, h, w, c), 0 to 255 -> (n, c, h, w), -1 to 1; `wgan.images.to_images` gives the same values.
    """
    if device.type == "cpu":
        # numpy stays on this thread. torch would share out so little work among all of its own,
        # and wait for the slowest: milliseconds where other programs run.
        values = pixels.astype(np.float32)
        values /= 127.5
        values -= 1
        return torch.from_numpy(values).permute(0, 3, 1, 2)
    batch = torch.from_numpy(pixels)  # bytes are a quarter of the traffic
    if device.type == "cuda":
        batch = batch.pin_memory()  # lets the copy run beside the computation
    return scale(batch.to(device, non_blocking=True))


def scale(batch: Tensor) -> Tensor:
    """Make images of pixels where they are: uint8 `[n, h, w, c]` -> float32 `[n, c, h, w]`."""
    return batch.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)
