import logging
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.processes import RunWgan
from tests.training.data.conftest import save_image
from tests.training.data.test_shards import make_shard
from wgan.errors import DataError
from wgan.images import Pixels
from wgan.training.config import TrainConfig
from wgan.training.data import (
    Shards,
    StreamingDataset,
    Transform,
    load_data,
    load_images,
    open_data,
    open_source,
)
from wgan.training.data.batches import to_batch
from wgan.training.data.shard_writer import write_shards
from wgan.training.data.sources.glyphs import GlyphSource
from wgan.training.data.stream import EPOCH
from wgan.training.setup import resolve_run
from wgan.training.trainer import Trainer

CPU = torch.device("cpu")
COUNT = 50


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Seven shards of glyphs, the last not full."""
    folder = tmp_path_factory.mktemp("stream") / "shards"
    return write_shards(GlyphSource(COUNT), folder, shard_size=8).pattern


def stream(
    pattern: str,
    *,
    buffer: int = TrainConfig.shuffle_buffer,
    crop: int = 0,
    allow_damaged: bool = False,
) -> StreamingDataset:
    source = open_data(pattern)
    assert isinstance(source, Shards)
    transform = Transform(size=32, channels=3, crop=crop)
    data = load_data(source, transform, buffer=buffer, allow_damaged=allow_damaged)
    assert isinstance(data, StreamingDataset)
    return data


def names(batch: torch.Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in batch]


def to_names(pixels: Pixels) -> list[bytes]:
    return names(to_batch(pixels, CPU).contiguous())


def test_an_epoch_has_each_image_once_and_the_next_another_order(pattern: str) -> None:
    data = stream(pattern)
    assert data.count == COUNT
    batches = data.batches(25, seed=0, device=CPU)
    epochs = [names(batches.next()) + names(batches.next()) for _ in range(2)]
    assert len(set(epochs[0])) == COUNT
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert epochs[0] != epochs[1]


def test_a_stream_has_the_images_of_an_in_memory_dataset(pattern: str) -> None:
    data = stream(pattern)
    shards = [load_images(open_source(path), data.transform) for path in data.shards.paths]
    straight = to_names(np.concatenate([shard.pixels for shard in shards]))
    streamed = names(data.batches(COUNT, seed=1, device=CPU).next().contiguous())
    assert sorted(streamed) == sorted(straight)


def test_prepared_arrays_of_many_bands_are_streamed(tmp_path: Path) -> None:
    values = np.random.RandomState(0).randint(0, 1200, (9, 32, 32, 5), np.uint16)
    np.save(tmp_path / "five.npy", values)
    written = write_shards(open_source(tmp_path / "five.npy"), tmp_path / "shards", shard_size=4)
    transform = Transform(size=32, channels=5, data_range=(0.0, 1000.0))
    streamed = load_data(open_data(written.pattern), transform)
    straight = load_images(open_source(tmp_path / "five.npy"), transform)
    assert streamed.count == 9
    batch = streamed.batches(9, seed=0, device=CPU).next()
    assert sorted(names(batch.contiguous())) == sorted(to_names(straight.pixels))


def test_a_batch_is_float_channels_last_and_in_range(pattern: str) -> None:
    batch = stream(pattern).batches(10, seed=0, device=CPU).next()
    assert (batch.dtype, tuple(batch.shape)) == (torch.float32, (10, 3, 32, 32))
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert batch.min() >= -1
    assert batch.max() <= 1


def test_a_batch_larger_than_the_data_crosses_into_the_next_epoch(pattern: str) -> None:
    batches = stream(pattern).batches(COUNT + 5, seed=0, device=CPU)
    assert len(set(names(batches.next()))) == COUNT
    assert batches.drawn == EPOCH + 5


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("drawn", [0, 1, 4, 9])
def test_resuming_from_a_position_equals_an_uninterrupted_run(
    pattern: str, drawn: int, flip: bool
) -> None:
    straight = stream(pattern, buffer=10).batches(12, seed=3, device=CPU, flip=flip)
    for _ in range(drawn):
        straight.next()
    resumed = stream(pattern, buffer=10).batches(12, seed=3, device=CPU, flip=flip)
    resumed.next()  # setting the position discards this
    resumed.drawn = straight.drawn
    for _ in range(6):
        assert torch.equal(resumed.next(), straight.next())
    assert resumed.drawn == straight.drawn


def test_the_order_depends_on_the_seed_and_the_buffer_mixes_shards(pattern: str) -> None:
    first, second, unmixed = (
        names(stream(pattern, buffer=buffer).batches(COUNT, seed=seed, device=CPU).next())
        for seed, buffer in ((0, COUNT), (1, COUNT), (0, 1))
    )
    assert first != second
    assert first != unmixed
    of_one_shard = names(stream(pattern, buffer=1).batches(8, seed=0, device=CPU).next())
    assert unmixed[:8] == of_one_shard


def test_flipping_mirrors_about_half_of_the_images(pattern: str) -> None:
    plain = stream(pattern).batches(COUNT, seed=0, device=CPU).next()
    flipped = stream(pattern).batches(COUNT, seed=0, device=CPU, flip=True).next()
    as_they_are = set(names(plain.contiguous()))
    mirrored = set(names(plain.flip(3).contiguous()))
    found = [name in mirrored for name in names(flipped.contiguous())]
    assert all(name in mirrored | as_they_are for name in names(flipped.contiguous()))
    assert 10 < sum(found) < 40


def test_other_shards_or_another_transform_have_another_hash(pattern: str) -> None:
    hashes = {
        stream(pattern).sha256,
        stream(pattern, crop=20).sha256,
        stream(pattern.replace("006", "005")).sha256,
    }
    assert len(hashes) == 3
    assert stream(pattern).sha256 in hashes


@pytest.fixture
def damaged(tmp_path: Path) -> str:
    """A shard by another program, with one damaged image among thirty good ones."""
    folder = tmp_path / "files"
    for seed in range(30):
        save_image(folder / f"{seed:02}.png", seed)
    (folder / "15x.png").write_bytes(b"x")
    with tarfile.open(tmp_path / "0.tar", "w") as shard:
        shard.add(folder, "")
    return str(tmp_path / "?.tar")


def test_a_damaged_image_is_skipped_and_logged_once_and_resuming_stays_exact(
    damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = stream(damaged)
    with caplog.at_level(logging.WARNING):
        batches = data.batches(30, seed=0, device=CPU)
        epochs = [batches.next() for _ in range(3)]
    assert caplog.text.count("skipped") == len(data.skipped) == 1
    assert "15x" in data.skipped[0][0]
    assert sorted(names(epochs[0])) == sorted(names(epochs[1]))
    resumed = stream(damaged).batches(30, seed=0, device=CPU)
    resumed.next()
    resumed.next()
    position = resumed.drawn
    again = stream(damaged).batches(30, seed=0, device=CPU)
    again.drawn = position
    assert torch.equal(again.next(), epochs[2])


def test_too_many_damaged_images_are_an_error_unless_allowed(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    for seed in range(30):
        save_image(folder / f"{seed:02}.png", seed)
        (folder / f"{seed:02}x.png").write_bytes(b"x")
    with tarfile.open(tmp_path / "0.tar", "w") as shard:
        shard.add(folder, "")
    with pytest.raises(DataError, match=r"11 of \d+ images are damaged.*--allow-damaged"):
        stream(str(tmp_path / "?.tar")).batches(30, seed=0, device=CPU).next()
    allowed = stream(str(tmp_path / "?.tar"), allow_damaged=True)
    assert len(set(names(allowed.batches(30, seed=0, device=CPU).next()))) == 30
    assert 20 < len(allowed.skipped) <= 30


def test_shards_without_images_are_an_error(tmp_path: Path) -> None:
    make_shard(tmp_path / "0.tar", ["a.txt"])
    with pytest.raises(DataError, match="there are no images"):
        stream(str(tmp_path / "?.tar")).batches(1, seed=0, device=CPU).next()


def train(pattern: str, folder: Path, steps: int) -> dict[str, torch.Tensor]:
    """Train on the stream up to `steps`, and return the generator's weights."""
    settings = {"data": pattern, "width": 2, "latent_dim": 4, "batch_size": 8, "n_critic": 2}
    settings |= {
        "decay_steps": 0,
        "flip": True,
        "holdout": 0.2,
        "shuffle_buffer": 10,
        "steps": steps,
    }
    run, config, source = resolve_run(settings, run=folder)
    transform = Transform.from_config(config, config.size, config.channels)
    data = load_data(source, transform, buffer=config.shuffle_buffer)
    with Trainer(run, config, data, CPU) as trainer:
        list(trainer.train())
    weights: dict[str, torch.Tensor] = trainer.state.generator.state_dict()
    return weights


def test_a_resumed_run_on_a_stream_is_the_same_bit_for_bit(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    once = train(pattern, tmp_path / "once", steps=7)
    train(pattern, tmp_path / "twice", steps=3)
    twice = train(pattern, tmp_path / "twice", steps=7)
    assert all(torch.equal(once[name], twice[name]) for name in once)


def test_held_out_images_are_never_trained_on(pattern: str) -> None:
    data = stream(pattern)
    train_images, held_out = (
        to_names(part.pixels) for part in data.train_and_holdout(0.3, seed=5, n=COUNT)
    )
    assert 3 < len(held_out) < 30
    assert len(train_images) + len(held_out) == COUNT
    batches = data.batches(len(train_images), seed=5, device=CPU, holdout=0.3)
    for _ in range(2):
        assert sorted(names(batches.next().contiguous())) == sorted(train_images)


def test_a_sample_has_at_most_n_images(pattern: str) -> None:
    train_images, held_out = stream(pattern).train_and_holdout(0.3, seed=5, n=2)
    assert train_images.pixels.shape == held_out.pixels.shape == (2, 32, 32, 3)
    train_images, held_out = stream(pattern).train_and_holdout(0.0, seed=5, n=2)
    assert len(held_out.pixels) == 0


def test_the_command_trains_on_shards(pattern: str, run_wgan: RunWgan, tmp_path: Path) -> None:
    settings = ["--steps", 2, "--width", 2, "--batch-size", 8, "--device", "cpu"]
    done = run_wgan("train", pattern, *settings)
    assert done.returncode == 0, done.stderr
    assert "50 images" in done.stdout
    assert (tmp_path / "runs" / "shards-32-tuned" / "checkpoints" / "step-00000002.pt").is_file()
