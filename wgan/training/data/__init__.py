"""Training data: from what the user names to batches on the device.

Reading order: `source.py` (what all data offers), `glyphs.py`, `folder.py`, `archive.py`, `idx.py`
and `named.py` (the kinds of it), `opening.py` (which one is meant), `decode.py` and `transform.py`
(one picture), `pictures.py` (all of them), `pixelfile.py` and `cache.py` (kept on disk),
`batches.py` (their order).
"""

from wgan.training.data.batches import Batches
from wgan.training.data.cache import Cache
from wgan.training.data.opening import open_source
from wgan.training.data.pictures import load_pictures
from wgan.training.data.pixelfile import Pictures
from wgan.training.data.source import Source
from wgan.training.data.transform import parse_colour

__all__ = ["Batches", "Cache", "Pictures", "Source", "load_pictures", "open_source", "parse_colour"]
