"""The page of `wgan export --format web` in headless Chromium: first image and images a second.

    python -m benchmarks.browser [--rounds 5] [--models FOLDER] [--write docs/performance.md]

The page comes from a plain static server on this machine, so that no network adds to the times; the
bytes that a visitor loads are beside them. Each round opens the page in a new profile, so that
nothing is cached. The time to the first image is from the navigation until it is in the gallery.
Images a second are those of four grids of 64, with PNG. Threads: a host that isolates the page
(COOP and COEP headers) lets WebAssembly use several.

The 64x64 generator is trained for one step only: its images do not matter here.
"""

import argparse
import functools
import gzip
import json
import shutil
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import wgan.runtime.builtin
from benchmarks.cold_start import ANY_DIFFERENCE, WGAN, call
from benchmarks.machine import describe_machine
from benchmarks.pages import printed, write_between
from wgan.export import ExportConfig
from wgan.export.formats.web import write_folder
from wgan.export.web_runtime import runtime_files
from wgan.model_file.manifest import Manifest
from wgan.model_file.reading import describe

RUNTIME = Path(__file__).resolve().parents[1] / "build" / "onnxruntime-web"

FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")

ISOLATION = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
}

FIRST_IMAGE = """
new MutationObserver((_, observer) => {
  if (document.querySelector(".tile.loaded") && !window.firstImage) {
    window.firstImage = performance.now() / 1000;
  }
}).observe(document, { subtree: true, childList: true, attributes: true });
"""

DRAW_GRIDS = """async () => {
  const images = await import(new URL("page/onnx.js", document.baseURI));
  const start = performance.now();
  for (let grid = 0; grid < 4; grid += 1) {
    await images.grid(null, 64 * grid, 64 * grid + 63, { truncation: 1 });
  }
  return 256000 / (performance.now() - start);
}"""


class Host(SimpleHTTPRequestHandler):
    """A static host, with or without isolation."""

    isolated = False

    def end_headers(self) -> None:
        """Add the headers that isolate the page."""
        for name, value in ISOLATION.items() if self.isolated else ():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Log nothing."""


class IsolatingHost(Host):
    """A static host that isolates the page."""

    isolated = True


def main() -> None:
    """Make the pages, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", type=Path, help="folder that keeps models for the next time")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        models = make_models(options.models or Path(name) / "models")
        lines = printed(table(models, Path(name), options.rounds))
        if options.write:
            write_between(options.write, "<!-- benchmarks/browser.py -->", lines)
        else:
            list(lines)


def make_models(folder: Path) -> dict[str, Path]:
    """Name -> file; trains for one step and exports, unless the folder has the files."""
    folder.mkdir(parents=True, exist_ok=True)
    models = {
        "32x32 grey, installed": Path(wgan.runtime.builtin.__path__[0]) / "generator.onnx",
        "64x64, width 32": folder / "fp32.onnx",
        "64x64, width 32, fp16": folder / "fp16.onnx",
        "64x64, width 32, int8": folder / "int8.onnx",
    }
    if not (folder / "int8.onnx").exists():
        settings = ("--size", 64, "--width", 32, "--batch-size", 8, "--n-critic", 1)
        recipe = ("--recipe", "wgan-gp")
        call(*WGAN, "train", "glyphs", "--run", "run", "--steps", 1, *settings, *recipe, cwd=folder)
        for precision in ("fp32", "fp16", "int8"):
            name = f"{precision}.onnx"
            made = ("--precision", precision, *ANY_DIFFERENCE, "-o", name)
            call(*WGAN, "export", "run", *made, cwd=folder)
    return models


def table(models: dict[str, Path], work: Path, rounds: int) -> Iterator[str]:
    """Measure each model; the lines of the table."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        yield f"    {describe_machine('playwright')}"
        yield f"    Chromium {browser.version}, onnxruntime-web {runtime_version()}, WebAssembly"
        yield ""
        yield (
            "| generator | model, MB | all that is loaded, MB | with gzip, MB | first image, s |"
            " images/s | images/s, isolated |"
        )
        yield "| --- | --- | --- | --- | --- | --- | --- |"
        for number, (name, model) in enumerate(models.items()):
            page = make_page(work / f"page-{number}", model)
            first, rate = measure(browser, page, Host, rounds)
            _, isolated = measure(browser, page, IsolatingHost, rounds)
            sizes = [megabytes(size) for size in (model.stat().st_size, *loaded(page))]
            yield (
                f"| {name} | {' | '.join(sizes)} | {first:.2f} | {rate:,.0f} | {isolated:,.0f} |"
            )
        browser.close()


def runtime_version() -> str:
    """The version of onnxruntime-web."""
    return str(json.loads((RUNTIME / "package.json").read_text())["version"])


def make_page(folder: Path, model: Path) -> Path:
    """The page of a model that was exported before."""
    manifest = describe(model).manifest
    assert manifest is not None

    def copy(path: Path) -> Manifest:
        shutil.copyfile(model, path)
        return manifest

    config = ExportConfig(formats=("web",), precision=manifest.precision, runtime=RUNTIME)
    return write_folder(folder, None, config, copy)[0]


def loaded(page: Path) -> tuple[int, int]:
    """Bytes that a visitor without WebGPU loads, as they are and with gzip."""
    without_webgpu = runtime_files("int8")
    files = [*page.glob("*.*"), *page.glob("page/*")]
    files += [page / "onnxruntime-web" / name for name in without_webgpu]
    contents = [path.read_bytes() for path in files]
    return sum(map(len, contents)), sum(len(gzip.compress(each, 6)) for each in contents)


def megabytes(size: int) -> str:
    """A size in MB."""
    return f"{size / 1e6:.1f}"


def measure(browser: Any, page: Path, host: type[Host], rounds: int) -> tuple[float, float]:
    """Medians of the seconds to the first image, and of the images a second."""
    seconds, rates = [], []
    with serving(page, host) as url:
        for _ in range(rounds):
            context = browser.new_context()
            opened = context.new_page()
            opened.add_init_script(FIRST_IMAGE)
            opened.goto(url)
            opened.wait_for_selector(".tile.loaded >> nth=47", timeout=120_000)
            seconds.append(opened.evaluate("window.firstImage"))
            opened.wait_for_selector("#end-b[alt]", timeout=120_000)
            opened.evaluate(DRAW_GRIDS)  # the first time waits for what the page still draws
            rates.append(opened.evaluate(DRAW_GRIDS))
            context.close()
    return statistics.median(seconds), statistics.median(rates)


@contextmanager
def serving(page: Path, host: type[Host]) -> Iterator[str]:
    """Serve a folder on a free port; the page's address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(host, directory=str(page)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    main()
