"""What `wgan publish` writes, and what it refuses."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.processes import RunWgan
from tests.runtime import models
from wgan.errors import ModelFileError, OutputError, RunError, UsageError, WganError
from wgan.publishing import PublishConfig, publish
from wgan.runs import Run
from wgan.runtime import Generator
from wgan.runtime.config import VerifyConfig
from wgan.runtime.verification import verify

ALL = {
    *("README.md", "config.json", "app.py", "requirements.txt"),
    *("samples.png", "interpolation.webp"),
    *("onnx/model.onnx", "onnx/model_fp16.onnx", "onnx/model_int8.onnx"),
}


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def save(path: Path, **manifest: Any) -> Path:
    """A small generator whose manifest says something else."""
    model = models.generator(told=models.manifest(**manifest))
    path.write_bytes(model.SerializeToString())
    return path


def test_the_latest_run_is_exported_in_every_precision_and_each_file_verifies(
    workplace: Path, published: Path
) -> None:
    assert files_of(published) == ALL
    for name in sorted(name for name in ALL if name.endswith(".onnx")):
        checks = list(verify(VerifyConfig(file=published / name)))
        assert not [str(check) for check in checks if check.passed is False], name
    # The run has the same exports, of which the most precise is the latest.
    run = workplace / "runs" / "faces"
    assert (run / "generator.onnx").read_bytes() == (published / "onnx/model.onnx").read_bytes()
    assert (workplace / "runs" / "latest-export").read_text().endswith("/generator.onnx\n")


def test_the_description_names_each_file_with_its_size_checksum_and_receipt(
    published: Path,
) -> None:
    content = json.loads((published / "config.json").read_text())
    assert content["model_type"] == "wgan"
    assert (content["latent_dim"], content["height"], content["channels"]) == (16, 32, 3)
    assert list(content["files"]) == ["fp32", "fp16", "int8"]
    for entry in content["files"].values():
        data = (published / entry["file"]).read_bytes()
        assert entry["bytes"] == len(data)
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["receipt"]["seeds"]


def test_the_images_show_the_first_seeds_and_a_path(published: Path) -> None:
    pixels = Generator(published).sample(64)
    with Image.open(published / "samples.png") as image:
        assert image.size == (8 * 64, 8 * 64)
        corner = image.crop((0, 0, 64, 64)).resize((32, 32), Image.Resampling.NEAREST)
        assert corner.tobytes() == pixels[0].tobytes()
    with Image.open(published / "interpolation.webp") as path:
        assert (path.size, getattr(path, "n_frames", 1)) == ((256, 256), 75)


def test_without_a_run_the_latest_export_is_published_and_without_either_nothing(
    run_wgan: RunWgan, published: Path, tmp_path: Path
) -> None:
    done = run_wgan("publish", "out")
    assert done.returncode == 1
    assert "no run was trained in this folder" in done.stderr
    (tmp_path / "runs").mkdir()
    shutil.copy(published / "onnx" / "model_int8.onnx", tmp_path / "mine.onnx")
    (tmp_path / "runs" / "latest-export").write_text("../mine.onnx\n")
    done = run_wgan("publish", "out")
    assert done.returncode == 0, done.stderr
    assert "states no licence" in done.stderr
    assert {name for name in files_of(tmp_path / "out") if "onnx" in name} == {
        "onnx/model_int8.onnx"
    }


@pytest.mark.parametrize("name", ["faces", "latest"])
def test_the_precision_and_the_checkpoint_of_a_run_can_be_chosen(
    workplace: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "latest").write_text(f"{workplace}/runs/faces\n")
    run = {"faces": workplace / "runs" / "faces", "latest": tmp_path / "runs" / "latest"}[name]
    config = PublishConfig(
        folder=tmp_path / "out", exports=(run,), precisions=("fp32",), checkpoint="4"
    )
    assert set(publish(config).files) == ALL - {"onnx/model_fp16.onnx", "onnx/model_int8.onnx"}


def test_metrics_of_another_step_or_other_weights_are_refused(
    published: Path, workplace: Path
) -> None:
    measured = json.loads((workplace / "eval.json").read_text())
    assert measured["results"][0]["step"] == 4
    other = workplace / "other.json"
    measured["results"][0]["step"] = 2
    other.write_text(json.dumps(measured))
    config = PublishConfig(folder=workplace / "unused", exports=(published,), evaluation=other)
    with pytest.raises(UsageError, match="measured step 2, and the generator is of step 4"):
        publish(config)
    measured["results"][0] |= {"step": 4, "weights_sha256": "cd" * 32}
    other.write_text(json.dumps(measured))
    with pytest.raises(UsageError, match="measured a generator of other weights"):
        publish(config)
    other.write_text('{"results": [{"step": 4}]}')
    with pytest.raises(UsageError, match="is not what  wgan eval --json  prints"):
        publish(config)
    assert not (workplace / "unused").exists()


def test_exports_of_one_precision_or_of_different_weights_are_refused(tmp_path: Path) -> None:
    one, two = save(tmp_path / "1.onnx"), save(tmp_path / "2.onnx")
    with pytest.raises(UsageError, match=r"1.onnx and .*2.onnx are both fp32"):
        publish(PublishConfig(folder=tmp_path / "out", exports=(one, two)))
    other = save(tmp_path / "3.onnx", precision="fp16", weights_sha256="cd" * 32)
    with pytest.raises(UsageError, match="are exports of different weights"):
        publish(PublishConfig(folder=tmp_path / "out", exports=(one, other)))


def test_a_file_without_proof_or_with_changed_bytes_is_refused(tmp_path: Path) -> None:
    foreign = models.generator(metadata=[("author", "somebody")]).SerializeToString()
    changed = models.generator(told=models.manifest(content_sha256="ef" * 32))
    for data, reason in ((foreign, "run  wgan optimize"), (changed.SerializeToString(), "changed")):
        (tmp_path / "file.onnx").write_bytes(data)
        with pytest.raises(ModelFileError, match=reason):
            publish(PublishConfig(folder=tmp_path / "out", exports=(tmp_path / "file.onnx",)))


@pytest.mark.parametrize(
    ("settings", "error", "reason"),
    [
        ({"precisions": ("fp32",)}, UsageError, "are for a run"),
        ({"exports": (Path("nothing.onnx"),)}, ModelFileError, "there is no model file"),
        ({"exports": (Path(),)}, RunError, "is not a run folder"),
        ({"exports": (Path("no"),), "precisions": ("fp32",)}, RunError, "there is no run no"),
        ({"license": "My licence!"}, UsageError, "--license .* as in apache-2.0 or cc-by-4.0"),
        ({"repository": "faces"}, UsageError, "--repo .* must be USER/NAME of ASCII letters"),
        ({"repository": "usér/faces"}, UsageError, "--repo"),
        ({"repository": "../.."}, UsageError, "--repo"),
        ({"repository": "-a/b"}, UsageError, "--repo"),
        ({"evaluation": Path("nothing.json")}, UsageError, "is not what  wgan eval"),
    ],
)
def test_a_mistake_is_a_sentence(
    settings: dict[str, Any],
    error: type[WganError],
    reason: str,
    model_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    usual: dict[str, Any] = {"folder": Path("out"), "exports": (model_file,)}
    with pytest.raises(error, match=reason):
        publish(PublishConfig(**(usual | settings)))


def test_a_card_that_is_there_is_kept_unless_it_may_be_replaced(
    published: Path, model_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(published, tmp_path / "copy"))
    (folder / "README.md").write_text("my words")
    with pytest.raises(OutputError, match="--overwrite"):
        PublishConfig(folder=folder, exports=(model_file,))
    assert (folder / "README.md").read_text() == "my words"
    publish(PublishConfig(folder=folder, exports=(model_file,), overwrite=True))
    # Nothing of the other generator stays.
    assert files_of(folder) == ALL - {"onnx/model_fp16.onnx", "onnx/model_int8.onnx"}
    assert sum("was removed" in message for message in caplog.messages) == 2


@pytest.mark.parametrize("name", ["app.py", "config.json", "onnx/model_int8.onnx"])
def test_a_file_of_the_user_is_kept_unless_it_may_be_replaced(
    name: str, model_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "project" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(OutputError, match=f"already holds {name}, .*--overwrite"):
        PublishConfig(folder=tmp_path / "project", exports=(model_file,))
    assert path.read_text() == "mine"


def test_a_published_folder_is_published_again_with_all_its_files(
    published: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(published, tmp_path / "copy"))
    config = PublishConfig(folder=folder, exports=(folder,), overwrite=True, license="mit")
    publish(config)
    assert files_of(folder) == ALL
    assert 'license: "mit"' in (folder / "README.md").read_text()
    for name in ("onnx/model.onnx", "onnx/model_int8.onnx"):
        assert (folder / name).read_bytes() == (published / name).read_bytes()


def test_a_run_is_never_written_into(workplace: Path, model_file: Path) -> None:
    run = workplace / "runs" / "faces"
    assert Run(run).checkpoints()
    with pytest.raises(OutputError, match="is a run"):
        PublishConfig(folder=run, exports=(model_file,))


@pytest.mark.parametrize("channels", [2, 5])
def test_images_of_many_bands_are_shown_as_far_as_a_picture_can(
    channels: int, tmp_path: Path
) -> None:
    file = tmp_path / "bands.onnx"
    file.write_bytes(models.generator(channels).SerializeToString())
    publish(PublishConfig(folder=tmp_path / "out", exports=(file,)))
    with Image.open(tmp_path / "out" / "samples.png") as image:
        assert image.mode == ("L" if channels == 2 else "RGB")
    assert '"images"' in (tmp_path / "out" / "README.md").read_text()
