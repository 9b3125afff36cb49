"""Exports for PyTorch: drawn like any other, and never run where they hold more than a network."""

import dataclasses
import io
import json
import logging
import math
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.checkpoints import trained_checkpoint
from wgan.errors import ModelFileError
from wgan.evaluation.generators import EvaluatedGenerator, open_candidate
from wgan.export.config import ExportConfig
from wgan.export.draft import export_checkpoint
from wgan.export.formats.pt2 import to_pt2
from wgan.export.formats.torchscript import to_torchscript
from wgan.images import Pixels
from wgan.model_file.archive import add_manifest, read_records, write_records
from wgan.model_file.checksum import content_sha256
from wgan.model_file.program import harmless
from wgan.model_file.reading import describe
from wgan.training.checkpoint import Checkpoint

SEEDS = range(10)
FORMATS = ("torchscript", "pt2")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return trained_checkpoint(crop=40)


@pytest.fixture(scope="module")
def folder(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint and its exports, none named by what it holds."""
    folder = tmp_path_factory.mktemp("programs")
    checkpoint.save(folder / "checkpoint.ts")
    for format_ in FORMATS:
        export_checkpoint(checkpoint, ExportConfig(), folder / f"{format_}.pt", format_)
    return folder


def opened(path: Path) -> EvaluatedGenerator:
    return open_candidate(path, torch.device("cpu"), 4)


def drawn(path: Path) -> Pixels:
    return np.concatenate(list(opened(path).draw(SEEDS)))


@pytest.mark.parametrize("format_", FORMATS)
def test_a_program_draws_the_images_of_its_checkpoint(folder: Path, format_: str) -> None:
    path = folder / f"{format_}.pt"
    assert np.abs(drawn(path).astype(int) - drawn(folder / "checkpoint.ts")).max() <= 1
    found = opened(path)
    assert (found.name, found.shape, found.step) == (str(path), (32, 32, 3), 4)
    assert (found.settings["crop"], found.data) == (40, None)


@pytest.mark.parametrize("format_", FORMATS)
def test_the_resnets_program_is_let_through(tmp_path: Path, format_: str) -> None:
    checkpoint = trained_checkpoint(arch="resnet", steps=1, width=4)
    checkpoint.save(tmp_path / "c.pt")
    export_checkpoint(checkpoint, ExportConfig(), tmp_path / "program", format_)
    off = np.abs(drawn(tmp_path / "program").astype(int) - drawn(tmp_path / "c.pt"))
    assert off.max() <= 1


class OwnGenerator(torch.nn.Module):
    """Of layers that people build generators from, 8x8."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(16, 32 * 16)
        self.norm = torch.nn.GroupNorm(4, 32)
        self.mix = torch.nn.Parameter(torch.ones(32))
        self.last = torch.nn.Conv2d(32, 12, 3, padding=1)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        n = latents.shape[0]
        unit = latents * torch.rsqrt(latents.square().mean(1, keepdim=True) + 1e-8)
        maps = functional.gelu(self.norm(self.first(unit).view(n, 32, 4, 4)), approximate="tanh")
        rows = maps.flatten(2).transpose(1, 2)
        rows = rows.masked_fill(rows > 1e9, -math.inf)
        rows = rows + functional.scaled_dot_product_attention(rows, rows, rows)
        maps = torch.einsum("nrc,c->ncr", rows, self.mix).reshape(n, 32, 4, 4)
        images = functional.pixel_shuffle(self.last(maps), 2) + torch.zeros(n, 1, 1, 1)
        return torch.tanh(functional.interpolate(images, scale_factor=2, mode="bilinear"))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("make", [to_torchscript, to_pt2])
def test_a_network_of_ones_own_is_let_through(
    make: Callable[[torch.nn.Module, int], bytes],
) -> None:
    harmless(read_records(make(OwnGenerator().eval(), 16)))


def forged(source: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A copy of an export with other records, signed anew as anyone can."""
    told = describe(source).manifest
    assert told is not None
    records = read_records(source.read_bytes())
    del records["archive/extra/wgan.manifest"]
    change(records)
    archive = write_records(records)
    told = dataclasses.replace(told, content_sha256=content_sha256(archive))
    target.write_bytes(add_manifest(archive, told.to_json()))
    return target


def test_a_program_that_was_changed_is_refused(folder: Path, tmp_path: Path) -> None:
    for format_ in FORMATS:
        records = read_records((folder / f"{format_}.pt").read_bytes())
        name = next(name for name in records if "data/" in name and len(records[name]) > 1000)
        records[name] = bytes(len(records[name]))
        (tmp_path / "changed").write_bytes(write_records(records))
        with pytest.raises(
            ModelFileError, match="changed cannot be used: its content does not match"
        ):
            opened(tmp_path / "changed")


def test_a_program_without_a_manifest_is_refused(folder: Path, tmp_path: Path) -> None:
    records = read_records((folder / "torchscript.pt").read_bytes())
    del records["archive/extra/wgan.manifest"]
    (tmp_path / "bare").write_bytes(write_records(records))
    with pytest.raises(ModelFileError, match="bare cannot be used: it has no manifest"):
        opened(tmp_path / "bare")


def test_a_program_that_draws_something_else_than_it_says_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    data = (folder / "torchscript.pt").read_bytes()
    told = describe(folder / "torchscript.pt").manifest
    assert told is not None
    told = dataclasses.replace(told, height=64, width=64)
    (tmp_path / "other").write_bytes(add_manifest(data, told.to_json()))
    with pytest.raises(ModelFileError, match=r"not draw images of the shape \[2, 3, 64, 64\]"):
        opened(tmp_path / "other")


class Writer(torch.nn.Module):
    """Leaves a file behind when it is run."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        torch.save(latents, self.path)
        return torch.zeros(len(latents), 3, 32, 32)


def in_capitals(records: dict[str, bytes]) -> dict[str, bytes]:
    return {name.replace("/code/", "/CODE/"): content for name, content in records.items()}


def spelt_otherwise(records: dict[str, bytes]) -> dict[str, bytes]:
    return {
        name: content.replace(b"torch.save(", b'getattr(torch, "s\\141ve")(')
        for name, content in records.items()
        if not name.endswith(".debug_pkl")  # it holds the line as it was
    }


def spelt_in_parts(records: dict[str, bytes]) -> dict[str, bytes]:
    return {
        name: content.replace(rb"s\141ve", b'sa" "ve')
        for name, content in spelt_otherwise(records).items()
    }


@pytest.mark.parametrize(
    ("disguised", "said"),
    [
        (dict, "its program may not use 'save'"),
        (in_capitals, "it holds 'CODE/.*, which no export of wgan does"),
        (spelt_otherwise, "its program may not use 'getattr'"),
        (spelt_in_parts, "its program may not use 'getattr'"),
    ],
)
def test_torchscript_that_would_write_a_file_is_not_run(
    folder: Path,
    tmp_path: Path,
    disguised: Callable[[dict[str, bytes]], dict[str, bytes]],
    said: str,
) -> None:
    trace = tmp_path / "trace"
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.jit.save(torch.jit.script(Writer(str(trace))), buffer)
        disguise = disguised(read_records(buffer.getvalue()))
        torch.jit.load(io.BytesIO(write_records(disguise)))(torch.zeros(1, 16))
    assert trace.exists(), "PyTorch itself lets it"
    trace.unlink()

    def change(records: dict[str, bytes]) -> None:
        records.clear()
        records.update(disguise)

    path = forged(folder / "torchscript.pt", tmp_path / "g.ts", change)
    with pytest.raises(ModelFileError, match=said):
        opened(path)
    assert not trace.exists()


def test_torchscript_does_not_make_objects_of_pytorchs_cpp_classes(
    folder: Path, tmp_path: Path
) -> None:
    def change(records: dict[str, bytes]) -> None:
        name = "__torch__.torch.classes.quantized\nLinearPackedParamsBase"
        records["archive/constants.pkl"] = f"\x80\x02c{name}\n.".encode("latin-1")

    with pytest.raises(ModelFileError, match=r"may not use '__torch__\.torch\.classes"):
        opened(forged(folder / "torchscript.pt", tmp_path / "g.ts", change))


def test_no_tensor_reaches_beyond_its_record(folder: Path, tmp_path: Path) -> None:
    def change(records: dict[str, bytes]) -> None:
        records["archive/data/0"] = records["archive/data/0"][:-4]

    with pytest.raises(ModelFileError, match="its tensor '0' is not as large as it says"):
        opened(forged(folder / "torchscript.pt", tmp_path / "g.ts", change))


class Touch:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_in_a_pt2_file_is_unpickled(folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    pickled = io.BytesIO()
    torch.save(Touch(trace), pickled)

    def samples(records: dict[str, bytes]) -> None:
        records["archive/data/sample_inputs/model.pt"] = pickled.getvalue()

    def weight(records: dict[str, bytes]) -> None:
        config = json.loads(records["archive/data/weights/model_weights_config.json"])
        next(iter(config["config"].values()))["use_pickle"] = True
        records["archive/data/weights/model_weights_config.json"] = json.dumps(config).encode()
        records["archive/data/weights/weight_0"] = pickled.getvalue()

    def constant(records: dict[str, bytes]) -> None:
        records["archive/data/constants/opaque_obj_0"] = pickle.dumps(Touch(trace))

    assert len(drawn(forged(folder / "pt2.pt", tmp_path / "a.pt2", samples))) == len(SEEDS)
    for change, said in ((weight, "is pickled, and is not"), (constant, "opaque_obj_0', which no")):
        with pytest.raises(ModelFileError, match=said):
            opened(forged(folder / "pt2.pt", tmp_path / "b.pt2", change))
    assert not trace.exists()


def test_no_text_in_a_pt2_file_becomes_code(folder: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    code = f"__import__('pathlib').Path('{trace}').touch()"

    def with_model(change: Callable[[Any], None]) -> Path:
        def change_record(records: dict[str, bytes]) -> None:
            model = json.loads(records["archive/models/model.json"])
            change(model)
            records["archive/models/model.json"] = json.dumps(model).encode()

        return forged(folder / "pt2.pt", tmp_path / "g.pt2", change_record)

    def sizes(model: Any) -> None:
        tensor = model["graph_module"]["graph"]["tensor_values"]["latents"]
        tensor["sizes"][0]["as_expr"]["expr_str"] = code

    def guards(model: Any) -> None:
        model["guards_code"] = [code]

    def operator(model: Any) -> None:
        model["graph_module"]["graph"]["nodes"][0]["target"] = "torch.os.system"

    def placeholder(model: Any) -> None:
        model["graph_module"]["graph"]["inputs"][-1]["as_tensor"]["name"] = f"x={code}"

    for change in (sizes, guards, operator, placeholder):
        with pytest.raises(ModelFileError, match="its program may not use"):
            opened(with_model(change))
    assert not trace.exists()
    with pytest.raises(ModelFileError, match="has no graph"):
        opened(with_model(lambda model: model.clear()))


def test_a_pt2_file_cannot_keep_its_reader_busy_or_deep(folder: Path, tmp_path: Path) -> None:
    def with_size(text: str) -> Path:
        def change(records: dict[str, bytes]) -> None:
            model = json.loads(records["archive/models/model.json"])
            tensor = model["graph_module"]["graph"]["tensor_values"]["latents"]
            tensor["sizes"][0]["as_expr"]["expr_str"] = "SIZE"
            content = json.dumps(model).replace('"SIZE"', text)
            records["archive/models/model.json"] = content.encode()

        return forged(folder / "pt2.pt", tmp_path / "g.pt2", change)

    with pytest.raises(ModelFileError, match="its program may not use '1111"):
        opened(with_size('"' + "1" * 60 + '!"'))
    with pytest.raises(ModelFileError, match=r"its models/model\.json is nested too deeply"):
        opened(with_size("[" * 100_000 + "]" * 100_000))


def no_program(records: dict[str, bytes]) -> None:
    records[next(name for name in records if "/code/" in name)] = b"no program"


def lost_weight(records: dict[str, bytes]) -> None:
    del records["archive/data/weights/weight_0"]


@pytest.mark.parametrize(
    ("format_", "change", "said"),
    [
        ("torchscript", no_program, "open it: Unexpected token in code import: ident"),
        ("pt2", lost_weight, "open it: PytorchStreamReader failed locating file data/weights/w"),
    ],
)
def test_a_program_that_pytorch_cannot_run_ends_in_a_sentence(
    folder: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    format_: str,
    change: Callable[[dict[str, bytes]], None],
    said: str,
) -> None:
    path = forged(folder / f"{format_}.pt", tmp_path / "changed", change)
    with pytest.raises(ModelFileError, match=f"changed cannot be used: PyTorch cannot {said}"):
        opened(path)
    shown = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not shown, "PyTorch's own log has a traceback"


def test_a_damaged_archive_is_refused(folder: Path, tmp_path: Path) -> None:
    data = bytearray((folder / "pt2.pt").read_bytes())
    data[200] ^= 0xFF
    (tmp_path / "g.pt2").write_bytes(data)
    with pytest.raises(ModelFileError, match=r"g\.pt2 cannot be used: it is a damaged archive"):
        opened(tmp_path / "g.pt2")


def test_half_an_archive_is_called_what_its_name_says(folder: Path, tmp_path: Path) -> None:
    data = (folder / "pt2.pt").read_bytes()
    (tmp_path / "g.pt2").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelFileError, match=r"g\.pt2 cannot be used: it is a damaged archive"):
        opened(tmp_path / "g.pt2")
