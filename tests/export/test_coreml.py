"""`wgan export --format coreml`: the conversion. Core ML itself runs on macOS only."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import trained_checkpoint
from tests.export.conditional import LATENT_DIM, Embedding
from tests.runtime.models import manifest
from wgan.export import ExportConfig, export
from wgan.export.formats.coreml import convert
from wgan.export.formats.torchscript import to_torchscript
from wgan.model_file.manifest import METADATA_KEY, Manifest
from wgan.runs import Run

pytest.importorskip(
    "coremltools", reason="coremltools is not installed: pip install 'wgan[coreml]'"
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def package_of(folder: Path, caplog: pytest.LogCaptureFixture, **changes: Any) -> Path:
    """Export a run of 4 steps."""
    run = Run(folder / "first")
    run.make()
    trained_checkpoint(**changes).save(run.checkpoint(4))
    run.config.write_text("{}")
    (file,) = export(ExportConfig(source=run.path, formats=("coreml",)))
    assert file.path == run.path / "coreml" / "generator.mlpackage"
    assert sorted(path.name for path in file.path.parent.iterdir()) == [
        "generator.mlpackage",
        "manifest.json",
    ]
    if sys.platform != "darwin":
        assert "the Core ML package was not run" in caplog.text
    return file.path


def test_a_package_has_the_interface_and_the_manifest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from coremltools.models.utils import load_spec

    package = package_of(tmp_path, caplog)
    written = Manifest.from_json((package.parent / "manifest.json").read_text())
    spec = load_spec(str(package))
    assert spec.description.metadata.userDefined[METADATA_KEY] == written.to_json()
    (latents,) = spec.description.input
    sizes = latents.type.multiArrayType.shapeRange.sizeRanges
    assert latents.name == "latents"
    assert [(size.lowerBound, size.upperBound) for size in sizes] == [
        (1, 64),
        (written.latent_dim, written.latent_dim),
    ]
    (images,) = spec.description.output
    assert images.name == "images"
    assert written.receipt.goldens
    # float32: as many bytes of weights as the network has, and not half of them.
    weights = (package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").stat().st_size
    convolutions = sum(
        tensor.numel()
        for name, tensor in trained_checkpoint().average.items()
        if name.endswith("weight") and tensor.ndim == 4
    )
    assert weights >= 4 * convolutions


def test_a_generator_with_classes_takes_labels() -> None:
    generator = Embedding(5).eval().requires_grad_(False)
    told = manifest(latent_dim=LATENT_DIM, classes=("a", "b", "c", "d", "e"))
    spec = convert(to_torchscript(generator, LATENT_DIM, 5), told).get_spec()
    assert [each.name for each in spec.description.input] == ["latents", "labels"]


def test_a_second_export_replaces_the_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    package = package_of(tmp_path, caplog)
    (package / "old").write_text("of the first")
    export(ExportConfig(source=package.parent.parent, formats=("coreml",)))
    assert not (package / "old").exists()
