import dataclasses
import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

from tests.processes import run
from tests.runtime import models
from wgan.errors import ModelFileError
from wgan.images import encode
from wgan.model_file.manifest import METADATA_KEY, Golden, Manifest
from wgan.model_file.reading import content_sha256
from wgan.runtime import Generator
from wgan.runtime.config import VerifyConfig
from wgan.runtime.engine import driver_failure
from wgan.runtime.verification import Check, verify


def proved(model: ModelProto, **receipt: Any) -> bytes:
    """Add a correct manifest to the model; `receipt` replaces fields of the receipt."""
    drawn = Generator(model.SerializeToString(), "cpu", checked=False).sample(range(2))
    goldens = tuple(
        Golden(seed=seed, png=encode(pixels), psnr=120.0) for seed, pixels in enumerate(drawn)
    )
    told = models.manifest(content_sha256=content_sha256(model.SerializeToString()))
    told = dataclasses.replace(
        told, receipt=dataclasses.replace(told.receipt, **{"goldens": goldens, **receipt})
    )
    return with_manifest(model, told)


def with_manifest(model: ModelProto, manifest: Manifest) -> bytes:
    labelled = ModelProto()
    labelled.CopyFrom(model)
    helper.set_model_props(labelled, {METADATA_KEY: manifest.to_json()})
    data: bytes = labelled.SerializeToString()
    return data


def checks_of(data: bytes, folder: Path) -> list[Check]:
    path = folder / "g.onnx"
    path.write_bytes(data)
    return list(verify(VerifyConfig(file=path)))


def first_failure(checks: list[Check]) -> str:
    return str(next(check for check in checks if check.passed is False))


def test_a_good_file_passes_every_check(tmp_path: Path) -> None:
    checks = checks_of(proved(models.generator()), tmp_path)
    assert {check.passed for check in checks} == {True}
    assert [check.name for check in checks[:5]] == [
        "structure",
        "checksums",
        "golden images",
        "batch invariance",
        "determinism",
    ]
    # Optimisations on and off, and one thread beside many where there are many.
    assert {"all" in check.setup for check in checks[2:]} == {True, False}


def test_a_changed_weight_fails_the_checksum(tmp_path: Path) -> None:
    model = onnx.load_from_string(proved(models.generator()))
    weight = model.graph.initializer[0]
    weight.raw_data = weight.raw_data[:-1] + bytes([weight.raw_data[-1] ^ 1])
    checks = checks_of(model.SerializeToString(), tmp_path)
    assert first_failure(checks).startswith("checksums: content")


def test_other_images_than_pytorchs_fail(tmp_path: Path) -> None:
    white = Golden(seed=1, png=encode(np.full((8, 8, 3), 255, np.uint8)), psnr=120.0)
    checks = checks_of(proved(models.generator(), goldens=(white,)), tmp_path)
    assert first_failure(checks).startswith("golden images: seed 1 differs by")


def test_a_golden_image_of_another_shape_fails(tmp_path: Path) -> None:
    small = Golden(seed=0, png=encode(np.zeros((4, 4, 3), np.uint8)), psnr=120.0)
    checks = checks_of(proved(models.generator(), goldens=(small,)), tmp_path)
    assert first_failure(checks).startswith("golden images: seed 0 is [4, 4, 3]")


def test_a_receipt_without_golden_images_fails(tmp_path: Path) -> None:
    checks = checks_of(proved(models.generator(), goldens=()), tmp_path)
    assert first_failure(checks).startswith("golden images: the receipt has none")


def test_an_image_that_depends_on_its_batch_fails(tmp_path: Path) -> None:
    model = models.generator()
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    at = list(model.graph.node).index(relu)
    model.graph.node.insert(at, helper.make_node("Sub", [relu.input[0], "mean"], ["centred"]))
    mean = helper.make_node("ReduceMean", [relu.input[0]], ["mean"], axes=[0])
    model.graph.node.insert(at, mean)
    relu.input[0] = "centred"
    checks = checks_of(proved(model), tmp_path)
    assert "batch invariance" in {check.name for check in checks if check.passed is False}


def test_noise_in_the_graph_fails(tmp_path: Path) -> None:
    model = models.generator()
    tanh = next(node for node in model.graph.node if node.op_type == "Tanh")
    at = list(model.graph.node).index(tanh)
    model.graph.node.insert(at, helper.make_node("Add", [tanh.input[0], "noise"], ["noisy"]))
    noise = helper.make_node("RandomNormalLike", [tanh.input[0]], ["noise"], scale=1e-3)
    model.graph.node.insert(at, noise)
    tanh.input[0] = "noisy"
    checks = checks_of(proved(model), tmp_path)
    assert "determinism" in {check.name for check in checks if check.passed is False}


WITH_CUDA = """
import sys, warnings
import onnxruntime
warnings.simplefilter("ignore")
onnxruntime.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
from wgan.runtime.engine import driver_failure
from wgan.runtime.config import VerifyConfig
from wgan.runtime.verification import verify
from pathlib import Path
for check in verify(VerifyConfig(file=Path(sys.argv[1]))):
    print(check.passed, check)
"""  # onnxruntime claims providers as onnxruntime-gpu does, on a machine without a GPU


@pytest.mark.skipif(driver_failure() is None, reason="this machine has a GPU")
def test_a_device_that_does_not_work_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(proved(models.generator()))
    done = run([sys.executable, "-c", WITH_CUDA, str(path)], tmp_path)
    lines = [line for line in done.stdout.splitlines() if "CUDA" in line]
    assert len(lines) == 1, done.stdout + done.stderr
    assert lines[0].startswith("None images: device 'cuda' does not work here")


def test_a_changed_manifest_is_refused(tmp_path: Path) -> None:
    data = proved(models.generator())
    assert data.count(b'"step":12') == 1
    with pytest.raises(ModelFileError, match="manifest_sha256"):
        checks_of(data.replace(b'"step":12', b'"step":13'), tmp_path)


def test_a_damaged_golden_image_is_refused(tmp_path: Path) -> None:
    broken = Golden(seed=0, png=b"\x89PNG nothing", psnr=120.0)
    with pytest.raises(ModelFileError, match="golden image of seed 0 is damaged"):
        checks_of(proved(models.generator(), goldens=(broken,)), tmp_path)


def test_an_archive_without_a_manifest_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("generator/data.pkl", b"weights")
        file.writestr("generator/constants.pkl", b"none")
    with pytest.raises(ModelFileError, match="no manifest"):
        checks_of(buffer.getvalue(), tmp_path)


def archive(code: str, manifest: Manifest) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/code", code)
        file.writestr("archive/constants.pkl", b"")  # which makes it TorchScript
        file.writestr(f"archive/extra/{METADATA_KEY}", manifest.to_json())
    return buffer.getvalue()


def test_only_the_checksums_of_a_pytorch_archive_are_checked(tmp_path: Path) -> None:
    told = models.manifest()
    told = dataclasses.replace(told, content_sha256=content_sha256(archive("code", told)))
    sound = checks_of(archive("code", told), tmp_path)
    assert [check.passed for check in sound] == [True, True, None]
    changed = checks_of(archive("other code", told), tmp_path)
    assert first_failure(changed).startswith("checksums")
