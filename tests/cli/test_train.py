"""`wgan train` as a process: its sentences, its exit status, and what stays on the disk."""

import json
import os
import signal
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import Process, RunWgan, run, start, wgan_command
from wgan.training.checkpoint import Checkpoint

pytestmark = pytest.mark.usefixtures("nothing_is_left_running")

TINY = ("--width", 2, "--latent-dim", 4, "--batch-size", 4, "--n-critic", 1)


def make_folder(path: Path, good: int, damaged: int = 0) -> Path:
    path.mkdir()
    random = np.random.RandomState(0)
    for index in range(good):
        pixels = random.randint(0, 256, (40, 50, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path / f"{index}.png")
    for index in range(damaged):
        (path / f"damaged-{index}.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return path


def test_a_folder_of_images_trains_and_the_same_command_goes_on(
    tmp_path: Path, run_wgan: RunWgan
) -> None:
    make_folder(tmp_path / "faces", 6)
    command = ("train", "faces", *TINY, "--steps", 2, "--device", "cpu")
    first = run_wgan(*command)
    assert first.returncode == 0, first.stderr
    assert "runs/faces-32-tuned/previews" in first.stdout
    assert "On your own images:" in first.stdout.splitlines()[-1]
    again = run_wgan(*command[:-4], "--steps", 3)
    assert again.returncode == 0, again.stderr
    run = tmp_path / "runs" / "faces-32-tuned"
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == [
        "step-00000002.pt",
        "step-00000003.pt",
    ]
    metrics = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert metrics.keys() >= {
        "step",
        "seconds_per_step",
        "images_per_second",
        "wasserstein",
        "gradient_penalty",
        "critic_loss",
        "generator_loss",
    }


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    tmp_path: Path, run_wgan: RunWgan
) -> None:
    make_folder(tmp_path / "faces", 6)
    result = run_wgan("train", "faces", *TINY, "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "6 images" in result.stdout
    assert "n_critic = 1" in result.stdout
    assert "parameters" in result.stdout
    assert "memory    about " in result.stdout
    assert "skipped   0 damaged images" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["faces"]


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("nowhere",), 1, "nowhere"),
        (("empty",), 1, "empty"),
        (("few", "--batch-size", 8), 1, "fewer than a batch of 8"),
        (("damaged",), 1, "--allow-damaged"),
        (("few", "--run", "few/0.png"), 1, "few/0.png is not a folder: --run names"),
        (("few", "--lr", "-1"), 2, "--learning-rate -1 is not allowed: it must be a finite"),
        (("few", "--arch", "os:getcwd"), 2, "--arch os:getcwd cannot be called"),
        (("few", "--size", 30), 2, "--size 30 is not allowed: it must be a multiple of 4"),
        (("few", "--recipe", "magic"), 2, "'magic' is not one of tuned, wgan-gp"),
        (("few", "--device", "cuda:99"), 1, "--device cuda:99"),
        (("few", "--device", "tpu"), 2, "--device tpu is not one of"),
        (("few", "--cuda-graph", "yes", "--device", "cpu"), 2, "there are no CUDA graphs"),
        (("few", "--capture", "yes", "--device", "cpu"), 2, "--capture is now --cuda-graph"),
        (("few", "--data-on-device", "maybe"), 2, "'maybe' is not one of auto, yes, no"),
        (("few", "--n-critc", 3), 2, "--n-critic"),
        (
            ("few", "--config", "few.toml"),
            2,
            "few.toml: n_critc is not an option. Did you mean n_critic?",
        ),
        (("few", "--tracker", "mlflow"), 2, "--tracker mlflow is not one of tensorboard, wandb"),
        (("few", "--steps", "many"), 2, "is not a valid integer"),
    ],
)
def test_a_mistake_ends_in_a_sentence(
    tmp_path: Path, run_wgan: RunWgan, arguments: tuple[object, ...], status: int, sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    make_folder(tmp_path / "few", 4)
    make_folder(tmp_path / "damaged", 4, damaged=1)
    (tmp_path / "few.toml").write_text("n_critc = 3\n")
    before = sorted(tmp_path.rglob("*"))
    result = run_wgan("train", *arguments)
    assert result.returncode == status, result.stderr
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_prints_a_config_file_that_the_command_line_overrides(
    tmp_path: Path, run_wgan: RunWgan
) -> None:
    make_folder(tmp_path / "faces", 6)
    printed = run_wgan("train", "faces", *TINY, "--recipe", "article", "--dry-run").stdout
    (tmp_path / "run.toml").write_text(printed)
    again = run_wgan("train", "--config", "run.toml", "--width", 3, "--dry-run").stdout
    # The file has steps, which minutes on the command line replace.
    timed = run_wgan("train", "--config", "run.toml", "--minutes", 1, "--dry-run").stdout
    assert "# plan      1 minutes" in timed
    assert "minutes = 1.0" in timed
    assert "\n# steps = " in timed
    (tmp_path / "few.toml").write_text(printed.replace("\nsteps = 2000", "\nsteps = 7"))
    untimed = run_wgan("train", "--config", "few.toml", "--minutes", 0, "--dry-run").stdout
    assert tomllib.loads(untimed)["steps"] == 7
    values = tomllib.loads(again)
    assert values == {**tomllib.loads(printed), "width": 3}
    assert (values["data"], values["n_critic"], values["beta1"]) == ("faces", 1, 0.5)


def test_compile_is_accepted_with_a_warning(tmp_path: Path, run_wgan: RunWgan) -> None:
    make_folder(tmp_path / "faces", 6)
    result = run_wgan("train", "faces", *TINY, "--compile", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert result.stderr == "Warning: --compile is ignored: wgan no longer compiles steps\n"


def test_a_damaged_image_among_many_is_skipped_and_counted(
    tmp_path: Path, run_wgan: RunWgan
) -> None:
    make_folder(tmp_path / "faces", 120, damaged=1)
    result = run_wgan("train", "faces", *TINY, "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "120 images" in result.stdout
    assert "skipped   1 damaged image\n" in result.stdout
    assert "skipped" in result.stderr
    assert "damaged-0.png" in result.stderr


def test_a_changed_setting_is_named(tmp_path: Path, run_wgan: RunWgan) -> None:
    make_folder(tmp_path / "faces", 4)
    run_wgan("train", "faces", *TINY, "--steps", 1)
    result = run_wgan("train", "faces", *TINY[2:], "--width", 3, "--steps", 2)
    assert result.returncode == 2
    assert "width was 2 when this run began and is now 3" in result.stderr


@pytest.mark.parametrize("spelling", ["faces/", "./faces", "other/../faces"])
def test_another_way_to_write_the_datas_path_is_no_change(
    tmp_path: Path, run_wgan: RunWgan, spelling: str
) -> None:
    make_folder(tmp_path / "faces", 4)
    (tmp_path / "other").mkdir()
    assert run_wgan("train", "faces", *TINY, "--steps", 1, "--run", "run").returncode == 0
    again = run_wgan("train", spelling, *TINY, "--steps", 2, "--run", "run")
    assert again.returncode == 0, again.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["data"] == str(tmp_path / "faces")


def test_a_crop_larger_than_the_images_is_reported(tmp_path: Path, run_wgan: RunWgan) -> None:
    make_folder(tmp_path / "faces", 4)
    result = run_wgan("train", "faces", *TINY, "--crop", 45, "--dry-run")
    assert "--crop 45 is larger than" in result.stderr
    assert "of 50x40 pixels: smaller images are used whole" in result.stderr
    assert run_wgan("train", "faces", *TINY, "--crop", 40, "--dry-run").stderr == ""


def start_training(folder: Path, *arguments: object) -> Process:
    return start(wgan_command("train", "faces", *TINY, "--run", "run", *arguments), folder)


def wait_for(path: Path, process: Process) -> None:
    """Return once something stands at `path`, or the process has ended."""
    end = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    assert path.exists()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_saves_and_says_so(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    make_folder(tmp_path / "faces", 4)
    process = start_training(tmp_path, "--steps", 10**6, "--log-every", 1)
    wait_for(tmp_path / "run" / "metrics.jsonl", process)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == status, stderr
    assert "the same command resumes it" in stdout
    (saved,) = (tmp_path / "run" / "checkpoints").iterdir()
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert Checkpoint.load(saved).step == last["step"]


def test_a_second_process_on_a_run_is_refused_until_the_first_is_gone(
    tmp_path: Path, run_wgan: RunWgan
) -> None:
    make_folder(tmp_path / "faces", 4)
    process = start_training(tmp_path, "--steps", 10**6, "--log-every", 1)
    wait_for(tmp_path / "run" / "metrics.jsonl", process)
    second = run_wgan("train", "--run", "run", "--steps", 10**6)
    process.kill()
    process.communicate(timeout=60)
    assert second.returncode == 1
    assert "another process is training run" in second.stderr
    third = run_wgan("train", "--run", "run", "--steps", 1)
    assert third.returncode == 0, third.stderr


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path, run_wgan: RunWgan) -> None:
    make_folder(tmp_path / "faces", 4)
    process = start_training(tmp_path, "--steps", 10**6, "--checkpoint-every", 5, "--log-every", 1)
    wait_for(tmp_path / "run" / "checkpoints" / "step-00000010.pt", process)
    process.kill()
    process.communicate(timeout=60)
    last = max((tmp_path / "run" / "checkpoints").glob("step-*.pt"))
    step = Checkpoint.load(last).step
    result = run_wgan("train", "--run", "run", "--steps", step + 2)
    assert result.returncode == 0, result.stderr
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == list(range(1, step + 3))


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
def test_a_full_disk_stops_the_run_and_leaves_the_last_checkpoint_good(
    tmp_path: Path, run_wgan: RunWgan
) -> None:
    make_folder(tmp_path / "faces", 4)
    wide = (*TINY, "--width", 16)  # a checkpoint is the largest file by far
    first = run_wgan("train", "faces", *wide, "--run", "run", "--steps", 1)
    assert first.returncode == 0, first.stderr
    saved = tmp_path / "run" / "checkpoints" / "step-00000001.pt"
    blocks = saved.stat().st_size // 1024 // 2  # ulimit counts in kilobytes
    command = " ".join(wgan_command("train", "--run", "run", "--steps", 2))
    result = run(["bash", "-c", f"ulimit -f {blocks}; exec {command}"], tmp_path)
    assert result.returncode == 1
    assert "cannot write run/checkpoints/step-00000002.pt" in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    assert Checkpoint.load(saved).step == 1
