"""The image addresses: PNG, npy and zip, caching, and invalid requests."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from PIL import Image

from tests.export.foreign.networks import foreign
from tests.server.servers import Reply, Server, serving
from wgan.images import grid
from wgan.latents import latents_from_seeds
from wgan.runtime import Generator

MODEL = "/v1/models/generator"


def image(reply: Reply) -> np.ndarray:
    assert (reply.status, reply.headers["content-type"]) == (200, "image/png"), reply.body
    return np.asarray(Image.open(io.BytesIO(reply.body)))


def test_models_are_described_with_shape_provider_and_manifest(server: Server) -> None:
    content = server.get("/v1/models").json()
    (model,) = content["models"]
    assert (model["name"], model["provider"]) == ("generator", "CPUExecutionProvider")
    assert (model["latent_dim"], model["height"], model["channels"]) == (4, 8, 3)
    assert model["manifest"]["step"] == 12
    assert "goldens" not in model["manifest"]["receipt"]
    assert content["limits"]["max_images"] == 256
    assert server.get(MODEL).json() == model


def test_a_seed_gives_the_image_of_the_runtime(server: Server, generator: Generator) -> None:
    np.testing.assert_array_equal(
        image(server.get(f"{MODEL}/images/42.png")), generator.sample([42])[0]
    )


def test_a_grid_shows_several_seeds(server: Server, generator: Generator) -> None:
    reply = server.get(f"{MODEL}/grid.png?seeds=0-9,77&truncation=0.5")
    expected = generator.pixels(latents_from_seeds([*range(10), 77], 4) * np.float32(0.5))
    np.testing.assert_array_equal(image(reply), grid(expected))
    assert image(server.get(f"{MODEL}/grid.png")).shape == (64, 64, 3)


def test_an_interpolation_starts_and_ends_at_its_seeds(
    server: Server, generator: Generator
) -> None:
    path = f"{MODEL}/between.png?first=3&second=9&at="
    start, end = generator.sample([3, 9])
    np.testing.assert_allclose(image(server.get(path + "0")).astype(int), start, atol=1)
    np.testing.assert_allclose(image(server.get(path + "1")).astype(int), end, atol=1)
    middle = image(server.get(path + "0.5"))
    assert not np.array_equal(middle, start)
    assert not np.array_equal(middle, end)


def test_an_image_that_the_client_has_is_304(server: Server) -> None:
    first = server.get(f"{MODEL}/images/5.png")
    etag = first.headers["etag"]
    assert etag.startswith('"')  # strong
    again = server.get(f"{MODEL}/images/5.png", {"If-None-Match": f'"x", {etag}'})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
    assert server.get(f"{MODEL}/images/5.png", {"If-None-Match": '"x"'}).body == first.body


def test_different_settings_have_different_etags(server: Server) -> None:
    paths = ["images/5.png", "images/6.png", "images/5.png?truncation=0.7", "grid.png?seeds=5,6"]
    tags = {server.get(f"{MODEL}/{path}").headers["etag"] for path in paths}
    assert len(tags) == len(paths)


def test_the_options_of_a_foreign_file_count_in_the_etag(tmp_path: Path) -> None:
    unclear = [helper.make_node("Identity", ["features"], ["image"])]
    (tmp_path / "theirs.onnx").write_bytes(foreign(unclear).SerializeToString())
    seen = []
    for value_range in ("-1,1", "-3,3"):
        with serving(tmp_path / "theirs.onnx", f"--value-range={value_range}") as server:
            seen.append(server.get("/v1/models/theirs/images/5.png"))
    assert seen[0].body != seen[1].body
    assert seen[0].headers["etag"] != seen[1].headers["etag"]


@pytest.mark.parametrize("accept", ["application/x-npy", "text/html, application/x-npy;q=0.1"])
def test_a_sample_as_an_array(server: Server, generator: Generator, accept: str) -> None:
    reply = server.post(f"{MODEL}/sample", {"seeds": "1-3"}, {"Accept": accept})
    assert reply.headers["content-type"] == "application/x-npy"
    np.testing.assert_array_equal(np.load(io.BytesIO(reply.body)), generator.sample([1, 2, 3]))


def test_a_sample_as_a_zip_has_the_same_bytes_each_time(
    server: Server, generator: Generator
) -> None:
    wish, headers = {"seeds": [8, 3]}, {"Accept": "application/zip"}
    reply = server.post(f"{MODEL}/sample", wish, headers)
    with zipfile.ZipFile(io.BytesIO(reply.body)) as archive:
        assert archive.namelist() == ["00000008.png", "00000003.png"]
        drawn = np.asarray(Image.open(archive.open("00000003.png")))
    np.testing.assert_array_equal(drawn, generator.sample([3])[0])
    assert server.post(f"{MODEL}/sample", wish, headers).body == reply.body


def test_an_archive_of_repeated_seeds_is_refused(server: Server) -> None:
    wish = {"seeds": [7, 8, 7]}
    refused = server.post(f"{MODEL}/sample", wish, {"Accept": "application/zip"})
    assert (refused.status, refused.error) == (400, "an archive cannot hold 00000007.png twice")
    assert server.post(f"{MODEL}/sample", wish, {"Accept": "image/png"}).status == 200


@pytest.mark.parametrize("headers", [{}, {"Accept": "*/*"}, {"Accept": "image/*"}])
def test_a_sample_is_a_png_by_default(
    server: Server, generator: Generator, headers: dict[str, str]
) -> None:
    rows = latents_from_seeds([1, 2], 4)
    reply = server.post(f"{MODEL}/sample", {"latents": rows.tolist()}, headers)
    np.testing.assert_array_equal(image(reply), grid(generator.pixels(rows)))


def test_a_sample_as_an_interpolation(server: Server, generator: Generator) -> None:
    wish = {"first": 1, "second": 2, "steps": 5}
    reply = server.post(f"{MODEL}/sample", wish, {"Accept": "application/x-npy"})
    pixels = np.load(io.BytesIO(reply.body))
    assert pixels.shape == (5, 8, 8, 3)
    np.testing.assert_array_equal(pixels[0], generator.sample([1])[0])


def test_an_unavailable_media_type_is_406(server: Server) -> None:
    for accept in ("text/html", "image/png;q=0, image/webp"):
        reply = server.post(f"{MODEL}/sample", {"seeds": "1"}, {"Accept": accept})
        assert reply.status == 406
        assert "image/png" in reply.error


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("images/4294967296.png", "seed is '4294967296': expected `int` <= 4294967295"),
        ("images/-1.png", "seed is '-1': expected `int` >= 0"),
        ("images/%D9%A3.png", "expected `int`"),  # a digit, but not an ASCII digit
        ("images/1.png?truncation=nan", "truncation is 'nan': expected `float` >= 0"),
        ("images/1.png?truncation=101", "truncation is '101': expected `float` <= 100"),
        ("images/1.png?truncaton=0.5", "unknown field `truncaton`; known are truncation"),
        (
            "images/1.png?truncation=1&truncation=0.5",
            "parameter 'truncation' is given more than once",
        ),
        ("images/1.png?label=0", "this model has no classes: leave out the label"),
        (
            "grid.png?seed=1",
            "unknown field `seed`; known are truncation, strengths, label, seeds, labels",
        ),
        ("between.png?first=1&second=2&to=1", "unknown field `to`"),
        ("images/1.png?truncation=", "truncation is '': expected `float`"),
        ("grid.png?seeds=", "are not allowed"),
        ("grid.png?seeds=9-1", "runs backwards"),
        ("grid.png?seeds=0-256", "are 257; at most 256"),
        ("grid.png?seeds=0-4294967295,1", "are 4294967297; at most 256"),
        ("grid.png?seeds=" + "9" * 4000, "are not allowed"),
        ("grid.png?seeds=" + "1," * 3000, "expected `str` of length <= 4096"),
        ("between.png?first=1", "missing required field `second`"),
        ("between.png?first=1&second=2&at=1.5", "at is '1.5': expected `float` <= 1"),
    ],
)
def test_invalid_url_parameters_are_400(server: Server, path: str, sentence: str) -> None:
    reply = server.get(f"{MODEL}/{path}")
    assert reply.status == 400
    assert sentence in reply.error


def test_a_sample_takes_no_url_parameters(server: Server) -> None:
    reply = server.post(f"{MODEL}/sample?truncation=0.5", {"seeds": "1"})
    assert (reply.status, "unknown field `truncation`" in reply.error) == (400, True)


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        ({}, "give one of"),
        ({"seeds": "1", "latents": [[0, 0, 0, 0]]}, "give one of"),
        ({"first": 1}, "give one of"),
        ({"first": 1, "second": True}, "second is True: expected `int`"),
        ({"first": 1, "second": 2, "steps": 1}, "steps is 1: expected `int` >= 2"),
        ({"first": 1, "second": 2, "steps": 1000}, "1000 images: at most 256"),
        ({"seeds": 5}, "seeds is 5: expected `str | array`"),
        ({"seeds": []}, "seeds is []: expected `array` of length >= 1"),
        ({"seeds": [1.5]}, "seeds[0] is 1.5: expected `int`"),
        ({"seeds": [-1]}, "seeds[0] is -1: expected `int` >= 0"),
        ({"seeds": list(range(257))}, "at most 256"),
        ({"seeds": "1", "size": 3}, "unknown field `size`; known are seeds, latents"),
        ({"seeds": "1", "seed": True}, "unknown field `seed`"),
        ({"seeds": [True]}, "seeds[0] is True: expected `int`"),
        ({"seeds": "1", "truncation": True}, "truncation is True"),
        ({"seeds": "1", "truncation": [1]}, "truncation is [1]"),
        ({"latents": [[1, 2, 3]]}, "latents[0] has 3 numbers: this model needs 4"),
        ({"latents": [[1, 2, 3, "4"]]}, "latents[0][3] is '4': expected `float`"),
        ({"latents": [[1, 2, 3, 1e300]]}, "beyond the range of float32"),
        ({"latents": 1}, "latents is 1: expected `array`"),
    ],
)
def test_an_invalid_sample_request_is_400(
    server: Server, wish: dict[str, Any], sentence: str
) -> None:
    reply = server.post(f"{MODEL}/sample", wish)
    assert reply.status == 400
    assert sentence in reply.error
