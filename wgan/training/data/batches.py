"""Shuffled batches whose order depends on the seed only, so that a run resumes exactly."""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wgan.errors import DataError
from wgan.image_shape import MAX_CHANNELS
from wgan.images import Pixels
from wgan.training.data.sources import Labels

UPLOAD_BYTES = 2**26
"""Bytes per copy to the device: 64 MiB."""


class Batch(NamedTuple):
    """A batch of real images with their labels."""

    images: Tensor  # float32 [n, c, h, w] in [-1, 1]
    labels: Tensor | None = None  # int64 [n]; None in an unconditional run

    @classmethod
    def of(cls, real: "Tensor | Batch") -> "Batch":
        """Return images without labels as a batch, and a batch as it is."""
        return real if isinstance(real, Batch) else cls(real)

    def parts(self, count: int) -> list["Batch"]:
        """Split the batch into `count` equal parts."""
        parts = zip(*(values.chunk(count) for values in self.inputs), strict=True)
        return [Batch(*part) for part in parts]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What a critic is called with: the images, and the labels if there are some."""
        return (self.images,) if self.labels is None else (self.images, self.labels)


class Examples(NamedTuple):
    """Real images with their labels, in memory."""

    pixels: Pixels  # [n, height, width, channels]
    labels: Labels | None = None  # [n]; None without classes

    def to_batch(self, device: torch.device) -> Batch:
        """Put them on the device."""
        labels = None if self.labels is None else send(self.labels, device)
        return Batch(to_batch(self.pixels, device), labels)


class BatchSequence(Protocol):
    """Batches without end, with a position to resume from."""

    drawn: int
    """The position; set it to continue from there."""

    def next(self) -> Tensor:
        """Return a batch: float32 `[batch, c, h, w]` in [-1, 1], channels last, on the device."""

    def next_labelled(self) -> Batch:
        """Return the batch that `next` would return, with its labels, on the device."""


class Batches:
    """Batches of an array, each epoch in a new order.

    The order of an epoch depends on the seed and the epoch's number only, so the position is the
    number of batches drawn. The last images of an epoch that do not fill a batch are left out;
    each epoch leaves out others.
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
        on_device: bool = False,
        shard: slice = slice(None),
        labels: Labels | None = None,
    ) -> None:
        """Start after `drawn` batches.

        Args, others as for `Dataset.batches`:
            pixels: uint8 `[n, height, width, channels]`.
            drawn: the number of batches already drawn.
            chosen: indices of the images to use; None for all.
            shard: this rank's images of each batch.
            labels: of all images, `[n]`, for `next_labelled`.

        Raises:
            DataError: `pixels` has another type or shape, or fewer images than a batch.
        """
        if pixels.dtype != np.uint8:
            raise DataError(
                f"the images are {pixels.dtype}, but must be uint8: InMemoryDataset.from_array"
                " converts other types"
            )
        check_shape(pixels)
        self._chosen = np.arange(len(pixels)) if chosen is None else chosen
        count = len(self._chosen)
        if count < batch_size:
            raise DataError(
                f"there are {count} images to train on, fewer than a batch of {batch_size}: "
                f"add images, or run with --batch-size {max(1, count)}"
            )
        self.drawn = drawn  # the position; set it to continue from there
        self._pixels = pixels
        self._batch_size = batch_size
        self._seed = seed
        self._device = device
        self._epoch = -1
        self._flip = flip
        self._on_device = DevicePixels(pixels, device) if on_device else None
        self._shard = shard
        self._labels = labels
        self._order: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._mirrored: npt.NDArray[np.bool_] = np.empty(0, np.bool_)

    def next(self) -> Tensor:
        """Return the next batch: float32 `[batch, c, h, w]` in [-1, 1], channels last in memory."""
        return self._images(self._draw())

    def next_labelled(self) -> Batch:
        """Return the next batch with its labels."""
        assert self._labels is not None, "these images have no labels"
        chosen = self._draw()
        return Batch(self._images(chosen), send(self._labels[chosen], self._device))

    def _draw(self) -> npt.NDArray[np.int64]:
        """Draw the indices of this rank's images of the next batch."""
        epoch, index = divmod(self.drawn, len(self._chosen) // self._batch_size)
        if epoch != self._epoch:
            self._shuffle(epoch)
        first = index * self._batch_size
        self.drawn += 1
        return self._order[first : first + self._batch_size][self._shard]

    def _images(self, chosen: npt.NDArray[np.int64]) -> Tensor:
        mirrored = self._mirrored[chosen] if self._flip else None
        if self._on_device is not None:
            return scale(self._on_device.take(chosen, mirrored))
        pixels = self._pixels[chosen]
        if mirrored is not None:
            pixels[mirrored] = pixels[mirrored, :, ::-1]  # a copy: indexing by an array made one
        return to_batch(pixels, self._device)

    def _shuffle(self, epoch: int) -> None:
        self._epoch = epoch
        random = np.random.RandomState([self._seed, epoch])  # frozen stream (NEP 19)
        # The order first: turning --flip on must not change it.
        self._order = random.permutation(self._chosen)
        if self._flip:
            self._mirrored = random.random_sample(len(self._pixels)) < 0.5


class DevicePixels:
    """All images of a run, uint8 `[n, height, width, channels]`, in the device's memory."""

    def __init__(self, pixels: Pixels, device: torch.device) -> None:
        """Copy `pixels` to the device in parts, because they may be a memory map."""
        self._pixels = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
        step = max(1, UPLOAD_BYTES // max(1, pixels[:1].nbytes))
        for first in range(0, len(pixels), step):
            part = np.array(pixels[first : first + step])
            self._pixels[first : first + len(part)] = torch.from_numpy(part)

    def take(self, chosen: npt.NDArray[np.int64], mirrored: npt.NDArray[np.bool_] | None) -> Tensor:
        """Select images, uint8 `[n, height, width, channels]`, and mirror those in `mirrored`."""
        batch = self._pixels.index_select(0, send(chosen, self._pixels.device))
        if mirrored is None:
            return batch
        flags = send(mirrored, self._pixels.device)[:, None, None, None]
        return torch.where(flags, batch.flip(2), batch)


def send(values: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """Copy a small array to the device without a CPU-GPU synchronisation."""
    sent = torch.from_numpy(np.ascontiguousarray(values))
    if device.type == "cuda":
        sent = sent.pin_memory()  # only a copy from pinned memory is asynchronous
    return sent.to(device, non_blocking=True)


def check_shape(array: npt.NDArray[np.generic]) -> None:
    """Raise DataError unless the shape is `[n, height, width, channels]`, channels 1 to 16."""
    is_first = array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 3)
    if array.ndim == 4 and 1 <= array.shape[3] <= MAX_CHANNELS and not is_first:
        return
    advice = ""
    if array.ndim == 3:
        advice = ": for grey images use array[..., None]"
    elif is_first:
        advice = ": put channels last with array.transpose(0, 2, 3, 1)"
    raise DataError(
        f"the images have the shape {list(array.shape)}, but it must be"
        f" [n, height, width, channels] with 1 to {MAX_CHANNELS} channels{advice}"
    )


def to_batch(pixels: Pixels, device: torch.device) -> Tensor:
    """Convert pixels to images on the device, channels last in memory.

    (n, h, w, c), 0 to 255 -> (n, c, h, w), -1 to 1; the same values as `wgan.images.to_images`.
    """
    if device.type == "cpu":
        # NumPy stays on this thread. For so little work torch would start all of its threads and
        # wait for the slowest: milliseconds on a busy machine.
        values = pixels.astype(np.float32)
        values /= 127.5
        values -= 1
        return torch.from_numpy(values).permute(0, 3, 1, 2)
    batch = torch.from_numpy(pixels)  # uint8 is a quarter of the traffic
    if device.type == "cuda":
        batch = batch.pin_memory()  # the copy overlaps with computation
    return scale(batch.to(device, non_blocking=True))


def scale(batch: Tensor) -> Tensor:
    """Convert pixels to images where they are: uint8 `[n, h, w, c]` -> float32 `[n, c, h, w]`."""
    return batch.permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1)
