"""Two real processes that train one run: the same weights as one, and what a kill does."""

import json
import os
import signal
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch._C._distributed_c10d import HashStore

from tests.processes import ROOT, Finished, Process, run, start, wgan_command
from tests.training.data.conftest import save_image
from tests.training.distributed.ranks import CASES, normalised, normalised_bf16, streamed, trained
from wgan.errors import RankFailed, RankLost, UsageError
from wgan.runs import Run
from wgan.training.distributed.process_group import (
    SINGLE_PROCESS,
    ProcessGroup,
    _collective,
    check_divides,
    join,
)
from wgan.training.distributed.sync_batch_norm import convert_sync_batchnorm

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("nothing_is_left_running"),
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc"),
]

TORCHRUN = (
    sys.executable, "-m", "torch.distributed.run",
    "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", "2",
)  # fmt: skip

STEPS = 30

COMPARED = 5
"""At this step runs of one process and of two are compared: rounding grows from step to step."""

# Without the --, torchrun on Python 3.11 takes a --run for an abbreviation of its own --run-path.
TRAIN = (
    "-m", "--", "wgan", "train", "images", "--size", "32", "--channels", "1", "--width", "2",
    "--latent-dim", "4", "--batch-size", "8", "--n-critic", "2", "--log-every", "1",
    "--preview-every", "30", "--checkpoint-every", "5", "--steps", str(STEPS), "--device", "cpu",
    "--flip",
)  # fmt: skip


def of_two(*command: object, folder: Path) -> Process:
    """Start two processes under torchrun."""
    whole = [*TORCHRUN, *map(str, command)]
    return start(whole, folder, GLOO_SOCKET_IFNAME="lo", OMP_NUM_THREADS="1")


def finish(process: Process) -> Finished:
    with process:
        out, err = process.communicate(timeout=200)
    return Finished(process.args, process.returncode, out, err)


def rank_of(launcher: int, rank: int) -> int:
    """The pid of the process of this rank under torchrun."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (place / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if parent == launcher and f"RANK={rank}".encode() in variables:
            return int(place.name)
    raise AssertionError(f"there is no process {rank} under {launcher}")


def signal_at(process: Process, run_folder: Path, step: int, rank: int, number: int) -> None:
    """Send a signal to one process as soon as the run has logged `step`."""
    wait_for_step(process, run_folder, 1)
    pid = rank_of(process.pid, rank)  # found before, since the run goes on meanwhile
    wait_for_step(process, run_folder, step)
    os.kill(pid, number)


def wait_for_step(process: Process, run_folder: Path, step: int) -> None:
    """Wait until the run has logged `step`."""
    end = time.monotonic() + 120
    while not any(line["step"] >= step for line in logged(run_folder)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def logged(run_folder: Path) -> list[dict[str, Any]]:
    try:
        text = (run_folder / "metrics.jsonl").read_text()
    except FileNotFoundError:
        return []
    measured = ("seconds_per_step", "images_per_second", "memory_mib")
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [{k: v for k, v in line.items() if k not in measured} for line in lines]


def weights(run_folder: Path, step: int = STEPS) -> dict[str, Any]:
    fields: dict[str, Any] = torch.load(Run(run_folder).checkpoint(step), weights_only=True)
    return fields


def largest_difference(one: Any, two: Any) -> float:
    """Over all tensors of two nested dictionaries of the same names."""
    if isinstance(one, torch.Tensor):
        assert one.shape == two.shape
        return float((one.double() - two.double()).abs().max())
    assert one.keys() == two.keys()
    return max((largest_difference(one[key], two[key]) for key in one), default=0.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images to learn from."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "images").mkdir()
    random = np.random.RandomState(0)
    for index in range(30):
        pixels = random.randint(0, 256, (32, 32)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes wrote that trained each of CASES together."""
    folder = tmp_path_factory.mktemp("ranks")
    pack(folder / "files", folder / "shard-0.tar")
    finished = finish(of_two(Path(__file__).with_name("ranks.py"), folder, folder=ROOT))
    assert finished.returncode == 0, finished.stderr
    return folder


def pack(files: Path, shard: Path) -> None:
    """A shard of twenty images, two of which are damaged."""
    for seed in range(20):
        save_image(files / f"{seed:02}.png", seed)
    for damaged in (3, 12):
        (files / f"{damaged:02}.png").write_bytes(b"no image")
    with tarfile.open(shard, "w") as archive:
        archive.add(files, "")


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """A run that two processes trained from its beginning to its end."""
    finished = finish(of_two(*TRAIN, "--run", "whole", folder=place))
    assert finished.returncode == 0, finished.stderr
    assert "cpu, 2 processes" in finished.stdout
    assert finished.stdout.count("generator ") == 1  # one of them speaks
    return place / "whole"


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_the_weights_of_one(ranks: Path, case: str) -> None:
    together, alone = torch.load(ranks / f"{case}.pt", weights_only=True), trained(case)
    for network in ("generator", "critic", "average"):
        assert largest_difference(together[network], alone[network]) <= 1e-5, network


@pytest.mark.parametrize("case", CASES)
def test_what_a_step_tells_is_of_the_whole_batch(ranks: Path, case: str) -> None:
    together, alone = torch.load(ranks / f"{case}.pt", weights_only=True), trained(case)
    assert largest_difference(together["terms"], alone["terms"]) <= 1e-4


def test_a_batch_norm_that_is_spread_over_two_is_pytorchs_of_all_rows(ranks: Path) -> None:
    first, second = (torch.load(ranks / f"norm-{k}.pt", weights_only=True) for k in (0, 1))
    whole = normalised()
    for name in ("outputs", "gradient", "second"):
        joined = torch.stack([first[name], second[name]], 1).flatten(0, 1)
        scale = float(whole[name].abs().max())
        assert largest_difference(joined, whole[name]) <= 1e-4 * max(1.0, scale), name
    for name in ("weights", "running", "later"):
        scale = float(whole[name].abs().max())
        assert largest_difference(first[name], whole[name]) <= 1e-5 * max(1.0, scale), name


def test_a_batch_norm_of_bfloat16_takes_its_statistics_in_float32(ranks: Path) -> None:
    first, second = (torch.load(ranks / f"norm-bf16-{k}.pt", weights_only=True) for k in (0, 1))
    whole = normalised_bf16()
    joined = torch.stack([first["outputs"], second["outputs"]], 1).flatten(0, 1)
    last_digit = 2**-8 * float(whole["outputs"].abs().max())
    assert largest_difference(joined, whole["outputs"]) <= last_digit
    assert largest_difference(first["running"], whole["running"]) <= 1e-4


def test_a_batch_norm_of_somebodys_own_is_refused_by_several_processes() -> None:
    class Own(nn.BatchNorm2d):
        pass

    network = nn.Sequential(nn.Conv2d(3, 3, 1), Own(3))
    assert convert_sync_batchnorm(network, 1) is network
    with pytest.raises(
        UsageError, match="the norm Own of your networks cannot count the rows of 2"
    ):
        convert_sync_batchnorm(network, 2)


def test_two_processes_share_out_a_stream_and_agree_on_what_is_damaged(ranks: Path) -> None:
    first, second = (torch.load(ranks / f"stream-{k}.pt", weights_only=True) for k in (0, 1))
    assert torch.equal(torch.stack([first, second], 2).flatten(1, 2), streamed(ranks))


def test_a_run_of_two_processes_ends_with_the_weights_of_a_run_of_one(
    place: Path, whole: Path
) -> None:
    alone = run(wgan_command(*TRAIN[3:], "--run", "alone", "--steps", COMPARED), place)
    assert alone.returncode == 0, alone.stderr
    one, two = (weights(folder, COMPARED) for folder in (place / "alone", whole))
    for network in ("generator", "critic", "average"):
        assert largest_difference(one[network], two[network]) <= 1e-5, network
    assert [line["step"] for line in logged(whole)] == list(range(1, STEPS + 1))
    for mine, other in zip(logged(whole), logged(place / "alone"), strict=False):
        other.pop("diversity", None)  # a run's end has a preview
        assert mine == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_a_killed_process_is_told_and_torchrun_goes_on_from_the_last_checkpoint_exactly(
    place: Path, whole: Path
) -> None:
    restarting = of_two("--max-restarts", 1, *TRAIN, "--run", "killed", folder=place)
    signal_at(restarting, place / "killed", 12, 1, signal.SIGKILL)
    finished = finish(restarting)
    assert finished.returncode == 0, finished.stderr
    assert "Error: another process of this training was killed" in finished.stderr
    assert "(goes on)" in finished.stdout
    assert largest_difference(tensors(weights(whole)), tensors(weights(place / "killed"))) == 0
    assert logged(whole) == logged(place / "killed")
    assert not list((place / "killed").rglob(".*.partial"))


def tensors(fields: dict[str, Any]) -> dict[str, Any]:
    """Everything of a checkpoint that training changes."""
    optimizers = {name: fields[f"{name}_optimizer"]["state"] for name in ("generator", "critic")}
    names = ("generator", "critic", "average", "noise")
    return {**{name: fields[name] for name in names}, "optimizers": optimizers}


def test_the_killed_leader_leaves_a_run_that_goes_on(place: Path, whole: Path) -> None:
    command = (*TRAIN, "--run", "leaderless")
    first = of_two(*command, folder=place)
    signal_at(first, place / "leaderless", 12, 0, signal.SIGKILL)
    finished = finish(first)
    assert finished.returncode != 0
    again = finish(of_two(*command, folder=place))
    assert again.returncode == 0, again.stderr
    assert logged(whole) == logged(place / "leaderless")


def test_a_process_that_hangs_is_given_up_after_the_time_out(place: Path) -> None:
    hanging = of_two(*TRAIN, "--run", "hangs", "--steps", 10**6, "--dist-timeout", 4, folder=place)
    wait_for_step(hanging, place / "hangs", 3)
    leader, other = (rank_of(hanging.pid, rank) for rank in (0, 1))
    os.kill(other, signal.SIGSTOP)
    begin = time.monotonic()
    while _runs(leader):
        assert time.monotonic() - begin < 30
        time.sleep(0.05)
    os.kill(other, signal.SIGKILL)  # torchrun does so after 30 s
    finished = finish(hanging)
    assert finished.returncode != 0
    assert "gave no answer within the --dist-timeout" in finished.stderr
    assert "RuntimeError" not in finished.stderr


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_a_signal_stops_all_after_the_same_step_and_the_same_command_goes_on(
    place: Path, whole: Path
) -> None:
    command = (*TRAIN, "--run", "stopped")
    first = of_two(*command, folder=place)
    signal_at(first, place / "stopped", 12, 1, signal.SIGTERM)  # one of them alone
    finished = finish(first)
    assert "stopped and saved at step" in finished.stdout, finished.stderr
    newest = Run(place / "stopped").newest_checkpoint()
    assert Run.step_of(newest) == logged(place / "stopped")[-1]["step"] < STEPS
    again = finish(of_two(*command, folder=place))
    assert again.returncode == 0, again.stderr
    assert largest_difference(tensors(weights(whole)), tensors(weights(place / "stopped"))) == 0


def test_a_batch_that_cannot_be_shared_out_is_refused_with_one_that_can(place: Path) -> None:
    finished = finish(of_two(*TRAIN, "--run", "uneven", "--batch-size", 7, folder=place))
    assert finished.returncode != 0
    assert finished.stderr.count("--batch-size 7 cannot be shared out among 2 processes") == 1
    assert "a multiple of 2, such as 6" in finished.stderr
    assert not (place / "uneven").exists()


def test_a_dry_run_of_two_processes_says_what_they_would_do_and_does_nothing(place: Path) -> None:
    finished = finish(of_two(*TRAIN, "--run", "dry", "--dry-run", folder=place))
    assert finished.returncode == 0, finished.stderr
    assert "cpu, 2 processes" in finished.stdout
    assert finished.stdout.count("MiB on the cpu, in each process") == 1
    assert finished.stdout.count('"batch_size": 8') == 1
    assert not (place / "dry").exists()


@pytest.mark.parametrize(
    ("size", "batch_size", "accumulate", "wanted"),
    [(2, 7, 1, "6"), (4, 8, 4, "16"), (8, 3, 1, "8"), (3, 24, 2, None), (1, 7, 1, None)],
)
def test_what_can_be_shared_out(
    size: int, batch_size: int, accumulate: int, wanted: str | None
) -> None:
    if wanted is None:
        check_divides(size, batch_size, accumulate)
        return
    with pytest.raises(UsageError, match=rf"such as {wanted}$"):
        check_divides(size, batch_size, accumulate)
    check_divides(size, int(wanted), accumulate)


def test_a_process_that_no_launcher_started_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with join(1) as group:
        assert group is SINGLE_PROCESS
        assert group.is_main
        assert group.any(True)
        assert not group.any(False)


def test_one_device_is_not_given_to_several_processes() -> None:
    group = ProcessGroup(rank=1, size=2, local_rank=1, store=HashStore())
    assert group.device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="--device cuda:0 is not allowed for 2 processes"):
        group.device("cuda:0")


def test_without_local_rank_a_gpu_is_not_given_to_all_and_a_cpu_is() -> None:
    group = ProcessGroup(rank=1, size=2, local_rank=None, store=HashStore())
    assert group.device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="LOCAL_RANK is not set"):
        group.device("cuda")


def test_each_machine_waits_for_its_own_first_process_at_each_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = HashStore()
    monkeypatch.setenv("GROUP_RANK", "0")
    leader = ProcessGroup(0, 3, 0, store)
    monkeypatch.setenv("GROUP_RANK", "1")
    first, sibling = ProcessGroup(1, 3, 0, store), ProcessGroup(2, 3, 1, store)
    opened, decoded = threading.Event(), threading.Event()

    def follow() -> None:
        sibling.local_main_first("open", opened.set)
        sibling.local_main_first("decode", decoded.set)

    following = threading.Thread(target=follow)
    following.start()
    leader.local_main_first("open", lambda: None)
    leader.local_main_first("decode", lambda: None)
    assert not first.local_main_first("open", lambda: opened.wait(0.1))
    assert opened.wait(30)
    assert not first.local_main_first("decode", lambda: decoded.wait(0.1))
    assert decoded.wait(30)
    following.join()


def test_an_error_that_nobody_foresaw_is_told_to_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    groups = []

    def fail() -> None:
        with join(1) as group:
            groups.append(group)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert groups[0].failure_announced()
    with pytest.raises(RankFailed):
        groups[0].store_get("ready")


def test_a_collective_that_fails_says_why_and_a_shortage_of_memory_stays_one() -> None:
    def fails(error: Exception) -> None:
        raise error

    with pytest.raises(RankLost, match=r"by itself \(Connection closed by peer\)$"):
        _collective(lambda: fails(RuntimeError("Connection closed by peer\nframe 0")))
    with pytest.raises(torch.OutOfMemoryError):
        _collective(lambda: fails(torch.OutOfMemoryError("CUDA out of memory")))
