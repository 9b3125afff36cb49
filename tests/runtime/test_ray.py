"""Sampling on a real Ray cluster of this machine, stopped and with a killed worker."""

import os
import re
import signal
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.processes import Process, RunWgan, children_of, start, wait_until, wgan_command
from tests.runtime import models
from tests.runtime.writers.test_writers import make_job
from wgan.errors import OutputError, UsageError
from wgan.files import lock_file
from wgan.runtime import Generator, SampleConfig, sample
from wgan.runtime.labels import make_labelling
from wgan.runtime.latent_sources import SeedLatents
from wgan.runtime.ray import LOCK, ShardJob, write_shard
from wgan.runtime.writers import write
from wgan.runtime.writers.folders import can_resume

COUNT, SHARD_SIZE = 24_000, 3_000

PARTIAL = re.compile(r"\.(shard-\d+\.tar)\.(\d+)-\d+\.partial")


def seeds_in(shards: Sequence[Path]) -> list[int]:
    """Return the seeds of all shards, from the names of their members, as in 00000042-boot.png."""
    seeds = []
    for path in shards:
        with tarfile.open(path) as archive:
            seeds += [int(Path(name).stem.partition("-")[0]) for name in archive.getnames()]
    return seeds


def sample_on_ray(folder: Path, count: int = COUNT, shard_size: int = SHARD_SIZE) -> Process:
    command = wgan_command("sample", "--ray", "-n", count, "--shard-size", shard_size, "--model",
                           "builtin", "out/")  # fmt: skip
    return start(command, folder, RAY_ADDRESS="local")


def wait_for(process: Process, folder: Path, pattern: str) -> Path:
    """Wait for a file in `folder`."""
    end = time.monotonic() + 120
    while True:
        found = sorted(folder.glob(pattern))
        if found:
            return found[0]
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_is_left_running")
@pytest.mark.skipif(sys.platform != "linux", reason="needs signals and a fork")
def test_a_stopped_job_resumes_and_a_killed_worker_costs_no_seed(
    tmp_path: Path, run_wgan: RunWgan
) -> None:
    pytest.importorskip("ray", exc_type=ImportError)
    out = tmp_path / "out"

    stopped = sample_on_ray(tmp_path)
    wait_for(stopped, out, "shard-*.tar")
    stopped.send_signal(signal.SIGTERM)
    _, told = stopped.communicate(timeout=100)
    assert stopped.returncode == 143, told
    assert "stopped; the same command resumes" in told
    before = {path: path.stat().st_mtime_ns for path in out.glob("shard-*.tar")}
    assert 0 < len(before) < COUNT // SHARD_SIZE
    assert len(seeds_in(list(before))) == len(before) * SHARD_SIZE  # whole ones only

    again = sample_on_ray(tmp_path)
    # Those that the stop left behind are removed first; what comes then is a worker's.
    wait_for(again, out, "shard-*.tar")
    left = set(out.glob(".*.partial"))
    while not (fresh := [path for path in out.glob(".*.partial") if path not in left]):
        assert again.poll() is None, again.communicate()
        time.sleep(0.002)
    name = PARTIAL.fullmatch(fresh[0].name)
    assert name is not None
    os.kill(int(name[2]), signal.SIGKILL)  # the worker that writes it
    _, told = again.communicate(timeout=200)
    assert again.returncode == 0, told

    shards = sorted(out.glob("*.tar"))
    assert len(shards) == COUNT // SHARD_SIZE
    assert seeds_in(shards) == list(range(COUNT))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not list(out.glob(".*.partial"))
    plain = run_wgan("sample", "--model", "builtin", "--seeds", "3000-5999", "one.tar")
    assert plain.returncode == 0, plain.stderr
    assert (tmp_path / "one.tar").read_bytes() == shards[1].read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_is_left_running")
@pytest.mark.skipif(sys.platform != "linux", reason="needs signals and a fork")
@pytest.mark.parametrize("at_work", [False, True], ids=["Ray starts", "Ray works"])
def test_a_stop_does_not_wait_for_a_shard(tmp_path: Path, at_work: bool) -> None:
    pytest.importorskip("ray", exc_type=ImportError)
    stopped = sample_on_ray(tmp_path, count=4_000_000, shard_size=1_000_000)  # of minutes each
    if at_work:
        wait_for(stopped, tmp_path / "out", ".shard-*.partial")
    else:
        wait_until(lambda: any(children_of(child) for child in children_of(stopped.pid)))
    stopped.send_signal(signal.SIGTERM)
    _, told = stopped.communicate(timeout=120)
    assert stopped.returncode == 143
    # While Ray starts, its own handler may raise in a hook of filelock, where Python prints it.
    last = told.splitlines()[-1]
    assert last.startswith("stopped; ")
    if at_work or "Exception ignored" not in told:
        assert told == "stopped; the same command resumes\n"


def shared(model_file: Path, folder: Path) -> ShardJob:
    return ShardJob(model_file.read_bytes(), SampleConfig(), folder)


def test_a_shard_is_the_tar_of_its_seeds(
    model_file: Path, generator: Generator, tmp_path: Path
) -> None:
    can_resume(tmp_path, {}, overwrite=False)
    write_shard(shared(model_file, tmp_path), "shard-00001.tar", SeedLatents(1.0, range(5, 12), 4))
    write(str(tmp_path / "plain.tar"), make_job(generator, range(5, 12), batch_size=None))
    plain = (tmp_path / "plain.tar").read_bytes()
    assert (tmp_path / "shard-00001.tar").read_bytes() == plain


def test_a_shard_has_the_classes_of_its_seeds(tmp_path: Path) -> None:
    generator = Generator(models.sealed(models.conditional()))
    seeds = range(5, 12)
    labelling = make_labelling(generator.classes, None, len(seeds))
    can_resume(tmp_path, {}, overwrite=False)
    job = ShardJob(generator.content(), SampleConfig(), tmp_path)
    source = SeedLatents(1.0, seeds, generator.latent_dim, labelling=labelling)
    write_shard(job, "shard-00001.tar", source)
    write(str(tmp_path / "plain.tar"), make_job(generator, source=source, batch_size=None))
    plain = (tmp_path / "plain.tar").read_bytes()
    assert (tmp_path / "shard-00001.tar").read_bytes() == plain


def test_a_machine_that_does_not_see_the_folder_reports_it(
    model_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="a folder that all machines of the Ray cluster share"):
        write_shard(
            shared(model_file, tmp_path / "elsewhere"),
            "shard-00000.tar",
            SeedLatents(1.0, range(3), 4),
        )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--ray", "out.tar"), "end 'out.tar' in a slash"),
        (("--ray", "--shard", "1/2", "out/"), "--shard and --ray exclude each other"),
        (("--shard-size", "10", "out/"), "--shard-size requires --ray"),
        (("--ray", "--interpolate", "1,2", "out/"), "leave out --latents, --interpolate and"),
        (("--ray", "--shard-size", "0", "out/"), "--shard-size 0 is not allowed"),
        (("--ray", "--grid", "2x2", "out/"), "leave out --images and --grid"),
        (("--ray", "--seeds", "5,5", "out/"), "seed 5 is given twice"),
    ],
    ids=str,
)
def test_options_that_exclude_ray_are_refused_before_ray_starts(
    run_wgan: RunWgan, arguments: tuple[str, ...], told: str
) -> None:
    finished = run_wgan("sample", "--model", "builtin", *arguments)
    assert finished.returncode == UsageError.exit_status
    assert told in finished.stderr


def test_a_folder_started_with_other_shards_is_refused(run_wgan: RunWgan, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    can_resume(tmp_path / "out", {"shard_size": 5}, overwrite=False)
    finished = run_wgan("sample", "--model", "builtin", "--ray", "out/")
    assert finished.returncode == OutputError.exit_status
    assert "was started with" in finished.stderr


def test_foreign_shards_are_not_overwritten(run_wgan: RunWgan, tmp_path: Path) -> None:
    theirs = tmp_path / "out" / "shard-000000.tar"
    theirs.parent.mkdir()
    theirs.write_bytes(b"theirs")
    finished = run_wgan("sample", "--model", "builtin", "--ray", "out/")
    assert finished.returncode == OutputError.exit_status
    assert "holds shard-000000.tar" in finished.stderr
    assert theirs.read_bytes() == b"theirs"


def test_a_shard_that_cannot_be_removed_is_named(run_wgan: RunWgan, tmp_path: Path) -> None:
    (tmp_path / "out" / "shard-000000.tar").mkdir(parents=True)
    finished = run_wgan("sample", "--model", "builtin", "--ray", "--overwrite", "out/")
    assert finished.returncode == OutputError.exit_status
    assert "cannot remove" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_folder_locked_by_another_command_is_refused(run_wgan: RunWgan, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / LOCK).open("ab") as file:
        assert lock_file(file)
        finished = run_wgan("sample", "--model", "builtin", "--ray", "out/")
    assert finished.returncode == OutputError.exit_status
    assert "another process is writing" in finished.stderr


def test_this_process_opens_the_model_on_the_cpu_whatever_the_workers_use(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        "wgan.runtime.ray.write_shards", lambda out, job, model: asked.append(job.config)
    )
    # Without Ray this device is refused where its package is not installed.
    sample(
        SampleConfig(
            model=str(model_file), out=f"{tmp_path}/o/", ray=True, device="openvino", compute="bf16"
        )
    )
    assert [(config.device, config.compute) for config in asked] == [("openvino", "bf16")]
