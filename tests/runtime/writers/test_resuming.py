"""Interrupted folders and tars: no incomplete files, and the same job generates the rest."""

import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.runtime import models
from tests.runtime.writers.test_writers import make_job
from wgan.errors import OutputError
from wgan.files import lock_file, open_lock, whole_file
from wgan.latents import ClassInput, Latents
from wgan.runtime import Generator
from wgan.runtime.writers import write


class Failing(Generator):
    """Fails after some batches, as with a full disk or a lost device."""

    batches = 30

    def pixels(self, latents: Latents, labels: ClassInput | None = None) -> Any:
        if self.batches == 0:
            raise OutputError("enough")
        self.batches -= 1
        return super().pixels(latents, labels)


@pytest.fixture
def failing(model_file: Path) -> Failing:
    return Failing(model_file)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.png"))


def side(path: Path) -> int:
    with Image.open(path) as image:
        return image.width


def test_a_resumed_folder_generates_only_missing_images(
    generator: Generator, failing: Failing, tmp_path: Path
) -> None:
    out = f"{tmp_path}/out/"
    with pytest.raises(OutputError, match="enough"):
        write(out, make_job(failing, range(200)))
    begun = names(tmp_path / "out")
    assert 0 < len(begun) < 200
    before = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in begun}
    write(out, make_job(generator, range(200)))
    assert names(tmp_path / "out") == [f"{seed:08d}.png" for seed in range(200)]
    after = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in begun}
    assert before == after
    assert not list((tmp_path / "out").glob("*.partial"))


@pytest.mark.parametrize("label", ["cat", "a" * 40])
def test_what_a_killed_writer_of_a_folder_left_is_removed(
    generator: Generator, tmp_path: Path, label: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    image = out / f"00000007-{label}-3.png"
    with whole_file(image):
        (begun,) = out.iterdir()
    image.rename(begun)  # as if the writer had been killed
    write(f"{out}/", make_job(generator, range(2)))
    assert not begun.exists()


def test_a_tar_that_another_process_writes_is_refused(generator: Generator, tmp_path: Path) -> None:
    path = tmp_path / "out.tar"
    with pytest.raises(OutputError, match="enough"):
        write(str(path), make_job(Failing(models.generator().SerializeToString()), range(200)))
    begun = (tmp_path / ".out.tar.partial").read_bytes()
    with (tmp_path / ".out.tar.partial").open("r+b") as elsewhere:
        assert lock_file(elsewhere)
        for overwrite in (False, True):
            job = make_job(generator, range(200), overwrite=overwrite)
            with pytest.raises(OutputError, match=r"another process is writing .*out\.tar"):
                write(str(path), job)
    assert (tmp_path / ".out.tar.partial").read_bytes() == begun
    write(str(path), make_job(generator, range(200)))
    with tarfile.open(path) as archive:
        assert len(archive.getnames()) == 200


def test_a_complete_folder_generates_nothing(
    generator: Generator, failing: Failing, tmp_path: Path
) -> None:
    out = f"{tmp_path}/out/"
    write(out, make_job(generator))
    failing.batches = 0
    write(out, make_job(failing))


def test_a_file_emptied_by_a_power_cut_is_generated_again(
    generator: Generator, tmp_path: Path
) -> None:
    out = f"{tmp_path}/out/"
    write(out, make_job(generator))
    whole = (tmp_path / "out" / "00000003.png").read_bytes()
    (tmp_path / "out" / "00000003.png").write_bytes(b"")
    write(out, make_job(generator))
    assert (tmp_path / "out" / "00000003.png").read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"scale": 2}, "scale 1, now it is 2"),
        ({"metadata": True}, "metadata False, now it is True"),
    ],
)
@pytest.mark.parametrize("name", ["out/", "out.tar"])
def test_settings_other_than_those_at_the_start_are_refused(
    generator: Generator,
    failing: Failing,
    tmp_path: Path,
    name: str,
    change: dict[str, Any],
    named: str,
) -> None:
    with pytest.raises(OutputError, match="enough"):
        write(f"{tmp_path}/{name}", make_job(failing, range(200)))
    with pytest.raises(OutputError, match=f"was started with {named}: .*--overwrite"):
        write(f"{tmp_path}/{name}", make_job(generator, range(200), **change))
    write(f"{tmp_path}/{name}", make_job(generator, range(200), overwrite=True, **change))


@pytest.mark.parametrize("name", ["out/", "out.tar"])
def test_a_model_other_than_that_at_the_start_is_refused(
    failing: Failing, tmp_path: Path, name: str
) -> None:
    with pytest.raises(OutputError, match="enough"):
        write(f"{tmp_path}/{name}", make_job(failing, range(200)))
    other = Generator(models.generator(1).SerializeToString())
    with pytest.raises(OutputError, match="was started with model_sha256"):
        write(f"{tmp_path}/{name}", make_job(other, range(200)))


def test_a_resumed_tar_has_the_bytes_of_an_uninterrupted_one(
    generator: Generator, failing: Failing, tmp_path: Path
) -> None:
    write(f"{tmp_path}/whole.tar", make_job(generator, range(200)))
    with pytest.raises(OutputError, match="enough"):
        write(f"{tmp_path}/out.tar", make_job(failing, range(200)))
    assert not (tmp_path / "out.tar").exists()
    counting = Failing(models.generator().SerializeToString())
    counting.batches = 45  # of fifty: some must have been kept
    write(f"{tmp_path}/out.tar", make_job(counting, range(200)))
    assert (tmp_path / "out.tar").read_bytes() == (tmp_path / "whole.tar").read_bytes()


def test_a_tar_truncated_anywhere_is_resumed(generator: Generator, tmp_path: Path) -> None:
    job = make_job(generator, range(6))
    write(f"{tmp_path}/whole.tar", job)
    whole = (tmp_path / "whole.tar").read_bytes()
    for length in [*range(0, len(whole), 401), len(whole) - 1]:
        (tmp_path / ".out.tar.partial").write_bytes(whole[:length])
        write(f"{tmp_path}/out.tar", job)
        assert (tmp_path / "out.tar").read_bytes() == whole


def test_a_tar_of_other_seeds_is_refused(
    generator: Generator, failing: Failing, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="enough"):
        write(f"{tmp_path}/out.tar", make_job(failing, range(200)))
    with pytest.raises(OutputError, match=r"\(00000000.png instead of 00000005.png\)"):
        write(f"{tmp_path}/out.tar", make_job(generator, range(5, 205)))


def test_a_longer_job_resumes_a_shorter_one(
    generator: Generator, failing: Failing, tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match="enough"):
        write(f"{tmp_path}/out.tar", make_job(failing, range(200)))
    write(f"{tmp_path}/out.tar", make_job(generator, range(300)))
    write(f"{tmp_path}/whole.tar", make_job(generator, range(300)))
    assert (tmp_path / "out.tar").read_bytes() == (tmp_path / "whole.tar").read_bytes()


@pytest.mark.parametrize("name", ["out.npy", "out.npz", "out.zip", "out.png"])
def test_formats_that_cannot_resume_leave_nothing(
    failing: Failing, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"the one before")
    with pytest.raises(OutputError, match="enough"):
        write(f"{tmp_path}/{name}", make_job(failing, range(200)))
    assert (tmp_path / name).read_bytes() == b"the one before"
    assert list(tmp_path.iterdir()) == [tmp_path / name]


def test_a_damaged_record_is_reported(generator: Generator, tmp_path: Path) -> None:
    write(f"{tmp_path}/out/", make_job(generator))
    (tmp_path / "out" / ".wgan-sample.json").write_text("{")
    with pytest.raises(OutputError, match="has a damaged record: add --overwrite"):
        write(f"{tmp_path}/out/", make_job(generator))
    write(f"{tmp_path}/out/", make_job(generator, overwrite=True))


def test_the_latents_are_part_of_a_folders_settings(generator: Generator, tmp_path: Path) -> None:
    from wgan.runtime.latent_sources import load_latents

    for value in (0, 1):
        np.save(tmp_path / f"{value}.npy", np.full((3, models.LATENT_DIM), value, np.float32))
    first = load_latents(tmp_path / "0.npy", models.LATENT_DIM, 1.0)
    second = load_latents(tmp_path / "1.npy", models.LATENT_DIM, 1.0)
    write(f"{tmp_path}/out/", make_job(generator, source=first))
    with pytest.raises(OutputError, match="was started with latents_sha256"):
        write(f"{tmp_path}/out/", make_job(generator, source=second))


def test_overwrite_removes_the_images_of_other_settings(
    generator: Generator, tmp_path: Path
) -> None:
    out = f"{tmp_path}/out/"
    write(out, make_job(generator, range(6)))
    (tmp_path / "out" / "notes-1.png").write_bytes(b"a user's")
    write(out, make_job(generator, range(2), scale=2, overwrite=True))
    assert names(tmp_path / "out") == ["00000000.png", "00000001.png", "notes-1.png"]
    write(out, make_job(generator, range(6), scale=2))
    assert {side(tmp_path / "out" / f"{seed:08d}.png") for seed in range(6)} == {16}


def test_an_interrupted_overwrite_leaves_no_old_images(
    generator: Generator, failing: Failing, tmp_path: Path
) -> None:
    out = f"{tmp_path}/out/"
    write(out, make_job(generator, range(10)))
    failing.batches = 0
    with pytest.raises(OutputError, match="enough"):
        write(out, make_job(failing, range(10), scale=2, overwrite=True))
    assert names(tmp_path / "out") == []


def test_overwrite_keeps_the_images_of_other_shards(generator: Generator, tmp_path: Path) -> None:
    out = f"{tmp_path}/out/"
    write(out, make_job(generator, range(6), scale=2))
    for first in (0, 1):
        write(out, make_job(generator, range(6), range(first, 6, 2), overwrite=True))
    assert names(tmp_path / "out") == [f"{seed:08d}.png" for seed in range(6)]


def test_overwrite_waits_for_a_shard_that_removes_old_images(
    generator: Generator, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write(f"{out}/", make_job(generator, range(2)))
    lock = open_lock(out / ".wgan-sample.lock")
    assert lock is not None
    job = make_job(generator, range(2), scale=2, overwrite=True)
    with ThreadPoolExecutor() as pool:
        with lock:
            written = pool.submit(write, f"{out}/", job)
            with pytest.raises(TimeoutError):
                written.result(timeout=0.2)
            assert side(out / "00000000.png") == 8
        written.result()
    assert side(out / "00000000.png") == 16


@pytest.mark.parametrize("overwrite", [False, True])
def test_images_that_no_record_describes_are_kept(
    generator: Generator, tmp_path: Path, overwrite: bool
) -> None:
    own = tmp_path / "out" / "00000001.png"
    own.parent.mkdir()
    own.write_bytes(b"a user's")
    with pytest.raises(OutputError, match=r"holds 00000001\.png, which no  wgan sample  wrote"):
        write(f"{tmp_path}/out/", make_job(generator, overwrite=overwrite))
    assert [*own.parent.iterdir()] == [own]
    assert own.read_bytes() == b"a user's"
