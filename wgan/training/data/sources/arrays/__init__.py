"""Arrays of many images, in files of NumPy (`numpy_files`), HDF5 and CSV."""

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from wgan.errors import ImageError
from wgan.training.data.sources import ImageSource, RawImage, fingerprint_files, wrap_array
from wgan.training.data.sources.arrays.layout import ArrayLayout, resolve_layout
from wgan.training.data.sources.labelling import NO_CLASSES, Classes

LAYOUT_SAMPLES = 64
"""Flat images that are examined to tell the order of their colours."""


class ArrayLike(Protocol):
    """An array that may lie in a file, of NumPy or of h5py."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its axes."""

    def __getitem__(self, index: int | slice) -> npt.NDArray[np.generic]:
        """Read one image, or several."""


class StackSource(ImageSource):
    """Images in one array of any layout, in memory or read from `path` one by one."""

    def __init__(
        self,
        path: Path,
        array: ArrayLike,
        layout: ArrayLayout,
        classes: Classes = NO_CLASSES,
        unused: tuple[str, ...] = (),
        member: str = "",
    ) -> None:
        """`member` says which of several arrays in the file this is."""
        super().__init__(path.name.partition(".")[0] or "images")
        if len(array.shape) == 2:
            layout = resolve_layout(np.asarray(array[:LAYOUT_SAMPLES]), layout)
        self._path, self._array, self._layout = path, array, layout
        self.labels, self.class_names, self.why_no_classes = classes
        self.unused, self._member = unused, member

    def __len__(self) -> int:
        return self._array.shape[0]

    def image_name(self, index: int) -> str:
        """Path of the file and index of the image."""
        return f"{self._path}, image {index}"

    def image(self, index: int, size: int) -> RawImage:
        """Read one image of the array. Raises ImageError."""
        try:
            values = np.array(self._array[index])
        except OSError as exc:  # a damaged block of an HDF5 file
            raise ImageError(f"it cannot be read: {exc}") from exc
        return wrap_array(self._layout.arrange(values))

    def fingerprint(self) -> str:
        """Name, size and modification time of the file, the array in it, and the layout."""
        found = f"{fingerprint_files([self._path])} {self._layout} {len(self)}"
        return f"{found} {self._member}" if self._member else found
