"""Exports of a checkpoint: their images, their manifest and their bytes."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.checkpoints import trained_checkpoint
from tests.processes import ROOT, environment, run_code
from wgan.errors import ExportError
from wgan.export.config import ExportConfig
from wgan.export.draft import export_checkpoint
from wgan.export.formats.torchscript import load_torchscript
from wgan.images import to_pixels
from wgan.latents import latents_from_seeds
from wgan.model_file.archive import read_records
from wgan.model_file.manifest import METADATA_KEY, Manifest
from wgan.training.checkpoint import Checkpoint, weights_sha256

EXPORT = """
import sys
from pathlib import Path
from wgan.export.config import ExportConfig
from wgan.export.draft import export_checkpoint
from wgan.training.checkpoint import Checkpoint
checkpoint = Checkpoint.load(Path(sys.argv[1]))
for words in sys.argv[2:]:
    kind, precision, target, times = words.split()
    config = ExportConfig(precision=precision, target=target)
    for number in range(int(times)):
        path = Path(f"{kind}-{precision}-{target}-{number}.export")
        export_checkpoint(checkpoint, config, path, kind)
"""

SEVERAL = {
    ("onnx", "fp32", "portable"): 2,
    ("torchscript", "fp32", "portable"): 2,
    ("pt2", "fp32", "portable"): 2,
    ("onnx", "fp32", "cpu"): 1,
    ("onnx", "fp16", "portable"): 1,
    ("onnx", "int8", "cpu"): 1,
}
"""Format, precision and target of exports, and how often a process makes them."""


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return trained_checkpoint()


@pytest.fixture(scope="module")
def onnx_file(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "generator.onnx"
    export_checkpoint(checkpoint, ExportConfig(target="portable"), path)
    return path


@pytest.fixture(scope="module")
def torchscript_file(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torchscript") / "generator.ts"
    export_checkpoint(checkpoint, ExportConfig(), path, "torchscript")
    return path


def onnx_manifest(path: Path) -> Manifest:
    entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert list(entries) == [METADATA_KEY]
    return Manifest.from_json(entries[METADATA_KEY])


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("n", [1, 5, 65])
def test_an_onnx_export_gives_the_images_of_the_ema_generator(
    checkpoint: Checkpoint, onnx_file: Path, n: int
) -> None:
    drawn = latents_from_seeds(range(1000, 1000 + n), checkpoint.config.latent_dim)
    with torch.no_grad():
        expected = checkpoint.ema_generator()(torch.from_numpy(drawn)).numpy()
    images, pixels = session(onnx_file).run(["images", "pixels"], {"latents": drawn})
    assert np.abs(images - expected).max() < 1e-5
    np.testing.assert_array_equal(pixels, to_pixels(images))


def test_an_onnx_export_has_the_promised_inputs_and_outputs(onnx_file: Path) -> None:
    opened = session(onnx_file)
    assert [(i.name, i.type, i.shape) for i in opened.get_inputs()] == [
        ("latents", "tensor(float)", ["batch", 16])
    ]
    assert [(o.name, o.type, o.shape) for o in opened.get_outputs()] == [
        ("images", "tensor(float)", ["batch", 3, 32, 32]),
        ("pixels", "tensor(uint8)", ["batch", 32, 32, 3]),
    ]


def test_an_onnx_export_passes_the_full_checker(onnx_file: Path) -> None:
    onnx.checker.check_model(onnx.load(onnx_file), full_check=True)


def test_a_torchscript_export_gives_the_images_of_the_ema_generator(
    checkpoint: Checkpoint, torchscript_file: Path
) -> None:
    drawn = torch.from_numpy(latents_from_seeds(range(1000, 1005), checkpoint.config.latent_dim))
    with torch.no_grad():
        expected = checkpoint.ema_generator()(drawn)
        images = load_torchscript(torchscript_file.read_bytes())(drawn)
    assert (images - expected).abs().max() < 1e-6


def test_a_torchscript_manifest_is_an_extra_file_that_torch_reads(torchscript_file: Path) -> None:
    extra = {METADATA_KEY: ""}
    with pytest.warns(FutureWarning, match="deprecated"):
        torch.jit.load(torchscript_file, _extra_files=extra)
    assert Manifest.from_json(extra[METADATA_KEY]).receipt.providers == ("PyTorch",)


def test_one_colour_channel_and_another_size_can_be_exported(tmp_path: Path) -> None:
    grey = trained_checkpoint(size=64, channels=1, width=2, latent_dim=3)
    manifest = export_checkpoint(grey, ExportConfig(target="portable"), tmp_path / "grey.onnx")
    assert (manifest.height, manifest.channels, manifest.latent_dim) == (64, 1, 3)
    _, pixels = session(tmp_path / "grey.onnx").run(
        None, {"latents": latents_from_seeds([3, 4], 3)}
    )
    assert pixels.shape == (2, 64, 64, 1)


def test_the_manifest_records_the_origin_of_the_weights(
    checkpoint: Checkpoint, onnx_file: Path
) -> None:
    manifest = onnx_manifest(onnx_file)
    assert manifest.step == checkpoint.step
    assert manifest.weights_sha256 == weights_sha256(checkpoint.average)
    assert manifest.config["width"] == checkpoint.config.width
    assert manifest.receipt.batch_sizes == (1, 2, 3, 7, 64, 257)
    assert [golden.seed for golden in manifest.receipt.goldens] == [0, 1, 2, 3]


def test_the_weights_hash_changes_with_any_value(checkpoint: Checkpoint) -> None:
    state = {name: value.clone() for name, value in checkpoint.average.items()}
    state["layers.0.weight"][0, 0, 0, 0] += 1e-3
    assert weights_sha256(state) != weights_sha256(checkpoint.average)


def test_no_path_is_left_in_an_export(onnx_file: Path, torchscript_file: Path) -> None:
    content = onnx_file.read_bytes()
    content += b"".join(read_records(torchscript_file.read_bytes()).values())
    for trace in (str(ROOT), str(Path.home()), "site-packages", "somebody", '.py"', "stack_trace"):
        assert trace.encode() not in content, trace
    assert onnx_manifest(onnx_file).config["data"] == "images"


@pytest.mark.parametrize(
    ("data", "described"),
    [
        ("glyphs", "glyphs"),
        ("/a/b/", "b"),
        ("C:\\me\\faces.zip", "faces.zip"),
        ("..", ".."),
        ("a\udce9", r"a\udce9"),
    ],
)
def test_the_manifest_names_data_by_its_last_part(
    tmp_path: Path, data: str, described: str
) -> None:
    from wgan.export.draft import public_config

    assert public_config(trained_checkpoint(data=data, steps=1))["data"] == described


def test_an_export_does_not_hold_the_path_of_the_features() -> None:
    from wgan.export.draft import public_config

    followed = trained_checkpoint(eval_features="/home/somebody/features.onnx", steps=1)
    assert public_config(followed)["eval_features"] == "features.onnx"
    assert public_config(trained_checkpoint(steps=1))["eval_features"] == "inception"


@pytest.fixture(scope="module")
def exported_twice(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folders, each with the exports of a process of its own."""
    base = tmp_path_factory.mktemp("twice")
    trained_checkpoint(width=8).save(base / "checkpoint.pt")  # wide enough for 8-bit layers
    folders = [base / "here", base / "a" / "longer place"]
    for folder in folders:
        folder.mkdir(parents=True)
        words = [" ".join([*kind, str(times)]) for kind, times in SEVERAL.items()]
        if folder != folders[0]:
            words.reverse()  # what was exported before does not matter either
            # A fork has other hashes of strings than a process of its own.
            done = run_code(EXPORT, base / "checkpoint.pt", *words, cwd=folder)
            assert done.returncode == 0, done.stderr
        else:
            command = [sys.executable, "-c", EXPORT, str(base / "checkpoint.pt"), *words]
            variables = {**environment(), "PYTHONHASHSEED": "1"}
            subprocess.run(command, cwd=folder, env=variables, check=True)
    return folders


@pytest.mark.parametrize("kind", SEVERAL)
def test_exports_are_equal_to_the_byte_from_any_process_and_folder(
    exported_twice: list[Path], kind: tuple[str, str, str]
) -> None:
    paths = [path for folder in exported_twice for path in folder.glob(f"{'-'.join(kind)}-*")]
    assert len(paths) == 2 * SEVERAL[kind]
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}) == 1


def test_a_generator_that_diverged_is_not_exported(checkpoint: Checkpoint, tmp_path: Path) -> None:
    checkpoint = trained_checkpoint(steps=1)
    checkpoint.average["layers.0.weight"][:] = float("nan")
    with pytest.raises(ExportError, match="not finite"):
        export_checkpoint(checkpoint, ExportConfig(), tmp_path / "generator.onnx")
    assert not list(tmp_path.iterdir())


def test_the_manifest_is_json_with_sorted_keys(onnx_file: Path) -> None:
    text = onnx_manifest(onnx_file).to_json()
    assert list(json.loads(text)) == sorted(json.loads(text))


@pytest.mark.parametrize("target", ["cpu", "portable"])
def test_the_papers_resnet_can_be_exported(tmp_path: Path, target: str) -> None:
    resnet = trained_checkpoint(arch="resnet", width=8)
    manifest = export_checkpoint(resnet, ExportConfig(target=target), tmp_path / "g.onnx")
    assert manifest.receipt.seen.pixels <= 1
