"""ONNX Runtime sessions: memory and telemetry."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.processes import ROOT, run, wgan_command
from tests.runtime import models

MAPS, SIDE = 32, 32
"""Of 32x32 numbers each: a batch of 64 has 8 MiB in every layer."""

GROWN = """
import sys
import numpy as np
from wgan.host import MIB, resident_memory
from wgan.runtime import Generator
with Generator(sys.argv[1], "cpu", 1) as generator:
    latents = np.zeros((64, generator.latent_dim), np.float32)
    generator.pixels(latents[:1])
    before = resident_memory()
    for size in map(int, sys.argv[2].split(",")):
        generator.pixels(latents[:size])
    print((resident_memory() - before) / MIB)
"""


def deep_generator() -> bytes:
    """A generator whose memory is in its activations, not in its weights."""
    random = np.random.RandomState(0)
    constants: dict[str, np.ndarray[Any, Any]] = {
        "w": random.standard_normal((4, MAPS * SIDE * SIDE)).astype(np.float32),
        "shape": np.array([-1, MAPS, SIDE, SIDE], np.int64),
        "mix": random.standard_normal((MAPS, MAPS, 1, 1)).astype(np.float32) / MAPS,
        "colours": random.standard_normal((3, MAPS, 1, 1)).astype(np.float32) / MAPS,
    }
    nodes = [
        helper.make_node("MatMul", ["latents", "w"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["maps0"]),
    ]
    for k in range(6):
        nodes.append(helper.make_node("Conv", [f"maps{k}", "mix"], [f"mixed{k}"]))
        nodes.append(helper.make_node("Relu", [f"mixed{k}"], [f"maps{k + 1}"]))
    nodes.append(helper.make_node("Conv", ["maps6", "colours"], ["raw"]))
    nodes.append(helper.make_node("Tanh", ["raw"], ["images"]))
    model = models.make_model(
        nodes,
        constants,
        [("latents", TensorProto.FLOAT, ["batch", 4])],
        [("images", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
    )
    return bytes(model.SerializeToString())


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_batches_of_many_sizes_take_no_more_memory_than_the_largest(tmp_path: Path) -> None:
    """As in a server; by default ONNX Runtime would keep a block of memory for each size."""
    path = tmp_path / "deep.onnx"
    path.write_bytes(deep_generator())

    def grown(sizes: list[int]) -> float:
        text = ",".join(map(str, sizes))
        done = run([sys.executable, "-c", GROWN, str(path), text], ROOT)
        assert done.returncode == 0, done.stderr
        return float(done.stdout)  # MiB

    sizes = np.random.RandomState(0).randint(1, 65, 60).tolist()
    assert grown([*sizes, 64]) < 1.3 * grown([64])


TELEMETRY = """
import os
os.environ.pop("ORT_DISABLE_TELEMETRY", None)
os.environ.update({set})
from wgan.runtime.engine import import_onnxruntime
import_onnxruntime()
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


@pytest.mark.parametrize(
    ("set_by_user", "expected"), [({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")]
)
def test_telemetry_is_off_unless_the_user_sets_the_variable(
    set_by_user: dict[str, str], expected: str
) -> None:
    done = run([sys.executable, "-c", TELEMETRY.format(set=set_by_user)], ROOT)
    assert (done.returncode, done.stdout.strip()) == (0, expected)


@pytest.mark.skipif(sys.platform != "linux", reason="the cache folder of Linux")
def test_a_command_writes_no_telemetry_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ORT_DISABLE_TELEMETRY", "CI", "GITHUB_ACTIONS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    done = run(
        wgan_command("sample", "--model", "builtin", "-n", 1, tmp_path / "out.png"), tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
