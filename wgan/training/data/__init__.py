"""Training data: from the name of a data set to batches on a device.

The way of an image, and the module of each stage:

1. `load.open_data` maps what the user names to an `ImageSource` (`sources/`: folder, archive, idx
   file, torchvision, glyphs) or to `Shards` (`shards.py`).
2. The source returns one image; `decoding.decode` turns a file's bytes into a Pillow image.
3. A `Transform` makes it uint8 pixels of the run's size.
4. `decoding.decode_all` does this for a whole source in threads, and `Cache` keeps the pixels on
   disk for later runs.
5. The result of `load.load_data` is a `Dataset`: an `InMemoryDataset`, or a `StreamingDataset`,
   which decodes shards while the training runs.
6. Its method `batches` shuffles it into float32 batches in [-1, 1] on the device (`batches.py`).

To add a kind of data, subclass `ImageSource` in `sources/` and open it in `load.open_source`.
Arrays from Python need no source: `InMemoryDataset.from_array(pixels)`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wgan.training.data.batches import Batch as Batch
    from wgan.training.data.batches import Batches as Batches
    from wgan.training.data.dataset import Dataset as Dataset
    from wgan.training.data.dataset import InMemoryDataset as InMemoryDataset
    from wgan.training.data.load import load_data as load_data
    from wgan.training.data.load import load_images as load_images
    from wgan.training.data.load import open_data as open_data
    from wgan.training.data.load import open_source as open_source
    from wgan.training.data.pixel_cache import Cache as Cache
    from wgan.training.data.shards import Shards as Shards
    from wgan.training.data.sources import ArraySource as ArraySource
    from wgan.training.data.sources import ImageSource as ImageSource
    from wgan.training.data.stream import StreamingDataset as StreamingDataset
    from wgan.training.data.transform import Transform as Transform

_PUBLIC_NAMES = {
    "batches": ("Batch", "Batches"),
    "dataset": ("Dataset", "InMemoryDataset"),
    "load": ("load_data", "load_images", "open_data", "open_source"),
    "pixel_cache": ("Cache",),
    "shards": ("Shards",),
    "sources": ("ArraySource", "ImageSource"),
    "stream": ("StreamingDataset",),
    "transform": ("Transform",),
}
"""Module -> the names that are public here."""


def __getattr__(name: str) -> Any:
    # `decoding` and `transform` need no PyTorch, and `wgan project` uses them without (PEP 562).
    for module, names in _PUBLIC_NAMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
