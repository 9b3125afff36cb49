"""The server and its page behind proxies: below a prefix, and when the proxy itself answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.proxies import Proxy, proxying
from tests.server.servers import Server, serving
from tests.server.test_page import await_images, shown, try_request
from wgan.errors import UsageError
from wgan.runtime import Generator
from wgan.server.config import ServeConfig

PREFIX = "/user/ann/proxy/8000"  # as jupyter-server-proxy and JupyterHub have it


@pytest.fixture(scope="module")
def prefixed(model_file: Path) -> Iterator[Server]:
    with serving(model_file, "--root-path", PREFIX) as running:
        yield running


@pytest.fixture(params=["strips the prefix", "keeps the prefix", "strips one that is known"])
def proxy(request: Any, server: Server, prefixed: Server) -> Iterator[Proxy]:
    behind = server if request.param == "strips the prefix" else prefixed
    keep = request.param == "keeps the prefix"
    with proxying(behind.port, PREFIX, keep=keep) as running:
        yield running


def test_the_page_draws_below_a_prefix(browser: Any, proxy: Proxy, generator: Generator) -> None:
    page = browser.new_page()
    page.goto(f"{proxy.url}/?seed=5")
    await_images(page, 48)
    tile = '.tile[data-seed="7"] img'
    np.testing.assert_array_equal(shown(page, tile), generator.sample([7])[0])
    page.wait_for_selector('#middle[alt="12 of 24 from seed 5 to seed 6"]')
    page.click("#api")
    page.wait_for_selector("article")
    infer = "/v2/models/{model}/infer"
    assert try_request(page, "POST", infer) == "200 OK application/json"
    sent = page.locator(".result code").all_inner_texts()
    assert f"POST {PREFIX}/v2/models/generator/infer" in sent
    page.close()


def test_the_prefix_without_its_last_slash_leads_to_the_page(prefixed: Server) -> None:
    reply = prefixed.get(PREFIX)
    assert reply.status == 308
    assert reply.headers["location"] == f"{PREFIX}/"
    assert prefixed.get(f"{PREFIX}/").status == 200
    assert prefixed.get(f"{PREFIX}x/v2").status == 404


def test_the_openapi_document_says_where_the_server_is(server: Server, prefixed: Server) -> None:
    assert server.get("/openapi.json").json()["servers"] == [{"url": "."}]
    for path in ("/openapi.json", f"{PREFIX}/openapi.json"):
        assert prefixed.get(path).json()["servers"] == [{"url": PREFIX}]


@pytest.mark.parametrize("path", ["wgan", "//", "/a b", "/a?b", "/a//b", "http://host/a"])
def test_a_prefix_that_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match=r"--root-path .* it must be a path, as in /wgan"):
        ServeConfig(root_path=path)


@pytest.mark.parametrize("path", ["", "docs"])
@pytest.mark.parametrize(
    ("status", "message"),
    [
        (502, " is answered with 502 Bad Gateway, not by wgan: something in front"),
        (503, " is answered with 503 Service Unavailable, not by wgan"),
        (401, " is answered with 401 Unauthorized, not by wgan"),
        (200, " is of the type text/html, not application/json"),
    ],
)
def test_an_html_answer_of_a_proxy_is_a_sentence_on_the_page(
    browser: Any, server: Server, path: str, status: int, message: str
) -> None:
    with proxying(0, status=status) as broken:
        page = browser.new_page()
        page.route("**/v1/*", lambda route: route.continue_(url=f"{broken.url}/v1/models"))
        page.route("**/openapi.json", lambda route: route.continue_(url=broken.url + "/"))
        page.goto(f"{server.url}/{path}")
        page.get_by_text(message).wait_for()
        assert page.locator("dialog").count() == 0
        page.close()


def test_a_server_that_has_stopped_is_a_sentence_on_the_page(
    browser: Any, model_file: Path
) -> None:
    with serving(model_file) as stopped:
        page = browser.new_page()
        page.goto(stopped.url)
        await_images(page, 48)
        stopped.stop()
        page.click("#random")
        page.locator("#end", has_text="The server cannot be reached").wait_for()
        page.close()


@pytest.mark.parametrize("path", ["/", "/page/page.js", "/v1/models/generator/images/1.png"])
def test_weak_tags_are_accepted(server: Server, path: str) -> None:
    etag = server.get(path).headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", W/{etag}', "*"):
        assert server.get(path, {"If-None-Match": known}).status == 304
    assert server.get(path, {"If-None-Match": 'W/"other"'}).status == 200
