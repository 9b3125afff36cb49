import json
from pathlib import Path

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


def test_info_of_a_file_without_manifest_says_so(run_wgan: RunWgan, tmp_path: Path) -> None:
    model = models.generator(metadata=[("author", "me")])
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    done = run_wgan("info", "g.onnx")
    assert done.returncode == 1
    assert "g.onnx has no manifest" in done.stderr


def test_info_of_what_is_no_export_ends_in_a_sentence(run_wgan: RunWgan, tmp_path: Path) -> None:
    (tmp_path / "g.onnx").write_bytes(b"not a model")
    done = run_wgan("info", "g.onnx")
    assert done.returncode == 1
    assert "g.onnx cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
