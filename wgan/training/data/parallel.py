"""Work on many images at a time, in threads, with the results in order."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from PIL import Image

from wgan.host import usable_cores
from wgan.parallel import ordered_map

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The results of `work` on each item, in the items' order, by as many threads as decode well.

    Pillow lets others run while it decodes and resizes. Few items wait at a time: a source that is
    read forward is never asked for something far ahead.
    """
    threads = min(32, usable_cores())
    return ordered_map(items, work, workers=threads, ahead=2 * threads)


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Leave out Pillow's warnings of oddities in files that it can read all the same."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
