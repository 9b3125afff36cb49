"""Training data: from what the user names to batches on the device.

Reading order: `source.py` (what all data offers), `glyphs.py`, `folder.py`, `archive.py`, `idx.py`
and `named.py` (the kinds of it), `opening.py` (which one is meant); `decode.py` and `transform.py`
(one image), `parallel.py` and `images.py` (all of them), `batches.py` and `decoded.py` (their
order), `pixelfile.py` and `cache.py` (kept on disk); `shards.py`, `stream.py` and `prepare.py` (for
data that is more than memory); `loading.py` (which of the two).
"""

from wgan.training.data.batches import Batches
from wgan.training.data.cache import Cache
from wgan.training.data.dataset import InMemoryDataset
from wgan.training.data.decode_all import load_images
from wgan.training.data.load import load_data
from wgan.training.data.open import open_data, open_source
from wgan.training.data.sources.source import ImageSource
from wgan.training.data.streaming.dataset import StreamedBatches, StreamingDataset
from wgan.training.data.streaming.shards import Shards
from wgan.training.data.transform import Transform, parse_colour

__all__ = [
    "Batches",
    "Cache",
    "ImageSource",
    "InMemoryDataset",
    "Shards",
    "StreamedBatches",
    "StreamingDataset",
    "Transform",
    "load_data",
    "load_images",
    "open_data",
    "open_source",
    "parse_colour",
]
