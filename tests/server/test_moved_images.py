"""Images moved along directions: `wgan serve --directions`, its parameter, the sliders."""

import io
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.server.servers import Server, serving
from wgan.errors import UsageError
from wgan.images import grid
from wgan.latents import latents_from_seeds
from wgan.runtime import Generator
from wgan.server.model_repository import direction_files

MODEL = "/v1/models/generator"

DIRECTIONS = np.array([[0.6, 0.8, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]], np.float32)


@pytest.fixture(scope="module")
def moving(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose model has three directions."""
    path = tmp_path_factory.mktemp("directions") / "d.npy"
    np.save(path, DIRECTIONS)
    with serving(model_file, "--directions", path) as server:
        yield server


def image(server: Server, path: str) -> np.ndarray:
    reply = server.get(path)
    assert reply.status == 200, reply.body
    return np.asarray(Image.open(io.BytesIO(reply.body)))


def moved(generator: Generator, seeds: list[int], strengths: list[float]) -> np.ndarray:
    shift = np.array(strengths, np.float32) @ DIRECTIONS[: len(strengths)]
    return generator.pixels(latents_from_seeds(seeds, 4) * np.float32(0.5) + shift)


def test_the_model_says_how_many_directions_it_has(moving: Server, server: Server) -> None:
    assert moving.get(MODEL).json()["directions"] == 3
    assert server.get(MODEL).json()["directions"] == 0


def test_every_address_of_images_takes_strengths(moving: Server, generator: Generator) -> None:
    query = "truncation=0.5&strengths=2,-1.5"
    one = image(moving, f"{MODEL}/images/42.png?{query}")
    np.testing.assert_allclose(one.astype(int), moved(generator, [42], [2, -1.5])[0], atol=1)
    several = image(moving, f"{MODEL}/grid.png?seeds=1-4&{query}")
    expected = grid(moved(generator, [1, 2, 3, 4], [2, -1.5]))
    np.testing.assert_allclose(several.astype(int), expected, atol=1)
    start = image(moving, f"{MODEL}/between.png?first=42&second=7&at=0&{query}")
    np.testing.assert_allclose(start.astype(int), one, atol=1)
    for body in ({"seeds": [42]}, {"latents": latents_from_seeds([42], 4).tolist()}):
        reply = moving.post(
            f"{MODEL}/sample",
            {**body, "truncation": 0.5, "strengths": [2, -1.5]},
            {"Accept": "application/x-npy"},
        )
        pixels = np.load(io.BytesIO(reply.body))
        np.testing.assert_allclose(pixels[0].astype(int), one, atol=1)


def test_strengths_of_0_are_the_plain_image_and_its_tag(moving: Server) -> None:
    plain = moving.get(f"{MODEL}/images/5.png")
    for strengths in ("", "0", "0,0,0", "-0,0.0"):
        reply = moving.get(f"{MODEL}/images/5.png?strengths={strengths}")
        assert reply.body == plain.body
        assert reply.headers["etag"] == plain.headers["etag"]
    other = moving.get(f"{MODEL}/images/5.png?strengths=1")
    assert other.headers["etag"] != plain.headers["etag"]
    same = moving.get(
        f"{MODEL}/images/5.png?strengths=1.0,0", {"If-None-Match": other.headers["etag"]}
    )
    assert same.status == 304


@pytest.mark.parametrize(
    ("strengths", "sentence"),
    [
        ("1,2,3,4", "holds 4 numbers, and this model has 3 directions"),
        ("101", "<= 100"),
        ("-100.5", ">= -100"),
        ("x", "float"),
        ("1,,2", "float"),
        ("nan", ""),
        ("inf", ""),
        ("1e999", ""),
        ("1" * 5000, "4096"),
    ],
)
def test_strengths_that_are_not_allowed_are_refused(
    moving: Server, strengths: str, sentence: str
) -> None:
    reply = moving.get(f"{MODEL}/images/5.png?strengths={strengths}")
    assert reply.status == 400
    assert "strengths" in reply.error
    assert sentence in reply.error


@pytest.mark.parametrize("strengths", [[101], ["1"], [[1]], 1, "1", [None], [1] * 4])
def test_strengths_of_a_body_are_refused_alike(moving: Server, strengths: Any) -> None:
    reply = moving.post(f"{MODEL}/sample", {"seeds": [1], "strengths": strengths})
    assert reply.status == 400
    assert "strengths" in reply.error


def test_a_model_without_directions_takes_none(server: Server) -> None:
    assert "0 directions" in server.get(f"{MODEL}/images/5.png?strengths=1").error


def test_a_changed_file_of_directions_is_read_on_sighup(model_file: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", DIRECTIONS)
    with serving(model_file, "--directions", f"generator={tmp_path / 'd.npy'}") as server:
        np.save(tmp_path / "d.npy", DIRECTIONS[:2])
        server.process.send_signal(signal.SIGHUP)
        server.await_log("model generator has new directions")
        assert server.get(MODEL).json()["directions"] == 2


def test_each_model_has_its_own_directions() -> None:
    both = ("a", "b")
    assert direction_files(["a=x.npy", "b=y.npy"], both) == {"a": Path("x.npy"), "b": Path("y.npy")}
    assert direction_files(["x.npy"], ["a"]) == {"a": Path("x.npy")}
    for wrong in (["x.npy"], ["c=x.npy"], ["a=x.npy", "a=y.npy"]):
        with pytest.raises(UsageError):
            direction_files(wrong, both)


@pytest.fixture
def page(browser: Any, moving: Server) -> Iterator[Any]:
    wrong: list[str] = []
    opened = browser.new_page(viewport={"width": 1280, "height": 860})
    opened.set_default_timeout(15_000)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    yield opened
    opened.close()
    assert wrong == []


def test_sliders_move_the_images_and_are_in_the_address(page: Any, moving: Server) -> None:
    page.goto(f"{moving.url}/?at=0")
    page.wait_for_selector('#middle[alt="0 of 24 from seed 0 to seed 1"]')
    assert page.locator("#sliders input").count() == 3
    page.locator("#direction-1").fill("-2")
    page.locator("#direction-1").dispatch_event("change")
    page.wait_for_selector('#middle[alt="0 of 24 from seed 0 to seed 1, moved by 0,-2"]')
    assert page.locator("#sliders output").nth(1).inner_text() == "-2.0"
    shared = page.url
    assert shared.endswith("&at=0&strengths=0%2C-2")
    page.goto("about:blank")
    page.goto(shared)
    page.wait_for_selector('#middle[alt="0 of 24 from seed 0 to seed 1, moved by 0,-2"]')
    assert page.locator("#direction-1").input_value() == "-2"
    page.click("#reset")
    page.wait_for_selector('#middle[alt="0 of 24 from seed 0 to seed 1"]')
    assert page.url.endswith("&at=0")


def test_an_address_with_strengths_that_are_not_allowed_shows_plain_images(
    page: Any, moving: Server
) -> None:
    for strengths in ("99", "x", "1,1,1,1", "nan"):
        page.goto(f"{moving.url}/?at=0&strengths={strengths}")
        page.wait_for_selector('#middle[alt="0 of 24 from seed 0 to seed 1"]')
        assert page.url.endswith("&at=0")


def test_a_model_without_directions_has_no_sliders(browser: Any, server: Server) -> None:
    opened = browser.new_page()
    opened.goto(server.url)
    opened.wait_for_selector(".tile.loaded")
    assert not opened.locator("#directions").is_visible()
    opened.close()
