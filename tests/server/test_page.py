"""The page at `/` and the documentation at `/docs`, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.runtime import models
from tests.server.servers import Server, serving
from wgan.images import grid
from wgan.runtime import Generator

KEY = "a-key-of-thirty-two-characters-0"


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """A page in a new profile; fails on script errors and on requests to other servers."""
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 860}, accept_downloads=True)
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    opened.on(
        "request",
        lambda asked: (
            None if asked.url.startswith((server.url, "blob:")) else wrong.append(asked.url)
        ),
    )
    yield opened
    context.close()
    assert wrong == []


def await_images(page: Any, count: int) -> None:
    """Wait until `count` images of the gallery are loaded."""
    page.wait_for_selector(f".tile.loaded >> nth={count - 1}")


def shown(page: Any, selector: str) -> np.ndarray:
    """The pixels of an <img>, decoded by the browser."""
    pixels = page.eval_on_selector(
        selector,
        """image => {
            const canvas = document.createElement("canvas");
            canvas.width = image.naturalWidth;
            canvas.height = image.naturalHeight;
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
            return [canvas.height, canvas.width, ...data];
        }""",
    )
    height, width, *values = pixels
    return np.array(values, np.uint8).reshape(height, width, 4)[:, :, :3]


def test_the_gallery_shows_the_images_of_the_seeds(
    page: Any, server: Server, generator: Generator
) -> None:
    page.goto(server.url)
    await_images(page, 48)
    for seed in (0, 1, 47):
        np.testing.assert_array_equal(
            shown(page, f'.tile[data-seed="{seed}"] img'), generator.sample([seed])[0]
        )


def test_the_gallery_loads_more_on_scrolling(page: Any, server: Server) -> None:
    page.goto(server.url)
    await_images(page, 48)
    before = page.locator(".tile").count()
    page.mouse.move(400, 500)
    page.mouse.wheel(0, 20_000)
    await_images(page, before + 48)


def test_truncation_0_makes_all_images_equal(page: Any, server: Server) -> None:
    page.goto(server.url)
    await_images(page, 48)
    page.locator("#truncation").fill("0")
    assert page.locator("#truncation-value").inner_text() == "0.00"
    await_images(page, 48)
    first = shown(page, '.tile[data-seed="0"] img')
    np.testing.assert_array_equal(first, shown(page, '.tile[data-seed="7"] img'))


def test_the_slider_interpolates_between_two_chosen_images(
    page: Any, server: Server, generator: Generator
) -> None:
    page.goto(server.url)
    await_images(page, 48)
    page.click('.tile[data-seed="20"]')
    page.click('.tile[data-seed="25"]')
    assert page.locator("#name-a").inner_text() == "20"
    assert page.locator('.tile[data-end="B"]').get_attribute("data-seed") == "25"
    for position, seed in (("0", 20), ("24", 25)):
        page.locator("#at").fill(position)
        page.wait_for_selector(f'#middle[alt^="{position} of 24 from seed 20"]')
        np.testing.assert_array_equal(shown(page, "#middle"), generator.sample([seed])[0])
    page.locator("#at").fill("12")
    page.wait_for_selector('#middle[alt^="12 of 24"]')
    middle = shown(page, "#middle")
    assert not np.array_equal(middle, generator.sample([20])[0])
    assert not np.array_equal(middle, generator.sample([25])[0])


def test_play_moves_the_slider(page: Any, server: Server) -> None:
    page.goto(server.url)
    await_images(page, 48)
    page.click("#play")
    # It begins in the middle, at 12. A busy browser may not show every position.
    page.wait_for_selector(", ".join(f'#middle[alt^="{k} of 24"]' for k in range(18, 25)))
    page.click("#play")
    assert page.locator("#play").get_attribute("aria-pressed") == "false"


def test_images_and_grids_can_be_saved(
    page: Any, server: Server, generator: Generator, tmp_path: Path
) -> None:
    page.goto(f"{server.url}/")
    await_images(page, 48)
    page.locator("#at").fill("24")
    page.wait_for_selector('#middle[alt^="24 of 24"]')
    for button, name, expected in (
        ("#save", "generator-1.png", generator.sample([1])[0]),
        ("#save-grid", "generator-0-63.png", grid(generator.sample(range(64)))),
    ):
        with page.expect_download() as waiting:
            page.click(button)
        assert waiting.value.suggested_filename == name
        waiting.value.save_as(tmp_path / name)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / name)), expected)


def test_a_saved_grid_has_as_many_images_as_the_server_allows(
    browser: Any, model_file: Path, generator: Generator, tmp_path: Path
) -> None:
    with serving(model_file, "--max-images", 16) as server:
        opened = browser.new_page()
        opened.goto(f"{server.url}/")
        await_images(opened, 8)
        with opened.expect_download() as waiting:
            opened.click("#save-grid")
        assert waiting.value.suggested_filename == f"{model_file.stem}-0-15.png"
        waiting.value.save_as(tmp_path / "grid.png")
        opened.close()
    drawn = np.asarray(Image.open(tmp_path / "grid.png"))
    np.testing.assert_array_equal(drawn, grid(generator.sample(range(16))))


def test_the_keyboard_reaches_everything(page: Any, server: Server) -> None:
    page.goto(server.url)
    await_images(page, 48)
    page.locator('.tile[data-seed="0"]').focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator('.tile[data-end="B"]').get_attribute("data-seed") == "2"
    page.keyboard.press("ArrowDown")
    below = page.evaluate_handle("document.activeElement").as_element()
    assert int(below.get_attribute("data-seed")) > 3
    page.locator("#model").focus()
    reached = set()
    for _ in range(13):
        page.keyboard.press("Tab")
        reached.add(page.evaluate_handle("document.activeElement").as_element().get_attribute("id"))
    assert reached >= {"truncation", "first", "random", "save-grid", "at", "play", "save"}


def test_the_gallery_starts_at_the_chosen_seed(
    page: Any, server: Server, generator: Generator
) -> None:
    page.goto(server.url)
    await_images(page, 48)
    page.locator("#first").fill("4294967290")
    page.keyboard.press("Enter")
    page.wait_for_selector('.tile.loaded[data-seed="4294967295"]')
    np.testing.assert_array_equal(
        shown(page, '.tile[data-seed="4294967295"] img'), generator.sample([2**32 - 1])[0]
    )
    assert page.locator(".tile").count() == 6


def test_the_page_shows_the_manifest_and_the_provider(page: Any, server: Server) -> None:
    page.goto(server.url)
    await_images(page, 48)
    assert page.locator("#provider").inner_text() == "Runs on CPUExecutionProvider"
    page.click("summary")
    shown_text = page.locator("#manifest").inner_text()
    assert re.search(r"step\s+12", shown_text)
    assert "weights sha256" in shown_text


@pytest.mark.parametrize(("path", "shown"), [("/", ".tile.loaded"), ("/docs", "article")])
def test_narrow_screens_need_no_scrolling_sideways(
    page: Any, server: Server, path: str, shown: str
) -> None:
    page.goto(server.url + path)
    page.wait_for_selector(shown)
    for width in (320, 390, 800):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.eval_on_selector("html", "root => root.scrollWidth") <= width


def test_light_and_dark_follow_the_system(page: Any, server: Server) -> None:
    backgrounds = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(server.url)
        backgrounds.append(
            page.eval_on_selector("body", "body => getComputedStyle(body).backgroundColor")
        )
    brightness = [int(re.findall(r"\d+", background)[0]) for background in backgrounds]
    assert brightness[0] > 200
    assert brightness[1] < 60


def test_the_page_asks_for_a_key_once(browser: Any, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(KEY)
    with serving(model_file, "--api-key-file", tmp_path / "keys") as protected:
        page = browser.new_page()
        page.goto(protected.url)
        page.wait_for_selector("dialog[open]")
        assert page.locator("#key-error").count() == 0
        page.locator("#key").fill("wrong")
        page.keyboard.press("Enter")
        assert page.locator("#key-error").inner_text() == "The server does not accept this key."
        page.locator("#key").fill(KEY)
        page.keyboard.press("Enter")
        await_images(page, 48)
        assert page.locator("dialog").count() == 0
        page.goto(f"{protected.url}/docs")  # has the key of this tab
        assert try_request(page, "GET", "/v1/models").startswith("200 OK application/json")
        page.close()
        page = browser.new_page()
        page.goto(f"{protected.url}/docs")
        article = page.locator("article", has=page.get_by_text("GET /v1/models", exact=True))
        article.get_by_role("button", name="Send").click()
        page.wait_for_selector("dialog[open]")
        page.keyboard.press("Escape")  # the refusal is shown
        assert "401" in article.locator(".result p").inner_text()
        page.close()


def try_request(page: Any, method: str, path: str) -> str:
    """Send the request of an address in /docs; returns the response's status and type."""
    article = page.locator("article", has=page.get_by_text(f"{method} {path}", exact=True))
    article.get_by_role("button", name="Send").click()
    return str(article.locator(".result p").inner_text())


def test_the_documentation_shows_every_address(page: Any, server: Server) -> None:
    page.goto(f"{server.url}/docs")
    page.wait_for_selector("article")
    paths = server.get("/openapi.json").json()["paths"]
    titles = page.locator("article h3").all_inner_texts()
    assert {title.split(" ", 1)[1] for title in titles} == set(paths)


def test_the_documentation_can_try_requests(page: Any, server: Server) -> None:
    page.goto(f"{server.url}/docs")
    assert try_request(page, "GET", "/v2/health/live") == "200 OK application/json"
    assert try_request(page, "GET", "/v1/models/{model}/images/{seed}.png") == "200 OK image/png"
    page.wait_for_function("document.querySelector('.result img')?.naturalWidth === 8")
    sent = page.locator(".result code").all_inner_texts()
    assert "GET /v1/models/generator/images/42.png?truncation=1" in sent
    infer = "/v2/models/{model}/infer"
    assert try_request(page, "POST", infer) == "200 OK application/json"
    assert '"UINT8"' in "".join(page.locator(".result pre").all_inner_texts())


def test_the_address_restores_what_the_page_shows(page: Any, server: Server) -> None:
    page.goto(server.url)
    await_images(page, 48)
    page.locator("#first").fill("100")
    page.keyboard.press("Enter")
    page.wait_for_selector('.tile.loaded[data-seed="107"]')
    page.locator("#truncation").fill("0.5")
    page.click('.tile[data-seed="103"]')
    page.click('.tile[data-seed="107"]')
    page.locator("#at").fill("6")
    page.locator("#at").dispatch_event("change")
    shared = page.url
    assert shared.endswith("?model=generator&seed=100&truncation=0.5&a=103&b=107&at=6")
    page.goto("about:blank")
    page.goto(shared)
    page.wait_for_selector('#middle[alt="6 of 24 from seed 103 to seed 107"]')
    assert page.locator(".tile").first.get_attribute("data-seed") == "100"
    assert page.locator("#truncation-value").inner_text() == "0.50"
    assert page.locator('.tile[data-end="A"]').get_attribute("data-seed") == "103"


def test_an_address_with_values_that_are_not_allowed_shows_the_defaults(
    page: Any, server: Server
) -> None:
    page.goto(f"{server.url}/?model=none&seed=-5&truncation=x&a=1.5&b=99999999999&at=nan")
    await_images(page, 48)
    assert page.url.endswith("?model=generator&seed=0&truncation=1&a=0&b=1&at=12")


def test_random_starts_at_a_random_seed(page: Any, server: Server) -> None:
    page.goto(server.url)
    await_images(page, 48)
    page.click("#random")
    page.wait_for_function("document.querySelector('.tile')?.dataset.seed !== '0'")
    seed = page.locator(".tile").first.get_attribute("data-seed")
    assert f"seed={seed}&" in page.url


@pytest.mark.parametrize("path", ["/", "/docs", "/page/page.js"])
def test_the_policy_allows_no_other_servers(server: Server, path: str) -> None:
    policy = server.get(path).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_images_have_their_own_shape_and_lie_on_a_checker(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "generator.onnx"
    path.write_bytes(models.generator(4).SerializeToString())
    with serving(path) as server:
        opened = browser.new_page()
        opened.goto(server.url)
        await_images(opened, 4)
        shape = "getComputedStyle(document.documentElement).getPropertyValue('--shape')"
        assert opened.evaluate(shape) == "8 / 8"
        background = "tile => getComputedStyle(tile).backgroundImage"
        assert "conic-gradient" in opened.eval_on_selector(".tile.loaded", background)
        opened.close()
