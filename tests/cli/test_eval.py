"""`wgan eval` and `wgan train --eval-every` as processes, with a tiny feature network."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from tests.evaluation.networks import network, save
from tests.export.foreign.networks import foreign
from tests.processes import RunWgan, run_wgan_command
from wgan.cli import cli
from wgan.errors import CheckpointError, DataError, WganError
from wgan.training.checkpoint import Checkpoint

FORMATS = ("--format", "onnx", "--format", "torchscript")
TINY = ("--width", 2, "--latent-dim", 4, "--batch-size", 4, "--n-critic", 1, "--device", "cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, a run of them that followed a metric, its export, and features."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "faces").mkdir()
    random = np.random.RandomState(0)
    for index in range(40):
        pixels = random.randint(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "faces" / f"{index:02}.png")
    save(network(TensorProto.UINT8, ("n", 32, 32, 3)), folder / "features.onnx")
    save(network(TensorProto.UINT8, ("n", 32, 32, 1)), folder / "grey.onnx")
    followed = ("--eval-every", 2, "--eval-features", "features.onnx", "--eval-n", 20)
    done = run_wgan_command(
        "train", "faces", *TINY, "--steps", 5, "--keep", 1, *followed, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert "best fid:" in done.stdout
    assert "--checkpoint best" in done.stdout
    exported = run_wgan_command("export", "--checkpoint", "best", *FORMATS, cwd=folder)
    assert exported.returncode == 0, exported.stderr
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


RUN = Path("runs") / "faces-32-tuned"


def test_a_run_with_eval_every_logs_the_metric_and_keeps_the_best(trained: Path) -> None:
    lines = map(json.loads, (trained / RUN / "metrics.jsonl").read_text().splitlines())
    values = {line["step"]: line["fid"] for line in lines if "fid" in line}
    assert list(values) == [2, 4, 5]
    best = Checkpoint.load(trained / RUN / "checkpoints" / "best.pt")
    assert values[best.step] == min(values.values())


def test_a_run_and_its_exports_have_equal_metrics_on_the_same_seeds(
    trained: Path, run_wgan: RunWgan
) -> None:
    named = ("--features", "features.onnx", "-n", 30, "--repeats", 2)
    names = ("checkpoints/best.pt", "generator.onnx", "generator.ts")
    sources = (RUN, *(RUN / name for name in names))
    done = run_wgan("eval", *sources, *named, "--json", "--trust", cwd=trained)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    latest, best, onnx, torchscript = (each["metrics"]["fid"]["values"] for each in told["results"])
    assert onnx == pytest.approx(best, rel=1e-3)
    assert torchscript == pytest.approx(best, rel=1e-3)
    assert len(latest) == 2
    assert told["data_images"] == 40
    named = ("--features", "features.onnx", "--n", 30, "--repeats", 2)
    table = run_wgan(
        "eval", *sources[1:], *named, "--trust", "--metrics", "fid,recall", cwd=trained
    )
    assert table.returncode == 0, table.stderr
    assert f"(2) {sources[2]}, step " in table.stdout
    assert "FID (lower is better)" in table.stdout
    assert "KID" not in table.stdout
    assert "±" in table.stdout


def test_the_metric_of_a_training_run_equals_that_of_eval(trained: Path, run_wgan: RunWgan) -> None:
    named = ("--features", "features.onnx", "-n", 20, "--metrics", "fid", "--json")
    done = run_wgan("eval", "--checkpoint", "best", *named, cwd=trained)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["results"][0]
    record = json.loads((trained / RUN / "checkpoints" / "best.json").read_text())
    assert found["step"] == record["step"]
    assert found["metrics"]["fid"]["mean"] == pytest.approx(record["value"])


def test_changed_data_is_a_warning_of_a_runs_evaluation(folder: Path, run_wgan: RunWgan) -> None:
    # The copy of the run names the data of the original, by its absolute path.
    named = ("eval", "--features", "features.onnx", "-n", 20, "--metrics", "fid", "--no-cache")
    same = run_wgan(*named, cwd=folder)
    assert same.returncode == 0, same.stderr
    assert "was trained on" not in same.stderr
    trained = run_wgan("train", "faces", *TINY, "--steps", 1, "--run", "own", cwd=folder)
    assert trained.returncode == 0, trained.stderr
    (folder / "faces" / "00.png").unlink()
    changed = run_wgan(*named, "own", cwd=folder)
    assert changed.returncode == 0, changed.stderr
    assert f"the images of {folder / 'faces'} are not those that own was trained on" in " ".join(
        changed.stderr.split()
    )
    given = run_wgan(*named, "own", "--data", "faces", cwd=folder)
    assert given.returncode == 0, given.stderr
    assert "was trained on" not in given.stderr


def test_neighbours_are_written(folder: Path, run_wgan: RunWgan) -> None:
    done = run_wgan(
        *("eval", "--features", "features.onnx", "-n", 20, "--neighbours", "near.png"),
        *("--cache", "kept"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((folder / "kept" / "statistics").iterdir())) == 1
    with Image.open(folder / "near.png") as image:
        assert image.size == (2 * (8 * 32 + 4), 2 * 16 * 32)
    assert "near.png: seeds 0 to 15, each beside the nearest of 40 real images" in done.stderr


def test_a_resumed_run_goes_on_measuring_by_itself(folder: Path, run_wgan: RunWgan) -> None:
    done = run_wgan(
        "train", "--run", RUN, "--steps", 6, *("--device", "cpu", "--cache", "kept"), cwd=folder
    )
    assert done.returncode == 0, done.stderr
    assert len(list((folder / "kept" / "statistics").iterdir())) == 1
    last = json.loads((folder / RUN / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 6
    assert "fid" in last


def test_an_export_by_itself_needs_the_option_data(trained: Path, run_wgan: RunWgan) -> None:
    named = ("--features", "features.onnx", "-n", 20, "--metrics", "fid")
    asked = run_wgan("eval", RUN / "generator.onnx", *named, cwd=trained)
    assert asked.returncode == 2
    assert "give --data" in asked.stderr
    told = run_wgan("eval", RUN / "generator.onnx", *named, "--data", "faces", cwd=trained)
    assert told.returncode == 0, told.stderr


def test_a_fid_of_fewer_images_than_features_has_a_warning(folder: Path, run_wgan: RunWgan) -> None:
    save(network(TensorProto.UINT8, ("n", 32, 32, 3), width=20), folder / "wide.onnx")
    named = ("--features", "wide.onnx", "-n", 20, "--metrics", "fid", "--data", "faces")
    done = run_wgan("eval", RUN / "generator.onnx", *named, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("Warning: the FID of 20 images with 20 features is mostly bias:")


def test_a_foreign_generator_of_rectangles_is_measured(tmp_path: Path, run_wgan: RunWgan) -> None:
    last = [
        helper.make_node("Concat", ["features", "features"], ["wide"], axis=3),
        helper.make_node("Abs", ["wide"], ["image"]),
    ]
    onnx.save(foreign(last, output=("n", 3, 8, 16)), tmp_path / "theirs.onnx")
    save(network(TensorProto.UINT8, ("n", 8, 16, 3)), tmp_path / "features.onnx")
    random = np.random.RandomState(0)
    (tmp_path / "wide").mkdir()
    for index in range(20):
        pixels = random.randint(0, 256, (8, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "wide" / f"{index:02}.png")
    named = ("theirs.onnx", "--data", "wide", "--features", "features.onnx", "-n", 20, "--json")
    asked = run_wgan("eval", *named)
    assert asked.returncode == 2
    assert "--value-range=-1,1" in asked.stderr
    told = run_wgan("eval", *named, "--value-range", "0,1")
    assert told.returncode == 0, told.stderr
    (result,) = json.loads(told.stdout)["results"]
    assert result["metrics"]["fid"]["mean"] > 0


def test_options_of_foreign_files_are_refused_without_one(trained: Path, run_wgan: RunWgan) -> None:
    named = ("--features", "features.onnx", "-n", 20, "--data", "faces")
    done = run_wgan("eval", RUN / "generator.onnx", *named, "--class", 1, cwd=trained)
    assert done.returncode == 2
    assert "--class is for files of other projects" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ((), 1, "the Inception weights are not at"),
        (("--features", "none.onnx"), 1, "there is no model file none.onnx"),
        (("--features", "features.onnx", "--metrics", "is"), 2, "needs a network that classifies"),
        (("--features", "features.onnx", "-n", "3"), 2, "-n 3 is not allowed"),
        (("--features", "features.onnx", "--checkpoint", "3"), 1, "no checkpoint of step 3"),
        (
            ("--features", "features.onnx", "--checkpoint", "worst"),
            2,
            "is not allowed: latest, best",
        ),
        (
            ("nothing", "--features", "features.onnx"),
            1,
            "there is no run, checkpoint or exported file nothing",
        ),
        (("--features", "features.onnx", "--weights", "w.pth"), 2, "--weights goes with"),
        (
            ("--features", "grey.onnx", "--data", "nowhere"),
            1,
            "images of 1 channels, these have 3",
        ),
        # What costs nothing to check is checked before the features are opened.
        (("--features", "none.onnx", "--seed", "-1"), 2, "seed -1 is not allowed"),
        (("--features", "none.onnx", "--seed", str(2**32 - 5)), 2, "beyond the last seed"),
        (("--features", "none.onnx", "--metrics", "fid,swd"), 2, "--metrics swd is not one of"),
        (("--features", "none.onnx", "--repeats", "0"), 2, "--repeats 0 is not allowed"),
        (("--features", "none.onnx", "--data-n", "4"), 2, "--data-n 4 is not allowed"),
        (("--features", "none.onnx", "--neighbours", "no/out.png"), 1, "folder no does not exist"),
        ((str(RUN / "generator.ts"), "--features", "features.onnx"), 2, "add --trust if you trust"),
        (("features.onnx", "--checkpoint", "best"), 2, "features.onnx is a file: leave it out"),
        (("a", "b", "--neighbours", "out.png"), 2, "--neighbours is for one generator"),
    ],
)
def test_an_evaluation_that_cannot_be_done_is_refused(
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    status: int,
    sentence: str,
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(trained / "no-torch-home"))
    monkeypatch.chdir(trained)
    with pytest.raises(WganError, match=sentence) as caught:
        cli.main(["eval", *arguments], standalone_mode=False)
    assert caught.value.exit_status == status


def test_training_reports_missing_features_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-torch-home"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="the Inception weights are not at"):
        cli.main(["train", "--steps", "2", "--eval-every", "1"], standalone_mode=False)
    assert not (tmp_path / "runs").exists()


def test_a_run_without_a_best_checkpoint_says_how_to_get_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / RUN / "checkpoints" / "best.pt").unlink()
    monkeypatch.chdir(folder)
    with pytest.raises(CheckpointError, match="--eval-every"):
        cli.main(["export", "--checkpoint", "best"], standalone_mode=False)
