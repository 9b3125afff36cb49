"""`wgan sample` and the other commands on a generator with classes."""

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.processes import RunWgan
from tests.runtime.models import CLASSES
from wgan.images import grid
from wgan.runtime import Generator, SampleConfig, sample

N = len(CLASSES)


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_one_label_for_all_by_name_or_index(
    run_wgan: RunWgan, conditional_file: Path, conditional: Generator, tmp_path: Path
) -> None:
    for label in ("dog", "1"):
        done = run_wgan("sample", "-n", 4, "--label", label, "--model", conditional_file, "out.png")
        assert (done.returncode, done.stderr) == (0, "wrote 4 images to out.png\n")
        expected = grid(conditional.sample(4, labels="dog"))
        np.testing.assert_array_equal(read(tmp_path / "out.png"), expected)


def texts_of(path: Path) -> dict[Any, Any]:
    with Image.open(path) as opened:
        return opened.info


def draw(model: Path, out: Path, **options: object) -> None:
    sample(SampleConfig(model=str(model), out=str(out), **options))  # type: ignore[arg-type]


def test_labels_say_how_many_images(
    conditional_file: Path, conditional: Generator, tmp_path: Path
) -> None:
    draw(conditional_file, tmp_path / "a.npy", labels=("cat", "0", "3"), seed=5)
    expected = conditional.sample([5, 6, 7], labels=[0, 0, 3])
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), expected)
    draw(conditional_file, tmp_path / "b.npz", seeds="9,2")
    with np.load(tmp_path / "b.npz") as arrays:
        assert sorted(arrays) == ["labels", "pixels", "seeds"]
        assert arrays["labels"].tolist() == [9 % N, 2 % N]
        np.testing.assert_array_equal(arrays["pixels"], conditional.sample([9, 2]))


def test_a_grid_has_a_row_for_each_class(
    conditional_file: Path, conditional: Generator, tmp_path: Path
) -> None:
    draw(conditional_file, tmp_path / "all.png", by_class=True, count=3)
    rows = np.concatenate([conditional.sample(3, labels=label) for label in range(N)])
    np.testing.assert_array_equal(read(tmp_path / "all.png"), grid(rows, (N, 3)))
    draw(conditional_file, tmp_path / "two.png", by_class=True, labels=("7", "dog"))
    rows = np.concatenate([conditional.sample(8, labels=label) for label in (4, 1)])
    np.testing.assert_array_equal(read(tmp_path / "two.png"), grid(rows, (2, 8)))


def test_files_of_a_folder_name_the_class(
    conditional_file: Path, conditional: Generator, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    draw(conditional_file, f"{out}/", count=2, by_class=True)  # type: ignore[arg-type]
    names = sorted(path.name for path in out.glob("*.png"))
    assert len(names) == 2 * N
    assert names[:2] == ["00000000-7.png", "00000000-Groe_Eule.png"]
    found = read(out / "00000001-dog_2.png")
    np.testing.assert_array_equal(found, conditional.sample([1], labels=3)[0])
    draw(conditional_file, f"{out}/", seeds="7,7", labels=("0", "dog"))  # type: ignore[arg-type]
    assert (out / "00000007-cat.png").exists()
    assert (out / "00000007-dog.png").exists()


def test_a_tar_is_resumed_by_name_and_class(conditional_file: Path, tmp_path: Path) -> None:
    draw(conditional_file, tmp_path / "a.tar", count=6, label="dog")
    with tarfile.open(tmp_path / "a.tar") as archive:
        assert archive.getnames() == [f"{seed:08d}-dog.png" for seed in range(6)]


def test_shards_together_are_the_whole_job(conditional_file: Path, tmp_path: Path) -> None:
    draw(conditional_file, f"{tmp_path}/whole/", labels=tuple("0123401"))  # type: ignore[arg-type]
    for shard in ((1, 2), (2, 2)):
        options = {"labels": tuple("0123401"), "shard": shard}
        draw(conditional_file, f"{tmp_path}/parts/", **options)  # type: ignore[arg-type]
    whole, parts = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("*.png")}
        for name in ("whole", "parts")
    )
    assert len(whole) == 7
    assert whole == parts


def test_metadata_names_labels_and_classes(conditional_file: Path, tmp_path: Path) -> None:
    draw(conditional_file, tmp_path / "a.png", seeds="3", label="2", metadata=True)
    texts = texts_of(tmp_path / "a.png")
    assert (texts["wgan.labels"], texts["wgan.classes"]) == ("2", "Große Eule")
    draw(conditional_file, tmp_path / "b.png", count=6, metadata=True)
    texts = texts_of(tmp_path / "b.png")
    assert texts["wgan.labels"] == "0,1,2,3,4,0"
    assert texts["wgan.classes"] == ",".join(CLASSES)


def test_a_path_takes_a_label_for_each_seed(
    conditional_file: Path, conditional: Generator, tmp_path: Path
) -> None:
    draw(
        conditional_file, tmp_path / "a.npy", interpolate="0,0,0", labels=("cat", "dog", "7"),
        frames=3,
    )  # fmt: skip
    expected = conditional.sample([0, 0, 0], labels=[0, 1, 4])
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), expected)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--label", "dgo"], "label 'dgo' is not a class of this model"),
        (["--labels", "0,1,2", "-n", 4], "3 labels are given for 4 images"),
        (["--labels", "0,,1"], "write names or indices, as in cat,0,3"),
        (["--label", 0, "--labels", "0,1"], "--label and --labels exclude each other"),
        (["--by-class", "--label", 0], "--label and --by-class exclude each other"),
        (["--by-class", "--interpolate", "0,1"], "--by-class and --interpolate exclude"),
        (["--interpolate", "0,1", "--labels", "0,1,2"], "3 labels are given for 2 seeds"),
    ],
)
def test_a_wrong_label_is_a_sentence(
    run_wgan: RunWgan, conditional_file: Path, options: list[object], sentence: str
) -> None:
    done = run_wgan("sample", "--model", conditional_file, *options, "out.png")
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--label", 0], "this model has no classes: leave out the label"),
        (["--by-class"], "no classes: leave out --by-class"),
    ],
)
def test_a_model_without_classes_takes_no_label(
    run_wgan: RunWgan, model_file: Path, options: list[object], sentence: str
) -> None:
    done = run_wgan("sample", "--model", model_file, *options, "out.png")
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr


def test_a_seed_of_one_class_twice_is_refused_in_a_folder(
    run_wgan: RunWgan, conditional_file: Path
) -> None:
    options = ["--seeds", "7,7", "--label", "dog"]
    done = run_wgan("sample", "--model", conditional_file, *options, "out/")
    assert "names each image by its seed and its class" in done.stderr


def test_info_verify_and_bench_know_classes(run_wgan: RunWgan, conditional_file: Path) -> None:
    done = run_wgan("info", conditional_file)
    assert "classes       0 cat\n" in done.stdout
    assert "              2 Große Eule\n" in done.stdout
    assert json.loads(run_wgan("info", "--json", conditional_file).stdout)["classes"][1] == "dog"
    done = run_wgan("bench", "--seconds", 0.01, "--batch-sizes", 2, "--json", conditional_file)
    assert done.returncode == 0, done.stderr
    checks = json.loads(run_wgan("verify", "--json", conditional_file).stdout)["checks"]
    passed = {check["name"]: check["passed"] for check in checks}
    assert passed["batch invariance"]
    assert passed["determinism"]


def test_each_row_of_a_direction_has_its_label(
    conditional_file: Path, conditional: Generator, tmp_path: Path
) -> None:
    np.save(tmp_path / "d.npy", np.eye(4, dtype=np.float32))
    draw(
        conditional_file, tmp_path / "a.npy", direction=f"{tmp_path}/d.npy:1", seeds="3,4",
        labels=("dog", "cat"), frames=3,
    )  # fmt: skip
    found = np.load(tmp_path / "a.npy")
    np.testing.assert_array_equal(found[[1, 4]], conditional.sample([3, 4], labels=[1, 0]))
