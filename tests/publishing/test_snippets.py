"""The code of a model card runs as it stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.processes import environment
from wgan.runtime import Generator


def blocks(folder: Path, language: str) -> list[str]:
    text = (folder / "README.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run_python(code: str, cwd: Path, **variables: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nnp.save(sys.argv[1], pixels)", str(cwd / "out.npy")],
        cwd=cwd,
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["published", "published_classes"])
def test_onnxruntime_and_numpy_draw_the_images_of_the_seeds(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(name)
    _, alone = blocks(folder, "python")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    run_python(f"import sys\n{alone}", copy)
    expected = Generator(folder).sample(64)
    np.testing.assert_allclose(np.load(copy / "out.npy").astype(int), expected, atol=1)


def test_wgan_draws_from_the_address_that_the_card_names(
    published: Path, hub_cache: Path, tmp_path: Path
) -> None:
    with_wgan, _ = blocks(published, "python")
    assert "hf://somebody/faces-gan" in with_wgan
    variables = {"HF_HOME": str(hub_cache), "HF_HUB_OFFLINE": "1"}
    run_python(f"import sys, numpy as np\n{with_wgan}", tmp_path, **variables)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), Generator(published).sample(64))


@pytest.fixture(scope="module")
def transformers_js() -> Path:
    """A folder in whose node_modules transformers.js is."""
    named = os.environ.get("WGAN_TRANSFORMERS_JS")
    if named is None or shutil.which("node") is None:
        pytest.skip("no transformers.js: set WGAN_TRANSFORMERS_JS to a folder with node_modules")
    return Path(named)


@pytest.mark.parametrize("name", ["published", "published_classes"])
def test_transformers_js_draws_in_each_precision(
    name: str, request: pytest.FixtureRequest, transformers_js: Path, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(name)
    (code,) = blocks(folder, "js")
    found = re.search(r'from_pretrained\("(.*?)"', code)
    assert found
    shutil.copytree(folder, tmp_path / "models" / found[1])
    (tmp_path / "node_modules").symlink_to(transformers_js / "node_modules")
    local = (
        'import { env } from "@huggingface/transformers";\n'
        f'env.allowRemoteModels = false;\nenv.localModelPath = "{tmp_path}/models/";\n'
    )
    expected = list(Generator(folder).image_shape)
    precisions = ["fp32", "fp16", "int8"] if name == "published" else ["fp32"]
    for dtype in precisions:
        changed = code.replace('const dtype = "fp32"', f'const dtype = "{dtype}"')
        (tmp_path / "draw.mjs").write_text(local + changed)
        done = subprocess.run(
            ["node", "draw.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str([16, *expected]).replace("[", "[ ").replace("]", " ]")
