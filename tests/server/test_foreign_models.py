"""Served ONNX files of other projects, with the options that they need."""

import signal
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.export.foreign.networks import LATENT_DIM, foreign
from tests.runtime import models
from tests.server.servers import array_of, seeds_request, serving
from wgan.runtime import ForeignOptions, Generator

OPTIONS = ("--label-input", "y", "--value-range", "0,1")


def labelled(table_seed: int) -> onnx.ModelProto:
    """A generator of rectangles that takes a class `y`; its range is not told."""
    before = [
        helper.make_node("Gather", ["table", "y"], ["embedded"]),
        helper.make_node("Mul", ["z", "embedded"], ["flat"]),
    ]
    last = [
        helper.make_node("Concat", ["features", "features"], ["wide"], axis=3),
        helper.make_node("Abs", ["wide"], ["image"]),
    ]
    table = np.random.RandomState(table_seed).rand(4, LATENT_DIM).astype(np.float32)
    return foreign(
        last,
        before=before,
        more_inputs=[("y", TensorProto.INT64, ["n"])],
        output=("n", 3, 8, 16),
        constants={"table": table},
    )


def save(path: Path, seed: int) -> None:
    """Write the generator, its weights beside it."""
    onnx.save(
        labelled(seed), path, save_as_external_data=True, size_threshold=100, location="t.data"
    )


def drawn(path: Path) -> np.ndarray:
    options = ForeignOptions(label_input="y", value_range=(0, 1))
    with Generator(path, foreign=options) as generator:
        return generator.sample([1])


def test_foreign_files_are_served_beside_wgans_own_and_replaced(tmp_path: Path) -> None:
    save(tmp_path / "generator.onnx", 0)
    (tmp_path / "own.onnx").write_bytes(models.generator().SerializeToString())
    with serving("generator.onnx", "own.onnx", *OPTIONS, cwd=tmp_path) as server:
        told = server.get("/v1/models/generator").json()
        assert (told["classes"], told["manifest"]) == (["0", "1", "2", "3"], None)
        assert (told["height"], told["width"]) == (8, 16)
        assert server.get("/v1/models/own/images/1.png").status == 200
        first = drawn(tmp_path / "generator.onnx")
        found = array_of(server.infer(seeds_request(1)))
        np.testing.assert_array_equal(found, first)
        save(tmp_path / "generator.onnx", 1)
        (tmp_path / "generator.onnx").touch()
        server.process.send_signal(signal.SIGHUP)
        server.await_log("model own is unchanged")
        second = drawn(tmp_path / "generator.onnx")
        assert not np.array_equal(first, second)
        found = array_of(server.infer(seeds_request(1)))
        np.testing.assert_array_equal(found, second)
