"""A folder that any static host serves: a page that draws in the browser, with no server behind it.

    index.html  model.json  generator.onnx
    page/               the scripts of `wgan.page`
    onnxruntime-web/    the runtime and its licence

The page is the same as that of `wgan serve`; `page/onnx.js` draws instead of `page/http.js`.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from wgan.errors import ExportError, OutputError
from wgan.export.config import ExportConfig
from wgan.export.web_runtime import PACKAGE, find_runtime, licences, runtime_files
from wgan.files import is_file, make_folder, whole_file, write_whole
from wgan.image_shape import PIXEL_CHANNELS
from wgan.model_file.manifest import Manifest
from wgan.model_file.published import WEB_DESCRIPTION, WEB_MODEL
from wgan.model_file.reading import read_bytes
from wgan.page import SCRIPTS, page_file

INDEX = "index.html"

PAGE_FILES = (
    *SCRIPTS, "exported.js", "onnx.js", "worker.js", "latents.js", "png.js", "style.css",
    "icon.svg",
)  # fmt: skip

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self';"
    " img-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; base-uri 'none';"
    " form-action 'none'"
)
"""Content-Security-Policy of the page: nothing from other hosts. WebAssembly counts as a script."""

REPLACED = {
    '<script type="module" src="page/served.js"></script>': (
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '    <meta name="referrer" content="no-referrer">\n'
        '    <script type="module" src="page/exported.js"></script>'
    ),
    # A browser runs no modules from a file, so that the text stays.
    'role="status"></p>': (
        'role="status">Loading. A page that was opened as a file draws nothing: it needs a web'
        " server, such as  python -m http.server  in its folder.</p>"
    ),
}
"""What differs from the page of a server."""


def write_folder(
    folder: Path, step: int | None, config: ExportConfig, write_model: Callable[[Path], Manifest]
) -> tuple[Path, Manifest]:
    """Write the page to `folder`, which is made if it does not exist; other files in it stay.

    Args:
        folder: the page's folder.
        step: not used, as the manifest has it; every format that is a folder is given it.
        config: the options of the export: its precision, and where onnxruntime-web is.
        write_model: writes a proved ONNX export to a path and returns its manifest.

    Returns:
        The folder and the manifest.

    Raises:
        UsageError: onnxruntime-web is missing.
        ExportError: the export is refused, or its images have channels that no page shows.
        OutputError: a file cannot be written, or a page is there that wgan did not write.
    """
    dist = find_runtime(config.runtime, config.precision)
    if is_file(folder / INDEX) and not is_file(folder / WEB_DESCRIPTION):
        raise OutputError(
            f"{folder / INDEX} is there already, and wgan did not write it: name another folder"
        )
    make_folder(folder)
    model = folder / WEB_MODEL
    try:
        manifest = write_model(model)
        if manifest.channels not in PIXEL_CHANNELS:
            model.unlink()
            raise ExportError(
                f"a page cannot show images of {manifest.channels} channels: only 1, 3 and 4"
            )
    except BaseException:
        if not any(folder.iterdir()):
            folder.rmdir()
        raise
    _copy_runtime(dist, folder / PACKAGE, config.precision)
    make_folder(folder / "page")
    for name in PAGE_FILES:
        write_whole(folder / "page" / name, page_file(name), flush=False)
    write_whole(folder / WEB_DESCRIPTION, describe(model, manifest))
    write_whole(folder / INDEX, _index())  # the last one: the page is complete
    return folder, manifest


def _copy_runtime(dist: Path, folder: Path, precision: str) -> None:
    make_folder(folder)
    for name, content in licences(dist).items():
        write_whole(folder / name, content, flush=False)
    for name in runtime_files(precision):
        with (dist / name).open("rb") as source, whole_file(folder / name, flush=False) as copy:
            shutil.copyfileobj(source, copy)


def describe(model: Path, manifest: Manifest) -> bytes:
    """Describe the model as a server does at `v1/models`, and the file, so that damage is seen."""
    content = read_bytes(model)
    fields = {
        "name": model.stem,
        "version": manifest.version,
        "file": model.name,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "latent_dim": manifest.latent_dim,
        "height": manifest.height,
        "width": manifest.width,
        "channels": manifest.channels,
        "directions": 0,
        "classes": manifest.classes,
        "manifest": manifest.shown(),
    }
    return json.dumps(fields, indent=1, sort_keys=True, default=dict).encode()


def _index() -> bytes:
    page = page_file("index.html").decode()
    for served, exported in REPLACED.items():
        assert page.count(served) == 1
        page = page.replace(served, exported)
    return page.encode()
