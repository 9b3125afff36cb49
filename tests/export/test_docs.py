"""docs/exporting.md agrees with the code."""

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.checkpoints import trained_checkpoint
from tests.processes import ROOT, run_code
from wgan.export.config import PRECISIONS, TARGETS, TOLERANCES, ExportConfig
from wgan.export.draft import export_checkpoint
from wgan.export.parity.extent import BATCH_SIZES
from wgan.model_file import FORMATS
from wgan.runtime import Generator

PAGE = (ROOT / "docs" / "exporting.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an export of each format that this environment writes."""
    folder = tmp_path_factory.mktemp("exports")
    checkpoint = trained_checkpoint()
    for kind in (name for name, form in FORMATS.items() if form.extension and name != "litert"):
        config = ExportConfig(formats=(kind,))
        export_checkpoint(checkpoint, config, folder / config.filename(kind), kind)
    return folder


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_the_snippets_run(snippet: str, folder: Path) -> None:
    shown = "pixels.shape" if "pixels" in snippet else "tuple(images.shape)"
    done = run_code(f"{snippet}\nprint({shown})", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("(8, 32, 32, 3)", "(4, 32, 32, 3)", "(4, 3, 32, 32)")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_tolerances_are_those_of_the_code(precision: str) -> None:
    allowed = TOLERANCES[precision]
    seeds = max(sum(BATCH_SIZES), ExportConfig(precision=precision).seeds)
    row = (
        f"| {precision} | {allowed.images:g} | {allowed.pixels} | {allowed.mean_pixels:g} |"
        f" {allowed.psnr:g} dB | {seeds:,} seeds |"
    )
    assert row in PAGE


@pytest.mark.parametrize("name", [*FORMATS, *PRECISIONS, *TARGETS])
def test_each_choice_is_explained(name: str) -> None:
    assert f"`{name}`" in PAGE


def test_the_snippet_for_node_runs(folder: Path, tmp_path: Path) -> None:
    named = os.environ.get("WGAN_TRANSFORMERS_JS")
    if named is None or shutil.which("node") is None:
        pytest.skip("no onnxruntime-node: set WGAN_TRANSFORMERS_JS to a folder with node_modules")
    (code,) = re.findall(r"```js\n(.*?)```", PAGE, re.DOTALL)
    changed = code.replace("latentDim = 128", "latentDim = 16")
    (tmp_path / "draw.mjs").write_text(f"{changed}console.log(pixels.type, pixels.dims.join());")
    (tmp_path / "node_modules").symlink_to(Path(named) / "node_modules")
    shutil.copy(folder / "generator.onnx", tmp_path)
    done = subprocess.run(
        ["node", "draw.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "uint8 4,32,32,3\n"), done.stderr


def cpp_snippet(header: str) -> str:
    """The page's program that includes a header, up to its last brace."""
    snippets = re.findall(r"```cpp\n(.*?)```", PAGE, re.DOTALL)
    (code,) = (each for each in snippets if f"#include <{header}>" in each)
    return str(code.rstrip().removesuffix("}"))


def compile_and_run(code: str, options: list[str], folder: Path, tmp_path: Path) -> str:
    """Compile a program in `tmp_path` and run it in `folder`; returns what it prints."""
    (tmp_path / "draw.cpp").write_text(f"#include <iostream>\n{code}")
    command = ["g++", "-std=c++20", "-O0", "draw.cpp", "-o", "draw", *options]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    done = subprocess.run(
        [tmp_path / "draw"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler: install g++")
def test_the_snippet_for_onnx_in_cpp_is_compiled_and_draws(folder: Path, tmp_path: Path) -> None:
    headers = os.environ.get("WGAN_ONNXRUNTIME_HEADERS")
    if headers is None:
        pytest.skip(
            "no headers of ONNX Runtime: set WGAN_ONNXRUNTIME_HEADERS to the folder with"
            " onnxruntime_cxx_api.h"
        )
    found = find_spec("onnxruntime")
    assert found is not None
    (library,) = (Path(str(found.origin)).parent / "capi").glob("libonnxruntime.so.*")
    (tmp_path / "libonnxruntime.so.1").symlink_to(library)
    code = cpp_snippet("onnxruntime_cxx_api.h").replace("4 * 128", "4 * 16")
    code = code.replace("{4, 128}", "{4, 16}")  # this model's latents
    shown = (
        "for (auto size : drawn[0].GetTensorTypeAndShapeInfo().GetShape()) std::cout << size"
        " << ' '; std::cout << int(pixels[0]); }"
    )
    options = [f"-I{headers}", "libonnxruntime.so.1", f"-Wl,-rpath,{tmp_path}"]
    printed = compile_and_run(code + shown, options, folder, tmp_path)
    *shape, first = map(int, printed.split())
    assert shape == [4, 32, 32, 3]
    zeros = Generator(folder / "generator.onnx").pixels(np.zeros((4, 16), np.float32))
    assert first == zeros[0, 0, 0, 0]


@pytest.mark.slow
@pytest.mark.timeout(900)  # PyTorch's headers take a compiler long
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler: install g++")
def test_the_snippet_for_libtorch_is_compiled_and_draws(folder: Path, tmp_path: Path) -> None:
    code = cpp_snippet("torch/script.h").replace("{4, 128}", "{4, 16}")  # this model's latents
    found = find_spec("torch")
    assert found is not None
    torch = Path(str(found.origin)).parent
    options = [
        *(f"-I{torch / 'include'}", f"-I{torch / 'include/torch/csrc/api/include'}"),
        *(f"-L{torch / 'lib'}", f"-Wl,-rpath,{torch / 'lib'}", "-ltorch", "-ltorch_cpu", "-lc10"),
    ]
    shown = "std::cout << images.sizes(); }"
    assert compile_and_run(code + shown, options, folder, tmp_path) == "[4, 3, 32, 32]"
