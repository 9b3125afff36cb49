"""A small folder of good images, for the tests of this folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RealData = Callable[[str], Path]
"""The fixture `real_data`."""


def save_image(path: Path, seed: int = 0) -> None:
    """Write a small coloured image, another for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(0, 256, (40, 36, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Twelve images at two depths, of three kinds."""
    folder = tmp_path / "good"
    for seed in range(12):
        ending = ("png", "webp", "bmp")[seed % 3]
        save_image(folder / f"{seed % 2}" / f"{seed:02}.{ending}", seed)
    return folder
