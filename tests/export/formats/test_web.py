"""A page that draws in the browser, from a plain static server, in a real browser."""

import functools
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.checkpoints import trained_checkpoint
from tests.conftest import CHROMIUM, FLAGS
from tests.processes import ROOT, run_wgan_command
from tests.runtime import models
from tests.server.test_page import await_images, shown
from wgan.errors import ExportError, ParityError, UsageError
from wgan.export.config import ExportConfig
from wgan.export.formats.web import write_folder
from wgan.export.web_runtime import find_runtime, runtime_files
from wgan.images import grid
from wgan.latents import latents_from_seeds
from wgan.model_file.manifest import Manifest
from wgan.model_file.reading import describe
from wgan.runtime import Generator
from wgan.runtime.latent_sources import slerp

RUNTIME = ROOT / "build" / "onnxruntime-web"

NETWORK = """
from torch import nn

def make():
    return nn.Sequential(nn.ConvTranspose2d(6, 3, 8), nn.Tanh())
"""


@pytest.fixture(scope="module")
def runtime() -> Path:
    """onnxruntime-web; required in CI."""
    if not RUNTIME.exists():
        if os.environ.get("CI"):
            pytest.fail("CI has no onnxruntime-web: run  make web-runtime")
        pytest.skip("onnxruntime-web is missing: run  make web-runtime")
    return RUNTIME


@pytest.fixture(scope="module")
def plain(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a colour generator."""
    folder = tmp_path_factory.mktemp("plain")
    trained_checkpoint().save(folder / "checkpoint.pt")
    arguments = ("export", "checkpoint.pt", "--format", "web", "--runtime", runtime)
    done = run_wgan_command(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("web: step 4, fp32 for cpu; within ")
    return folder / "web"


def test_a_page_of_the_user_is_not_replaced(tmp_path: Path, runtime: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    trained_checkpoint().save(tmp_path / "checkpoint.pt")
    command = ("export", "checkpoint.pt", "--format", "web", "--runtime", runtime, "-o", "site")
    refused = run_wgan_command(*command, cwd=tmp_path)
    assert refused.returncode == 1
    assert "index.html is there already, and wgan did not write it" in refused.stderr
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["index.html"]


def written(folder: Path, runtime: Path, model: Path) -> Path:
    """The page of a model that was exported before."""

    def copy(path: Path) -> Manifest:
        shutil.copyfile(model, path)
        manifest = describe(model).manifest
        assert manifest is not None
        return manifest

    config = ExportConfig(formats=("web",), runtime=runtime)
    return write_folder(folder, None, config, copy)[0]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture
def host() -> Iterator[Callable[[Path], str]]:
    """Serve a folder as any static host does; returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def serve(folder: Path) -> str:
        handler = functools.partial(_Quiet, directory=str(folder))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page in a new profile; fails on script errors and on requests to another host."""
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 860}, accept_downloads=True)
    opened = context.new_page()
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    context.on(
        "request",
        lambda asked: (
            None
            if asked.url.startswith(("http://127.0.0.1:", "blob:"))
            else wrong.append(asked.url)
        ),
    )
    yield opened
    context.close()
    assert wrong == []


def assert_close(drawn: np.ndarray, expected: np.ndarray) -> None:
    """Within the tolerance of float32; a browser shows grey as colour."""
    assert drawn.shape[:2] == expected.shape[:2]
    distance = np.abs(drawn.astype(int) - expected)
    assert distance.max() <= 1
    assert distance.mean() <= 0.01


def test_the_documented_snippet_draws_in_a_browser(
    plain: Path, runtime: Path, host: Callable[[Path], str], page: Any, tmp_path: Path
) -> None:
    (snippet,) = re.findall(
        r"```html\n(.*?)```", (ROOT / "docs" / "exporting.md").read_text(), re.DOTALL
    )
    for path in [plain / "generator.onnx", *(runtime / "dist").iterdir()]:
        (tmp_path / path.name).symlink_to(path)
    html = snippet.replace("128", "16")  # this model's latent_dim
    (tmp_path / "index.html").write_text(f'<link rel="icon" href="data:,">{html}')
    page.goto(host(tmp_path))
    page.wait_for_function("document.getElementById('image').height === 32")
    levels = page.evaluate(
        "[...document.getElementById('image').getContext('2d').getImageData(0, 0, 32, 32).data]"
    )
    drawn = np.reshape(levels, (32, 32, 4))
    assert (drawn[..., 3] == 255).all()
    assert drawn[..., :3].std() > 1


def test_the_folder_holds_the_proved_model_and_only_what_the_page_needs(plain: Path) -> None:
    files = {path.relative_to(plain).as_posix() for path in plain.rglob("*.*")}
    licences = {"onnxruntime-web/ThirdPartyNotices.txt"}
    runtime = {f"onnxruntime-web/{name}" for name in runtime_files("fp32")}
    scripts = {path for path in files if path.startswith("page/")}
    assert files == {"index.html", "model.json", "generator.onnx", *runtime, *licences, *scripts}
    assert "MIT License" in (plain / "onnxruntime-web" / "LICENSE").read_text()
    verified = run_wgan_command("verify", "generator.onnx", cwd=plain)
    assert verified.returncode == 0, verified.stdout


def test_the_images_are_those_of_wgan_sample(
    page: Any, host: Callable[[Path], str], plain: Path
) -> None:
    page.goto(host(plain) + "?seed=4294967290")
    await_images(page, 6)
    seeds = range(2**32 - 6, 2**32)
    expected = Generator(plain / "generator.onnx").sample(seeds)
    for seed, row in zip(seeds, expected, strict=True):
        assert_close(shown(page, f'.tile[data-seed="{seed}"] img'), row)
    assert page.locator("#provider").inner_text() == "Runs on WebAssembly, in this browser"
    assert not page.locator("#api").is_visible()


def test_truncation_and_the_way_between_two_images(
    page: Any, host: Callable[[Path], str], plain: Path
) -> None:
    page.goto(host(plain))
    await_images(page, 48)
    page.locator("#truncation").fill("0.5")
    page.locator("#truncation").dispatch_event("change")
    page.click('.tile[data-seed="20"]')
    page.click('.tile[data-seed="25"]')
    page.locator("#at").fill("9")
    page.wait_for_selector('#middle[alt="9 of 24 from seed 20 to seed 25"]')
    await_images(page, 48)
    generator = Generator(plain / "generator.onnx")
    assert_close(shown(page, '.tile[data-seed="7"] img'), generator.sample([7], truncation=0.5)[0])
    start, end = latents_from_seeds([20, 25], generator.latent_dim)
    middle = slerp(start, end, 9 / 24) * np.float32(0.5)
    assert_close(shown(page, "#middle"), generator.pixels(middle[None])[0])


def test_an_image_and_a_grid_can_be_saved(
    page: Any, host: Callable[[Path], str], plain: Path, tmp_path: Path
) -> None:
    page.goto(host(plain))
    await_images(page, 48)
    page.locator("#at").fill("24")
    page.wait_for_selector('#middle[alt^="24 of 24"]')
    generator = Generator(plain / "generator.onnx")
    for button, name, expected in (
        ("#save", "generator-1.png", generator.sample([1])[0]),
        ("#save-grid", "generator-0-63.png", grid(generator.sample(range(64)))),
    ):
        with page.expect_download() as waiting:
            page.click(button)
        assert waiting.value.suggested_filename == name
        waiting.value.save_as(tmp_path / name)
        assert_close(np.asarray(Image.open(tmp_path / name)), expected)


def test_a_generator_with_classes_has_a_menu_of_them(
    page: Any, host: Callable[[Path], str], runtime: Path, conditional_file: Path, tmp_path: Path
) -> None:
    page.goto(host(written(tmp_path / "web", runtime, conditional_file)))
    await_images(page, 48)
    generator = Generator(conditional_file)
    tile = '.tile[data-seed="31"] img'
    assert_close(shown(page, tile), generator.sample([31])[0])  # of the class 31 % 3
    page.select_option("#label", generator.classes[2])
    await_images(page, 48)
    assert_close(shown(page, tile), generator.sample([31], labels=2)[0])
    page.wait_for_selector('#middle[alt="12 of 24 from seed 0 to seed 1"]')
    start, end = latents_from_seeds([0, 1], generator.latent_dim)
    middle = slerp(start, end, 0.5)[None]
    assert_close(shown(page, "#middle"), generator.pixels(middle, np.array([2]))[0])


def damaged(folder: Path, tmp_path: Path, name: str, content: bytes | None) -> Path:
    """A copy of a page's folder with another file `name`, or without it."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, copy_function=os.link)
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_bytes(content)
    return copy


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("generator.onnx", lambda model: model[:-9], "bytes, not"),
        ("generator.onnx", lambda model: model[:-9] + b"123456789", "is not the file that was"),
        (
            "generator.onnx",
            lambda model: None,
            "generator.onnx cannot be read, the host answers 404",
        ),
        ("model.json", lambda text: b"<!doctype html>", "model.json is not JSON: copy the whole"),
        ("model.json", lambda text: None, "model.json cannot be read, the host answers 404"),
        ("onnxruntime-web/ort.wasm.min.mjs", lambda text: None, "ort.wasm.min.mjs cannot be read"),
        (
            "onnxruntime-web/ort-wasm-simd-threaded.wasm",
            lambda binary: binary[:1000],
            "generator.onnx cannot be opened by this browser",
        ),
        ("page/worker.js", lambda text: None, "The page's scripts do not work in this browser"),
    ],
)
def test_a_wrong_or_cut_file_is_a_sentence_on_the_page(
    browser: Any,
    host: Callable[[Path], str],
    plain: Path,
    tmp_path: Path,
    name: str,
    change: Callable[[bytes], bytes | None],
    message: str,
) -> None:
    copy = damaged(plain, tmp_path, name, change((plain / name).read_bytes()))
    opened = browser.new_page()
    opened.goto(host(copy))
    opened.locator("#end", has_text=message).wait_for()
    opened.close()


def test_a_page_that_is_opened_as_a_file_says_what_it_needs(browser: Any, plain: Path) -> None:
    opened = browser.new_page()
    opened.goto(f"file://{plain}/index.html")
    assert "python -m http.server" in opened.locator("#end").inner_text()
    opened.close()


def test_a_generator_of_another_project_has_a_page(
    page: Any, host: Callable[[Path], str], runtime: Path, tmp_path: Path
) -> None:
    (tmp_path / "theirs.py").write_text(NETWORK)
    named = ("--module", "theirs:make", "--latents", "6x1x1")
    done = run_wgan_command(
        "export", *named, "--format", "web", "--runtime", runtime / "dist", "-o", "out",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out" / "model.json").read_text())["version"] == "1"
    page.goto(host(tmp_path / "out"))
    await_images(page, 48)
    expected = Generator(tmp_path / "out" / "generator.onnx").sample([3])[0]
    assert_close(shown(page, '.tile[data-seed="3"] img'), expected)


def test_a_refused_export_leaves_no_folder(runtime: Path, tmp_path: Path) -> None:
    def refuse(path: Path) -> Manifest:
        raise ParityError("it does not match")

    config = ExportConfig(formats=("web",), runtime=runtime)
    with pytest.raises(ParityError):
        write_folder(tmp_path / "web", None, config, refuse)
    assert not (tmp_path / "web").exists()


def test_images_that_no_page_shows_are_refused(runtime: Path, tmp_path: Path) -> None:
    (tmp_path / "five.onnx").write_bytes(models.generator(5).SerializeToString())
    with pytest.raises(ExportError, match="cannot show images of 5 channels: only 1, 3 and 4"):
        written(tmp_path / "web", runtime, tmp_path / "five.onnx")
    assert not (tmp_path / "web").exists()


@pytest.mark.slow
def test_webgpu_draws_the_same_images(
    browser: Any, host: Callable[[Path], str], runtime: Path, model_file: Path, tmp_path: Path
) -> None:
    folder = written(tmp_path / "web", runtime, model_file)
    software = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
    flags = [*software, "--enable-features=Vulkan", *(set(FLAGS) - {"--disable-gpu"})]
    with browser.browser_type.launch(executable_path=CHROMIUM, args=flags) as on_gpu:
        opened = on_gpu.new_page()
        opened.goto(host(folder))
        if not opened.evaluate("navigator.gpu?.requestAdapter().then(Boolean)"):
            pytest.skip("this Chromium has no software adapter for WebGPU")
        opened.wait_for_selector('.tile.loaded[data-seed="47"]', timeout=120_000)
        assert opened.locator("#provider").inner_text() == "Runs on WebGPU, in this browser"
        expected = Generator(model_file).sample([0, 47])
        for seed, row in zip((0, 47), expected, strict=True):
            assert_close(shown(opened, f'.tile[data-seed="{seed}"] img'), row)


def fake_package(folder: Path, precision: str) -> Path:
    """A package with the names of its files only."""
    (folder / "dist").mkdir(parents=True)
    for name in runtime_files(precision):
        (folder / "dist" / name).touch()
    return folder


def test_the_runtime_is_found_as_node_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = fake_package(tmp_path / "node_modules" / "onnxruntime-web", "int8")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert find_runtime(None, "int8") == package / "dist"
    assert find_runtime(package, "int8") == find_runtime(package / "dist", "int8")
    with pytest.raises(UsageError, match=r"lacks ort\.jspi\.min\.mjs"):
        find_runtime(None, "fp32")


def test_a_missing_runtime_names_the_command_that_gets_it(tmp_path: Path) -> None:
    trained_checkpoint().save(tmp_path / "checkpoint.pt")
    done = run_wgan_command("export", "checkpoint.pt", "--format", "web", cwd=tmp_path)
    assert done.returncode == 2
    assert "run  npm install onnxruntime-web  here, or name its folder with" in done.stderr
    with pytest.raises(UsageError, match="is not onnxruntime-web: it has no"):
        find_runtime(tmp_path, "fp32")


def test_a_runtime_for_other_formats_is_refused() -> None:
    with pytest.raises(UsageError, match="--runtime is for the page in a browser"):
        ExportConfig(runtime=Path("x"))
