"""`wgan export --format litert`: converted, proved in LiteRT's interpreter, read without it.

litert-torch does not allow our torch: WGAN_LITERT_PYTHON is an interpreter with wgan's extras cpu,
export and litert, where these tests run as programs.
"""

import json
import os
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import trained_checkpoint
from tests.processes import ROOT, RunWgan
from tests.runtime.models import manifest
from wgan.errors import ModelFileError
from wgan.model_file.archive import append_manifest
from wgan.model_file.manifest import METADATA_KEY
from wgan.model_file.reading import (
    LITERT_MAGIC,
    MODEL_SIZE_LIMIT,
    content_sha256,
    describe,
    scan_model,
)
from wgan.runtime import Generator

VARIABLE = "WGAN_LITERT_PYTHON"

EXPORTING = ROOT / "docs" / "exporting.md"

MODEL = b"\x1c\0\0\0" + LITERT_MAGIC + bytes(range(256))
"""The start of a LiteRT file, which nothing here runs."""


LITERT = ("--format", "litert")


@pytest.fixture(scope="module")
def litert_python() -> str:
    python = os.environ.get(VARIABLE)
    if python is None:
        pytest.skip(f"{VARIABLE} does not name a Python that has litert-torch")
    return python


def run(python: str, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [python, *words],
        cwd=folder,
        env={
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_manifest_is_behind_the_model(tmp_path: Path) -> None:
    expected = manifest(content_sha256=content_sha256(MODEL))
    file = append_manifest(MODEL, expected.to_json())
    assert file.startswith(MODEL)
    assert content_sha256(file) == expected.content_sha256
    assert content_sha256(file.replace(b"\x07\x08", b"\x07\x09", 1)) != expected.content_sha256
    (tmp_path / "g.tflite").write_bytes(file)
    assert describe(tmp_path / "g.tflite").format == "litert"
    assert describe(tmp_path / "g.tflite").manifest == expected


def test_a_file_of_another_project_has_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "g.tflite").write_bytes(MODEL)
    assert describe(tmp_path / "g.tflite").manifest is None


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    file = append_manifest(MODEL, manifest().to_json()).replace(b'"format', b'"fxrmat', 1)
    (tmp_path / "g.tflite").write_bytes(file)
    with pytest.raises(ModelFileError, match=r"g.tflite cannot be used: it has a damaged manifest"):
        describe(tmp_path / "g.tflite")


def test_such_a_file_cannot_be_sampled() -> None:
    with pytest.raises(ModelFileError, match="run  wgan export --format onnx"):
        scan_model(append_manifest(MODEL, manifest().to_json()))


@pytest.mark.parametrize("end", [1, 22, 60, 300])
def test_a_file_that_is_cut_off_is_damaged_and_not_foreign(tmp_path: Path, end: int) -> None:
    file = append_manifest(MODEL, manifest().to_json())
    (tmp_path / "g.tflite").write_bytes(file[:-end])
    with pytest.raises(ModelFileError, match="damaged manifest"):
        describe(tmp_path / "g.tflite")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "g.tflite").open("wb") as file:
        file.write(MODEL)
        file.truncate(MODEL_SIZE_LIMIT + 1)
    with pytest.raises(ModelFileError, match="is larger than"):
        describe(tmp_path / "g.tflite")


def test_two_manifests_are_refused(tmp_path: Path) -> None:
    file = append_manifest(MODEL, manifest().to_json())
    (tmp_path / "g.tflite").write_bytes(file)
    with (
        zipfile.ZipFile(tmp_path / "g.tflite", "a") as archive,
        pytest.warns(UserWarning, match="Duplicate name"),
    ):
        archive.writestr(METADATA_KEY, manifest().to_json())
    with pytest.raises(ModelFileError, match="more than one manifest"):
        describe(tmp_path / "g.tflite")


def test_info_and_verify_read_it(run_wgan: RunWgan, tmp_path: Path) -> None:
    expected = manifest(content_sha256=content_sha256(MODEL))
    (tmp_path / "g.tflite").write_bytes(append_manifest(MODEL, expected.to_json()))
    assert "(litert)" in run_wgan("info", "g.tflite").stdout
    checked = run_wgan("verify", "g.tflite")
    assert "ok        checksums" in checked.stdout
    assert "running this format takes LiteRT" in checked.stdout


@pytest.fixture(scope="module")
def exported(litert_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, `g.pt`, and its exports to LiteRT and ONNX."""
    folder = tmp_path_factory.mktemp("exported")
    trained_checkpoint(width=8).save(folder / "g.pt")
    options = (*LITERT, "--format", "onnx", "-o", "./")
    done = run(litert_python, folder, "-m", "wgan", "export", "g.pt", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "XNNPACK" not in done.stderr
    return folder


@pytest.mark.slow
def test_an_export_is_proved_and_draws_the_images_of_onnx(
    litert_python: str, exported: Path
) -> None:
    written = describe(exported / "generator.tflite").manifest
    assert written is not None
    receipt = written.receipt
    assert receipt.providers == ("LiteRT",)
    assert receipt.optimizations == ("all", "none")
    assert receipt.seen.images <= 1e-5
    (shown,) = re.findall(r"```py\n(.*?)```", EXPORTING.read_text(encoding="utf-8"), re.DOTALL)
    printed = "from wgan.images import to_pixels\nprint(to_pixels(images).tolist())"
    drawn = run(litert_python, exported, "-c", f"{shown}\n{printed}")
    assert drawn.returncode == 0, drawn.stderr
    expected = Generator(exported / "generator.onnx").sample([7]).astype(int)
    found: Any = json.loads(drawn.stdout)
    assert abs(found - expected).max() <= 1


PROVE = """
import sys
from pathlib import Path
from tests.checkpoints import trained_checkpoint
from wgan.errors import ParityError
from wgan.export.config import ExportConfig
from wgan.export.draft import make_draft, publish
from wgan.model_file.reading import content_sha256
from wgan.training.checkpoint import Checkpoint
checkpoint, other = trained_checkpoint(width=8, seed=1), Checkpoint.load(Path("g.pt"))
config = ExportConfig(formats=("litert",))
classes = len(checkpoint.config.classes)
draft = make_draft(other.ema_generator(), other.config.latent_dim, config, "litert", classes)
try:
    publish(draft, checkpoint, config, Path("g.tflite"))
except ParityError as exc:
    print(exc)
print(content_sha256(draft.serialize("{}")))
"""


@pytest.mark.slow
def test_the_images_of_another_generator_are_refused(litert_python: str, exported: Path) -> None:
    done = run(litert_python, exported, "-c", PROVE)
    assert "does not match PyTorch" in done.stdout, done.stderr
    assert not (exported / "g.tflite").exists()
    # The other generator is that of the export, converted once more, in another process.
    written = describe(exported / "generator.tflite").manifest
    assert written is not None
    assert done.stdout.split()[-1] == written.content_sha256


CONDITIONAL = """
from tests.export.conditional import LATENT_DIM, Embedding
from wgan.export.formats.litert import litert_engines, to_litert
from wgan.export.parity.gate import Reference, prove
from wgan.model_file.manifest import Distance
generator = Embedding(5).eval().requires_grad_(False)
reference = Reference.draw(generator, LATENT_DIM, classes=5)
allowed = Distance(images=1e-5, pixels=1, mean_pixels=0.01, psnr=65)
engines = litert_engines(to_litert(generator, LATENT_DIM, 5))
receipt = prove(engines, reference, allowed, loosened=False)
print(receipt.seen.images)
"""


@pytest.mark.slow
def test_a_generator_with_classes_takes_labels(litert_python: str, tmp_path: Path) -> None:
    done = run(litert_python, tmp_path, "-c", CONDITIONAL)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) <= 1e-5
