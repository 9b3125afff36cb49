"""Training data: from what the user names to batches on the device.

Reading order: `source.py` (what all data offers), `glyphs.py`, `folder.py`, `archive.py`, `idx.py`
and `named.py` (the kinds of it), `opening.py` (which one is meant), `decode.py` and `transform.py`
(one picture), `pictures.py` (all of them), `batches.py` (their order).
"""

from wgan.training.data.batches import Batches
from wgan.training.data.opening import open_source
from wgan.training.data.pictures import Pictures, load_pictures
from wgan.training.data.source import Source

__all__ = ["Batches", "Pictures", "Source", "load_pictures", "open_source"]
