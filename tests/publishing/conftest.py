"""A run, its metrics, and the folders that `wgan publish` makes of it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

from tests.checkpoints import trained_checkpoint
from tests.evaluation.networks import network, save
from tests.processes import run_wgan_command
from tests.runtime import models
from wgan.files import write_whole
from wgan.publishing import PublishConfig, publish
from wgan.runs import Run


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, a run of them, the run's metrics, and `faces-gan`, published."""
    folder = tmp_path_factory.mktemp("workplace")
    (folder / "faces").mkdir()
    random = np.random.RandomState(0)
    for index in range(40):
        pixels = random.randint(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "faces" / f"{index:02}.png")
    save(network(TensorProto.UINT8, ("n", 32, 32, 3)), folder / "features.onnx")
    checkpoint = trained_checkpoint()
    run = Run(folder / "runs" / "faces")
    run.make()
    checkpoint.save(run.checkpoint(checkpoint.step))
    write_whole(run.config, checkpoint.config.to_json().encode())
    write_whole(folder / "runs" / "latest", b"faces\n")
    measure = ("--features", "features.onnx", "-n", 30, "--repeats", 2, "--json", "--data", "faces")
    done = run_wgan_command("eval", *measure, cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "eval.json").write_text(done.stdout)
    told = ("--repo", "somebody/faces-gan", "--license", "cc-by-4.0", "--eval", "eval.json")
    done = run_wgan_command("publish", "faces-gan", *told, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "To upload it:  hf upload somebody/faces-gan faces-gan"
    return folder


@pytest.fixture(scope="session")
def published(workplace: Path) -> Path:
    """A generator in three precisions, published."""
    return workplace / "faces-gan"


@pytest.fixture(scope="session")
def published_classes(tmp_path_factory: pytest.TempPathFactory, conditional_file: Path) -> Path:
    """A generator with classes, some of them with hostile names, published."""
    folder = tmp_path_factory.mktemp("published") / "classes"
    publish(PublishConfig(folder=folder, exports=(conditional_file,)))
    return folder


@pytest.fixture(scope="session")
def hub_cache(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of huggingface_hub, HF_HOME, in whose cache is somebody/faces-gan.

    Its branch main has the published folder, the tag v1 another generator.
    """
    home = tmp_path_factory.mktemp("huggingface")
    repository = home / "hub" / "models--somebody--faces-gan"
    main, v1 = "1" * 40, "2" * 40
    shutil.copytree(published, repository / "snapshots" / main)
    (repository / "snapshots" / v1 / "onnx").mkdir(parents=True)
    other = repository / "snapshots" / v1 / "onnx" / "model.onnx"
    other.write_bytes(models.generator().SerializeToString())
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(main)
    (repository / "refs" / "v1").write_text(v1)
    return home
