"""A run of two real ranks: the weights of one process, and what happens when a rank is killed."""

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

from tests.processes import ROOT, Finished, Process, run_wgan_command, start
from tests.training.data.conftest import save_image
from tests.training.distributed.ranks import CASES, normalised, normalised_bf16, streamed, trained
from wgan.errors import RankLost, UsageError
from wgan.runs import Run
from wgan.training.distributed.process_group import (
    SINGLE_PROCESS,
    ProcessGroup,
    _rank_errors,
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
"""Step at which runs of one and two ranks are compared: rounding errors grow with each step."""

# Without the --, torchrun on Python 3.11 takes a --run for an abbreviation of its own --run-path.
TRAIN = (
    "-m", "--", "wgan", "train", "images", "--size", "32", "--channels", "1", "--width", "2",
    "--latent-dim", "4", "--batch-size", "8", "--n-critic", "2", "--log-every", "1",
    "--preview-every", "30", "--checkpoint-every", "5", "--steps", str(STEPS), "--device", "cpu",
    "--flip", "--lr", "2e-4", "--decay-steps", "0", "--precision", "tf32",
)  # fmt: skip


def torchrun(*command: object, folder: Path) -> Process:
    """Start two ranks under torchrun."""
    whole = [*TORCHRUN, *map(str, command)]
    return start(whole, folder, GLOO_SOCKET_IFNAME="lo", OMP_NUM_THREADS="1")


def finish(process: Process) -> Finished:
    with process:
        out, err = process.communicate(timeout=200)
    return Finished(process.args, process.returncode, out, err)


def rank_of(launcher: int, rank: int) -> int:
    """Return the pid of this rank under torchrun."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (place / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if parent == launcher and f"RANK={rank}".encode() in variables:
            return int(place.name)
    raise AssertionError(f"there is no rank {rank} under {launcher}")


def signal_at(process: Process, run_folder: Path, step: int, rank: int, number: int) -> None:
    """Send a signal to one rank as soon as the run has logged `step`."""
    wait_for_step(process, run_folder, 1)
    pid = rank_of(process.pid, rank)  # found early, because the run does not wait
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
    """Return the largest difference between two nested dictionaries of tensors."""
    if isinstance(one, torch.Tensor):
        assert one.shape == two.shape
        return float((one.double() - two.double()).abs().max())
    assert one.keys() == two.keys()
    return max((largest_difference(one[key], two[key]) for key in one), default=0.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with training images."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "images").mkdir()
    random = np.random.RandomState(0)
    for index in range(30):
        pixels = random.randint(0, 256, (32, 32)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which two ranks saved the results of each of CASES."""
    folder = tmp_path_factory.mktemp("ranks")
    pack(folder / "files", folder / "shard-0.tar")
    finished = finish(torchrun(Path(__file__).with_name("ranks.py"), folder, folder=ROOT))
    assert finished.returncode == 0, finished.stderr
    return folder


def pack(files: Path, shard: Path) -> None:
    """Write a shard of twenty images, two of which are damaged."""
    for seed in range(20):
        save_image(files / f"{seed:02}.png", seed)
    for damaged in (3, 12):
        (files / f"{damaged:02}.png").write_bytes(b"no image")
    with tarfile.open(shard, "w") as archive:
        archive.add(files, "")


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """Return a run that two ranks trained without interruption."""
    finished = finish(torchrun(*TRAIN, "--run", "whole", folder=place))
    assert finished.returncode == 0, finished.stderr
    assert "cpu, tf32, 2 processes" in finished.stdout
    assert finished.stdout.count("device    ") == 1  # only the main process reports
    return place / "whole"


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_train_the_weights_of_one_process(ranks: Path, case: str) -> None:
    together, alone = torch.load(ranks / f"{case}.pt", weights_only=True), trained(case)
    for network in ("generator", "critic", "average"):
        assert largest_difference(together[network], alone[network]) <= 1e-5, network


@pytest.mark.parametrize("case", CASES)
def test_the_losses_of_a_step_are_those_of_the_whole_batch(ranks: Path, case: str) -> None:
    together, alone = torch.load(ranks / f"{case}.pt", weights_only=True), trained(case)
    assert largest_difference(together["terms"], alone["terms"]) <= 1e-4


def test_batch_norm_over_two_ranks_is_pytorchs_of_the_whole_batch(ranks: Path) -> None:
    first, second = (torch.load(ranks / f"norm-{k}.pt", weights_only=True) for k in (0, 1))
    whole = normalised()
    for name in ("outputs", "gradient", "second"):
        joined = torch.stack([first[name], second[name]], 1).flatten(0, 1)
        scale = float(whole[name].abs().max())
        assert largest_difference(joined, whole[name]) <= 1e-4 * max(1.0, scale), name
    for name in ("weights", "running", "later"):
        scale = float(whole[name].abs().max())
        assert largest_difference(first[name], whole[name]) <= 1e-5 * max(1.0, scale), name


def test_batch_norm_in_bfloat16_computes_statistics_in_float32(ranks: Path) -> None:
    first, second = (torch.load(ranks / f"norm-bf16-{k}.pt", weights_only=True) for k in (0, 1))
    whole = normalised_bf16()
    joined = torch.stack([first["outputs"], second["outputs"]], 1).flatten(0, 1)
    last_digit = 2**-8 * float(whole["outputs"].abs().max())
    assert largest_difference(joined, whole["outputs"]) <= last_digit
    assert largest_difference(first["running"], whole["running"]) <= 1e-4


def test_an_unknown_batch_norm_is_refused_with_several_ranks() -> None:
    class Own(nn.BatchNorm2d):
        pass

    network = nn.Sequential(nn.Conv2d(3, 3, 1), Own(3))
    assert convert_sync_batchnorm(network, 1) is network
    with pytest.raises(
        UsageError, match="the norm Own of your networks cannot be synchronised over 2"
    ):
        convert_sync_batchnorm(network, 2)


def test_two_ranks_shard_a_stream_and_skip_the_same_damaged_images(ranks: Path) -> None:
    first, second = (torch.load(ranks / f"stream-{k}.pt", weights_only=True) for k in (0, 1))
    assert torch.equal(torch.stack([first, second], 2).flatten(1, 2), streamed(ranks))


def test_a_run_of_two_ranks_ends_with_the_weights_of_a_run_of_one_process(
    place: Path, whole: Path
) -> None:
    alone = run_wgan_command(*TRAIN[3:], "--run", "alone", "--steps", COMPARED, cwd=place)
    assert alone.returncode == 0, alone.stderr
    one, two = (weights(folder, COMPARED) for folder in (place / "alone", whole))
    for network in ("generator", "critic", "average"):
        assert largest_difference(one[network], two[network]) <= 1e-5, network
    assert [line["step"] for line in logged(whole)] == list(range(1, STEPS + 1))
    for mine, other in zip(logged(whole), logged(place / "alone"), strict=False):
        other.pop("novelty", None)
        other.pop("diversity", None)  # logged with the preview at the end of a run
        assert mine == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_torchrun_resumes_exactly_from_the_last_checkpoint_after_a_rank_is_killed(
    place: Path, whole: Path
) -> None:
    restarting = torchrun("--max-restarts", 1, *TRAIN, "--run", "killed", folder=place)
    signal_at(restarting, place / "killed", 12, 1, signal.SIGKILL)
    finished = finish(restarting)
    assert finished.returncode == 0, finished.stderr
    # The other rank says it, unless torchrun sees it first and ends that rank.
    lost = "of this training was killed, or did not answer"
    assert lost in finished.stderr or f"exitcode: -{signal.SIGKILL.value}" in finished.stderr
    assert "(resumed)" in finished.stdout
    assert largest_difference(tensors(weights(whole)), tensors(weights(place / "killed"))) == 0
    assert logged(whole) == logged(place / "killed")
    assert not list((place / "killed").rglob(".*.partial"))


def tensors(fields: dict[str, Any]) -> dict[str, Any]:
    """Return everything in a checkpoint that training changes."""
    optimizers = {name: fields[f"{name}_optimizer"]["state"] for name in ("generator", "critic")}
    names = ("generator", "critic", "average", "noise")
    return {**{name: fields[name] for name in names}, "optimizers": optimizers}


def test_a_run_resumes_after_its_main_process_is_killed(place: Path, whole: Path) -> None:
    command = (*TRAIN, "--run", "no-main")
    first = torchrun(*command, folder=place)
    signal_at(first, place / "no-main", 12, 0, signal.SIGKILL)
    finished = finish(first)
    assert finished.returncode != 0
    again = finish(torchrun(*command, folder=place))
    assert again.returncode == 0, again.stderr
    assert logged(whole) == logged(place / "no-main")


def test_a_rank_that_hangs_is_named_after_the_timeout(place: Path) -> None:
    hanging = torchrun(
        *TRAIN, "--run", "hangs", "--steps", 10**6, "--dist-timeout", 4, folder=place
    )
    wait_for_step(hanging, place / "hangs", 3)
    main, other = (rank_of(hanging.pid, rank) for rank in (0, 1))
    os.kill(other, signal.SIGSTOP)
    begin = time.monotonic()
    while _runs(main):
        assert time.monotonic() - begin < 30
        time.sleep(0.05)
    os.kill(other, signal.SIGKILL)  # torchrun does so after 30 s
    finished = finish(hanging)
    assert finished.returncode != 0
    assert "Error: rank 1 of this training was killed, or did not answer" in finished.stderr
    assert "RuntimeError" not in finished.stderr


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_a_signal_to_one_rank_stops_all_after_the_same_step_and_the_run_resumes(
    place: Path, whole: Path
) -> None:
    command = (*TRAIN, "--run", "stopped")
    first = torchrun(*command, folder=place)
    signal_at(first, place / "stopped", 12, 1, signal.SIGTERM)
    finished = finish(first)
    assert "stopped and saved at step" in finished.stdout, finished.stderr
    newest = Run(place / "stopped").newest_checkpoint()
    assert Run.step_of(newest) == logged(place / "stopped")[-1]["step"] < STEPS
    again = finish(torchrun(*command, folder=place))
    assert again.returncode == 0, again.stderr
    assert largest_difference(tensors(weights(whole)), tensors(weights(place / "stopped"))) == 0


def test_a_batch_that_cannot_be_divided_is_refused_and_another_suggested(place: Path) -> None:
    finished = finish(torchrun(*TRAIN, "--run", "uneven", "--batch-size", 7, folder=place))
    assert finished.returncode != 0
    assert finished.stderr.count("--batch-size 7 cannot be divided among 2 ranks") == 1
    assert "a multiple of 2, such as 6" in finished.stderr
    assert not (place / "uneven").exists()


def test_a_dry_run_of_two_ranks_reports_and_writes_nothing(place: Path) -> None:
    finished = finish(torchrun(*TRAIN, "--run", "dry", "--dry-run", folder=place))
    assert finished.returncode == 0, finished.stderr
    assert "cpu, tf32, 2 processes" in finished.stdout
    assert finished.stdout.count("MiB on the cpu, in each process") == 1
    assert finished.stdout.count("batch_size = 8") == 1
    assert not (place / "dry").exists()


@pytest.mark.parametrize(
    ("size", "batch_size", "accumulate", "suggested"),
    [(2, 7, 1, "6"), (4, 8, 4, "16"), (8, 3, 1, "8"), (3, 24, 2, None), (1, 7, 1, None)],
)
def test_which_batch_sizes_can_be_divided(
    size: int, batch_size: int, accumulate: int, suggested: str | None
) -> None:
    if suggested is None:
        check_divides(size, batch_size, accumulate)
        return
    with pytest.raises(UsageError, match=rf"such as {suggested}$"):
        check_divides(size, batch_size, accumulate)
    check_divides(size, int(suggested), accumulate)


def test_without_a_launcher_there_is_a_single_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    with join(1) as group:
        assert group is SINGLE_PROCESS
        assert group.is_main
        assert group.any(True)
        assert not group.any(False)


def test_a_single_gpu_is_refused_with_several_ranks() -> None:
    group = ProcessGroup(rank=1, size=2, local_rank=1, store=HashStore())
    assert group.device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="--device cuda:0 is not allowed with 2 ranks"):
        group.device("cuda:0")


def test_without_local_rank_ranks_may_share_the_cpu_but_not_a_gpu() -> None:
    group = ProcessGroup(rank=1, size=2, local_rank=None, store=HashStore())
    assert group.device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="LOCAL_RANK is not set"):
        group.device("cuda")


def test_ranks_wait_for_the_first_rank_of_their_own_machine_at_each_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = HashStore()
    monkeypatch.setenv("GROUP_RANK", "0")
    main = ProcessGroup(0, 3, 0, store)
    monkeypatch.setenv("GROUP_RANK", "1")
    first, sibling = ProcessGroup(1, 3, 0, store), ProcessGroup(2, 3, 1, store)
    opened, decoded = threading.Event(), threading.Event()

    def follow() -> None:
        sibling.local_main_first("open", opened.set)
        sibling.local_main_first("decode", decoded.set)

    following = threading.Thread(target=follow)
    following.start()
    main.local_main_first("open", lambda: None)
    main.local_main_first("decode", lambda: None)
    assert not first.local_main_first("open", lambda: opened.wait(0.1))
    assert opened.wait(30)
    assert not first.local_main_first("decode", lambda: decoded.wait(0.1))
    assert decoded.wait(30)
    following.join()


def test_a_failed_collective_becomes_rank_lost_unless_this_rank_is_out_of_memory() -> None:
    closed = pytest.raises(RankLost, match=r"does it for you \(Connection closed by peer\)$")
    with closed, _rank_errors():
        raise RuntimeError("Connection closed by peer\nframe 0")
    with pytest.raises(torch.OutOfMemoryError), _rank_errors():
        raise torch.OutOfMemoryError("CUDA out of memory")
