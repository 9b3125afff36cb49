"""onnxruntime-web, the package that runs a model in a browser: which of its files a page needs."""

import importlib.util
from pathlib import Path

from wgan.errors import ExportError, UsageError
from wgan.files import is_file

PACKAGE = "onnxruntime-web"

_WASM = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")

_WEBGPU = (
    "ort.jspi.min.mjs",
    "ort-wasm-simd-threaded.jspi.mjs",
    "ort-wasm-simd-threaded.jspi.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""With WebGPU: for browsers with and without JavaScript Promise Integration."""

_LICENCES = ("LICENSE", "ThirdPartyNotices.txt")


def runtime_files(precision: str) -> tuple[str, ...]:
    """Return the names of the files that a page needs; int8 runs only on the CPU."""
    return _WASM if precision == "int8" else _WASM + _WEBGPU


def find_runtime(folder: Path | None, precision: str) -> Path:
    """Return the folder `dist` of onnxruntime-web with the files for `precision`.

    Args:
        folder: the package or its `dist`; None looks for `node_modules` in the working folder and
            the folders above, as node does.
        precision: of the model.

    Raises:
        UsageError: it is not there, or lacks a file.
    """
    if folder is None:
        here = Path.cwd()
        packages = [each / "node_modules" / PACKAGE for each in (here, *here.parents)]
    else:
        packages = [folder]
    for package in packages:
        for dist in (package / "dist", package):
            if is_file(dist / _WASM[0]):
                return _checked(dist, precision)
    if folder is not None:
        raise UsageError(
            f"--runtime {folder} is not {PACKAGE}: it has no {_WASM[0]}; get the package with  npm"
            f" install {PACKAGE}"
        )
    raise UsageError(
        f"--format web needs {PACKAGE}: run  npm install {PACKAGE}  here, or name its folder with"
        " --runtime"
    )


def _checked(dist: Path, precision: str) -> Path:
    missing = [name for name in runtime_files(precision) if not is_file(dist / name)]
    if missing:
        raise UsageError(
            f"{dist} lacks {', '.join(missing)}: get a newer version with  npm install"
            f" {PACKAGE}@latest"
        )
    return dist


def licences(dist: Path) -> dict[str, bytes]:
    """Return the licence files of onnxruntime-web, by name.

    The package has none of its own in some versions; the Python package of the same project has.

    Raises:
        ExportError: neither has one.
    """
    folders = [dist.parent]
    spec = importlib.util.find_spec("onnxruntime")
    if spec is not None and spec.origin is not None:
        folders.append(Path(spec.origin).parent)
    for folder in folders:
        if is_file(folder / _LICENCES[0]):
            paths = [folder / name for name in _LICENCES]
            return {path.name: path.read_bytes() for path in paths if is_file(path)}
    raise ExportError(
        f"there is no file LICENSE of {PACKAGE}, which must go along: put it into {dist.parent}"
    )
