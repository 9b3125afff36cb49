"""Generators opened from files of any format and origin."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.checkpoints import trained_checkpoint
from tests.runtime import models
from wgan.errors import ModelFileError, UsageError
from wgan.evaluation.generators import EvaluatedGenerator, open_generator
from wgan.export.config import ExportConfig
from wgan.export.draft import export_checkpoint
from wgan.images import Pixels
from wgan.model_file.archive import add_manifest, read_records, write_records
from wgan.model_file.reading import content_sha256, describe
from wgan.training.checkpoint import Checkpoint
from wgan.training.preparation import Preparation

SEEDS = range(10)
FORMATS = ("torchscript", "pt2")


def opened_onnx(folder: Path, config: dict[str, Any]) -> EvaluatedGenerator:
    path = folder / "elsewhere.onnx"
    path.write_bytes(models.sealed(models.generator(told=models.manifest(config=config))))
    return open_generator(path, torch.device("cpu"), 4, provider="cpu")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"crop": "x"}, "--crop 'x' is not allowed: it must be an integer"),
        ({"crop": -1}, "--crop -1 is not allowed"),
        ({"crop": True}, "--crop True is not allowed"),
        ({"background": 7}, "--background 7 is not allowed: it must be a text"),
        ({"background": f"rgb({10**30},0,0)"}, "--background 'rgb.* is not a colour"),
        ({"background": "no colour"}, "--background 'no colour' is not a colour"),
    ],
)
def test_a_manifest_with_an_invalid_preparation_is_refused(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelFileError, match=f"elsewhere.onnx cannot be evaluated: .*{message}"):
        opened_onnx(tmp_path, config)


def test_the_settings_come_from_the_manifest(tmp_path: Path) -> None:
    found = opened_onnx(tmp_path, {"crop": 5, "background": "#00ff00"})
    assert found.preparation == Preparation(crop=5, background="#00ff00")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return trained_checkpoint(crop=40)


@pytest.fixture(scope="module")
def folder(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint and its exports, with names that do not tell their kind."""
    folder = tmp_path_factory.mktemp("programs")
    checkpoint.save(folder / "checkpoint.ts")
    for format_ in FORMATS:
        export_checkpoint(checkpoint, ExportConfig(), folder / f"{format_}.pt", format_)
    return folder


def opened(path: Path) -> EvaluatedGenerator:
    return open_generator(path, torch.device("cpu"), 4, trust=True)


def generated(path: Path) -> Pixels:
    return np.concatenate(list(opened(path).generate(SEEDS)))


@pytest.mark.parametrize("format_", FORMATS)
def test_a_program_generates_the_images_of_its_checkpoint(folder: Path, format_: str) -> None:
    path = folder / f"{format_}.pt"
    assert np.abs(generated(path).astype(int) - generated(folder / "checkpoint.ts")).max() <= 1
    found = opened(path)
    assert (found.name, found.shape, found.step) == (str(path), (32, 32, 3), 4)
    assert found.preparation is not None
    assert (found.preparation.crop, found.data) == (40, None)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_program_is_not_opened_without_trust(
    folder: Path, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    def run(*_: object, **__: object) -> None:
        raise AssertionError("code of the file runs")

    monkeypatch.setattr(torch.jit, "load", run)
    monkeypatch.setattr(torch.export, "load", run)
    with pytest.raises(UsageError, match=r"is a program for PyTorch.* add --trust"):
        open_generator(folder / f"{format_}.pt", torch.device("cpu"), 4)


def forged(source: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy of an export with other records and a matching checksum."""
    manifest = describe(source).manifest
    assert manifest is not None
    records = read_records(source.read_bytes())
    del records["archive/extra/wgan.manifest"]
    change(records)
    archive = write_records(records)
    manifest = dataclasses.replace(manifest, content_sha256=content_sha256(archive))
    target.write_bytes(add_manifest(archive, manifest.to_json()))
    return target


def test_a_program_that_was_changed_is_refused(folder: Path, tmp_path: Path) -> None:
    for format_ in FORMATS:
        records = read_records((folder / f"{format_}.pt").read_bytes())
        name = next(name for name in records if "data/" in name and len(records[name]) > 1000)
        records[name] = bytes(len(records[name]))
        (tmp_path / "changed").write_bytes(write_records(records))
        with pytest.raises(
            ModelFileError, match="changed cannot be used: its content does not match its checksum"
        ):
            opened(tmp_path / "changed")


def test_a_program_without_a_manifest_is_refused(folder: Path, tmp_path: Path) -> None:
    records = read_records((folder / "torchscript.pt").read_bytes())
    del records["archive/extra/wgan.manifest"]
    (tmp_path / "bare").write_bytes(write_records(records))
    with pytest.raises(ModelFileError, match="bare cannot be used: it has no manifest"):
        opened(tmp_path / "bare")


def test_a_program_whose_images_differ_from_its_manifest_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    data = (folder / "torchscript.pt").read_bytes()
    manifest = describe(folder / "torchscript.pt").manifest
    assert manifest is not None
    manifest = dataclasses.replace(manifest, height=64, width=64)
    (tmp_path / "other").write_bytes(add_manifest(data, manifest.to_json()))
    with pytest.raises(ModelFileError, match=r"not images of the shape \[2, 3, 64, 64\]"):
        opened(tmp_path / "other")


def no_program(records: dict[str, bytes]) -> None:
    records[next(name for name in records if "/code/" in name)] = b"no program"


def lost_weight(records: dict[str, bytes]) -> None:
    del records["archive/data/weights/weight_0"]


@pytest.mark.parametrize(
    ("format_", "change", "message"),
    [
        ("torchscript", no_program, "open it: "),
        ("pt2", lost_weight, "open it: "),
    ],
)
def test_a_program_that_pytorch_cannot_open_is_a_model_file_error(
    folder: Path,
    tmp_path: Path,
    format_: str,
    change: Callable[[dict[str, bytes]], None],
    message: str,
) -> None:
    path = forged(folder / f"{format_}.pt", tmp_path / "changed", change)
    with pytest.raises(ModelFileError, match=f"changed cannot be used: PyTorch cannot {message}"):
        opened(path)


def test_a_damaged_archive_is_refused(folder: Path, tmp_path: Path) -> None:
    data = bytearray((folder / "pt2.pt").read_bytes())
    data[200] ^= 0xFF
    (tmp_path / "g.pt2").write_bytes(data)
    with pytest.raises(ModelFileError, match=r"g\.pt2 cannot be used: it is a damaged archive"):
        opened(tmp_path / "g.pt2")


def test_half_an_archive_is_recognised_by_its_name(folder: Path, tmp_path: Path) -> None:
    data = (folder / "pt2.pt").read_bytes()
    (tmp_path / "g.pt2").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelFileError, match=r"g\.pt2 cannot be used: it is a damaged archive"):
        opened(tmp_path / "g.pt2")
