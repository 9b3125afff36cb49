import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.model_file.test_reading import write_archive
from tests.processes import RunWgan
from tests.runtime import models


def test_info_tells_the_manifest(run_wgan: RunWgan, tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(models.generator().SerializeToString())
    done = run_wgan("info", "g.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    assert "g.onnx (onnx)" in done.stdout
    assert "8x8, 3 channels" in done.stdout
    assert "ab" * 32 in done.stdout
    assert "1.0e-07 in float, 0 of 255 in pixels" in done.stdout


def test_info_tells_what_runs_a_file_when_asked(run_wgan: RunWgan, tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(models.generator().SerializeToString())
    assert "runs on" not in run_wgan("info", "g.onnx").stdout
    done = run_wgan("info", "--device", "auto", "g.onnx")
    assert done.stdout.splitlines()[-1].split() == ["runs", "on", "CPUExecutionProvider"]
    done = run_wgan("info", "--device", "cuda", "g.onnx")
    assert done.returncode == 1
    assert "device 'cuda' needs" in done.stderr


def test_info_of_an_archive_has_no_opset(run_wgan: RunWgan, tmp_path: Path) -> None:
    write_archive(tmp_path / "g.ts", models.manifest(opset=None).to_json())
    (tmp_path / "g.onnx").write_bytes(models.generator().SerializeToString())
    assert "opset" in run_wgan("info", "g.onnx").stdout
    done = run_wgan("info", "g.ts")
    assert (done.returncode, "opset" in done.stdout) == (0, False)


def test_info_for_programs_is_the_manifest_itself(run_wgan: RunWgan, tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(models.generator().SerializeToString())
    done = run_wgan("info", "--json", "g.onnx")
    assert json.loads(done.stdout) == json.loads(models.manifest().to_json())


def test_info_describes_any_onnx_file(run_wgan: RunWgan, tmp_path: Path) -> None:
    nodes = [helper.make_node("Sigmoid", ["z"], ["s"]), helper.make_node("Identity", ["s"], ["y"])]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("z", TensorProto.FLOAT16, ["n", 3, None]), value("w", TensorProto.INT64, [1])],
        [value("y", TensorProto.FLOAT16, ["n", 3, None])],
        [numpy_helper.from_array(np.zeros(1, np.int64), "w")],
    )
    model = helper.make_model(
        graph, producer_name="a\x1b[31mred\n", opset_imports=[helper.make_opsetid("", 17)]
    )
    (tmp_path / "other.onnx").write_bytes(model.SerializeToString())
    done = run_wgan("info", "other.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert rows["manifest"] == "none: wgan did not export it"
    assert rows["written"] == r"by    a\x1b[31mred\n"
    assert rows["opset"] == "17"
    assert rows["inputs"] == "z tensor(float16) [n, 3, ?]"
    assert rows["outputs"] == "y tensor(float16) [n, 3, ?], 0 to 1"
    told = json.loads(run_wgan("info", "--json", "other.onnx").stdout)
    assert told["inputs"] == [{"name": "z", "type": "tensor(float16)", "shape": ["n", 3, None]}]
    assert told["outputs"][0]["range"] == [0, 1]
    assert told["bytes"] == (tmp_path / "other.onnx").stat().st_size


def test_info_describes_a_file_that_no_other_command_opens(
    run_wgan: RunWgan, tmp_path: Path
) -> None:
    model = models.generator(metadata=[("author", "me")])
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    assert "weights are in another file" in run_wgan("info", "g.onnx").stdout
    done = run_wgan("info", "--device", "cpu", "g.onnx")
    assert (done.returncode, done.stdout) == (1, "")
    assert "weights are in another file" in done.stderr


def test_info_of_what_is_no_export_ends_in_a_sentence(run_wgan: RunWgan, tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(b"not a model")
    done = run_wgan("info", "g.onnx")
    assert done.returncode == 1
    assert "g.onnx cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
