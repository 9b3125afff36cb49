"""Training data: from what the user names to batches on the device.

Reading order: `source.py` (what all data offers), `glyphs.py`, `folder.py`, `archive.py`, `idx.py`
and `named.py` (the kinds of it), `opening.py` (which one is meant); `decode.py` and `transform.py`
(one picture), `parallel.py` and `pictures.py` (all of them), `batches.py` and `decoded.py` (their
order), `pixelfile.py` and `cache.py` (kept on disk); `shards.py`, `stream.py` and `prepare.py` (for
data that is more than memory); `loading.py` (which of the two).
"""

from wgan.training.data.batches import Batches
from wgan.training.data.cache import Cache
from wgan.training.data.decoded import Pictures
from wgan.training.data.loading import load_data
from wgan.training.data.opening import open_data, open_source
from wgan.training.data.pictures import load_pictures
from wgan.training.data.shards import Shards
from wgan.training.data.source import Source
from wgan.training.data.stream import Stream, StreamedBatches
from wgan.training.data.transform import Transform, parse_colour

__all__ = [
    "Batches",
    "Cache",
    "Pictures",
    "Shards",
    "Source",
    "Stream",
    "StreamedBatches",
    "Transform",
    "load_data",
    "load_pictures",
    "open_data",
    "open_source",
    "parse_colour",
]
