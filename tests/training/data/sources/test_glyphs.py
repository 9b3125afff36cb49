from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from wgan.training.data.sources.glyphs import GlyphSource


@pytest.mark.parametrize("size", [32, 64, 128])
def test_a_glyph_depends_on_its_index_and_size_only(size: int) -> None:
    def draw(index: int) -> bytes:
        return GlyphSource(100).image(index, size).tobytes()

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(draw, range(40)))
    assert together[::-1] == [draw(index) for index in reversed(range(40))]
    assert len(set(together)) == 40


def test_every_glyph_is_in_colour_and_contrasts_with_its_background() -> None:
    source = GlyphSource()
    for index in range(200):
        pixels = np.asarray(source.image(index, 32)).astype(float)
        assert pixels.shape == (32, 32, 3)
        grey = pixels @ [0.299, 0.587, 0.114]
        assert grey.max() - grey.min() > 50
        share = (np.abs(pixels - pixels[0, 0]).max(axis=2) > 30).mean()
        assert 0.04 < share < 0.6  # the character covers a part of the image


def test_the_number_of_glyphs_can_be_set() -> None:
    assert len(GlyphSource()) == 20_000
    assert len(GlyphSource(7)) == 7
    assert GlyphSource().channels == 3
