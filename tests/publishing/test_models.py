"""A published folder, and the same on the Hub, is a model for every command."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import environment, run, wgan_command
from tests.server.servers import serving
from wgan.errors import ModelFileError, UsageError
from wgan.evaluation.config import EvalConfig
from wgan.evaluation.generators import open_generator
from wgan.model_file.published import find_published
from wgan.runtime import Generator, SampleConfig, sample
from wgan.runtime.hub import find_hub_file, hub_name, is_hub_address
from wgan.runtime.model_source import find_model
from wgan.server.model_repository import model_files

ADDRESS = "hf://somebody/faces-gan"


def test_a_published_folder_is_its_most_precise_file(published: Path, tmp_path: Path) -> None:
    assert find_model(published) == published / "onnx" / "model.onnx"
    (tmp_path / "onnx").mkdir()
    assert find_published(tmp_path) is None
    only = tmp_path / "onnx" / "model_int8.onnx"
    only.write_bytes((published / "onnx" / "model_int8.onnx").read_bytes())
    assert find_model(str(tmp_path)) == only


def test_a_published_folder_is_sampled_and_evaluated(published: Path, tmp_path: Path) -> None:
    import torch

    expected = Generator(published / "onnx" / "model.onnx").sample(4)
    sample(SampleConfig(model=str(published), count=4, out=str(tmp_path / "a.npy")))
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), expected)
    opened = open_generator(published, torch.device("cpu"), 4)
    np.testing.assert_array_equal(np.concatenate(list(opened.generate(range(4)))), expected)


def test_a_published_folder_is_served_by_its_name(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(published)
    file = Path("onnx", "model.onnx")
    assert model_files(["."]) == {"faces-gan": file}
    assert model_files([str(published)]) == {"faces-gan": published / file}
    with serving(published) as server:
        (entry,) = server.get("/v1/models").json()["models"]
        assert entry["name"] == "faces-gan"


def offline(home: Path) -> dict[str, str]:
    return {**environment(), "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}


def wgan_offline(home: Path, cwd: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `wgan` with a cache of huggingface_hub, whose settings are read when it is imported."""
    return subprocess.run(
        wgan_command(*arguments),
        cwd=cwd,
        env=offline(home),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_an_address_of_the_hub_is_sampled_from_its_packages_cache(
    hub_cache: Path, published: Path, tmp_path: Path
) -> None:
    for address, file in {
        ADDRESS: published / "onnx" / "model.onnx",
        f"{ADDRESS}/onnx/model_int8.onnx": published / "onnx" / "model_int8.onnx",
    }.items():
        done = wgan_offline(hub_cache, tmp_path, "sample", "--model", address, "-n", 1, "a.png")
        assert done.returncode == 0, done.stderr
        with Image.open(tmp_path / "a.png") as image:
            np.testing.assert_array_equal(np.array(image), Generator(file).sample(1)[0])
    # A revision is another generator, of 8x8 pixels.
    done = wgan_offline(hub_cache, tmp_path, "info", f"{ADDRESS}@v1")
    assert done.returncode == 0, done.stderr
    assert "8x8" in done.stdout


def test_an_address_of_the_hub_is_served_by_its_name(hub_cache: Path) -> None:
    with serving(ADDRESS, f"old={ADDRESS}@v1", variables=offline(hub_cache)) as server:
        models = server.get("/v1/models").json()["models"]
        assert {entry["name"]: entry["width"] for entry in models} == {"faces-gan": 32, "old": 8}


def test_a_generator_opens_an_address_and_is_called_by_it(hub_cache: Path, tmp_path: Path) -> None:
    code = f"from wgan import Generator\nprint(Generator({ADDRESS!r}))"
    done = run(
        [*("env", f"HF_HOME={hub_cache}", "HF_HUB_OFFLINE=1"), wgan_command()[0], "-c", code],
        tmp_path,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ADDRESS in done.stdout


@pytest.mark.parametrize(
    "address", [f"{ADDRESS}@no-such-branch", "hf://nobody/nothing", f"{ADDRESS}/no.onnx"]
)
def test_what_is_not_there_is_a_sentence(hub_cache: Path, tmp_path: Path, address: str) -> None:
    done = wgan_offline(hub_cache, tmp_path, "sample", "--model", address, "a.png")
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: cannot get {address}: ")
    assert "Traceback" not in done.stderr


def test_without_a_network_what_the_cache_has_is_used_and_named(
    hub_cache: Path, published: Path, tmp_path: Path
) -> None:
    home = Path(shutil.copytree(hub_cache, tmp_path / "home"))
    (snapshot,) = home.glob("hub/*/snapshots/111*")
    (snapshot / "onnx" / "model.onnx").unlink()
    (snapshot / "onnx" / "model_fp16.onnx").unlink()
    done = wgan_offline(home, tmp_path, "sample", "--model", ADDRESS, "-n", 1, "a.png")
    assert done.returncode == 0, done.stderr
    assert f"without the network onnx/model_int8.onnx is used for {ADDRESS}" in done.stderr
    drawn = np.asarray(Image.open(tmp_path / "a.png"))
    expected = Generator(published / "onnx" / "model_int8.onnx").sample(1)[0]
    np.testing.assert_array_equal(drawn, expected)


def test_the_package_that_is_missing_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['huggingface_hub'] = None\n"
        "from wgan.runtime.hub import find_hub_file\n"
        f"find_hub_file({ADDRESS!r})"
    )
    done = run([wgan_command()[0], "-c", code], tmp_path)
    assert "run  pip install 'wgan[hub]'" in done.stderr


@pytest.mark.parametrize(
    "address", ["hf://faces", "hf://a/b@", "hf://a/b@/c.onnx", "hf://a b/c", "hf://a/b/"]
)
def test_an_address_of_another_form_is_refused(address: str) -> None:
    assert is_hub_address(address)
    with pytest.raises(UsageError, match="write hf://USER/NAME"):
        find_hub_file(address)


def test_a_path_keeps_what_an_address_means(tmp_path: Path) -> None:
    # As the command line makes a Path of it, which joins the slashes.
    assert is_hub_address(Path(ADDRESS))
    assert hub_name(Path(ADDRESS)) == "faces-gan"
    assert not is_hub_address("hf.onnx")
    assert not is_hub_address(tmp_path / "hf:" / "a")
    assert EvalConfig(generators=(Path(ADDRESS),)).generators == (Path(ADDRESS),)
    with pytest.raises(ModelFileError, match="there is no model file"):
        Generator(tmp_path / "hf:")


def test_nothing_is_looked_up_where_no_address_is_given(published: Path) -> None:
    code = f"import sys\nfrom wgan import Generator\nGenerator({str(published)!r}).sample(1)"
    check = "assert 'huggingface_hub' not in sys.modules"
    done = subprocess.run(
        [wgan_command()[0], "-c", f"{code}\n{check}"],
        env={**os.environ, **environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
