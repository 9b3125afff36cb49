"""PNG files that the browser writes, read by Pillow."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.page.scripts import run_script
from wgan.images import grid

IMAGES = np.random.RandomState(0).randint(0, 256, (7, 5, 6, 4)).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("count", [1, 7])
def test_a_grid_is_that_of_wgan_sample(tmp_path: Path, channels: int, count: int) -> None:
    images = IMAGES[:count, :, :, :channels]
    written = run_script(
        tmp_path,
        f"""
        import {{ encodePng, grid }} from "./png.js";
        const images = {images.reshape(count, -1).tolist()}.map((each) => Uint8Array.from(each));
        const {{ pixels, height, width }} = grid(images, 5, 6, {channels});
        const file = await encodePng(pixels, height, width, {channels});
        console.log(JSON.stringify(Buffer.from(file).toString("base64")));
        """,
        "png.js",
    )
    image = Image.open(io.BytesIO(base64.b64decode(written)))
    assert image.format == "PNG"
    assert image.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    seen = np.asarray(image).reshape(image.height, image.width, channels)
    np.testing.assert_array_equal(seen, grid(images))
