"""What the documentation shows is run as it stands."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests.processes import ROOT, run_code, run_wgan_command
from tests.runtime import models
from wgan.evaluation.onnx_features import OnnxFeatures
from wgan.runtime import Generator
from wgan.training.config import TrainConfig
from wgan.training.recipes import RECIPES


def code_blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_page_of_the_recipes_shows_their_values(recipe: str) -> None:
    page = (ROOT / "docs/training.md").read_text()
    (row,) = re.findall(rf"^\| `{recipe}`.*", page, flags=re.MULTILINE)
    config = TrainConfig.resolve({"recipe": recipe})
    rate = f"{config.learning_rate:.0e}".replace("e-0", "e-")
    updates = "each on a fresh batch" if config.fresh_batches else "all on one batch"
    shown = [config.arch, f"| {config.critic_norm} |", rate, f"| {config.n_critic}, {updates} |"]
    if config.optimizer == "adam":
        shown.append(f"Adam {rate}, betas {config.beta1:g}, {config.beta2:g}")
    if config.constraint == "clip":
        shown.append(f"within {config.clip_limit:g}")
    elif config.has_penalty:
        shown.append(f"penalty, weight {config.gp_weight:g}")
    if config.decay_steps:
        shown.append(f"over {config.decay_steps:,} steps")
    assert [text for text in shown if text.lower() not in row.lower()] == []


@pytest.fixture
def own_networks(tmp_path: Path) -> Path:
    networks, _, training = code_blocks("docs/own-networks.md", "python")
    (tmp_path / "my_networks.py").write_text(networks)
    (tmp_path / "training.py").write_text(training)
    return tmp_path


def test_training_ones_own_networks_from_python_is_what_the_page_shows(own_networks: Path) -> None:
    code = (own_networks / "training.py").read_text()
    result = run_code(code, cwd=own_networks)
    assert result.returncode == 0, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        str(step) for step in range(1, 21)
    ]


def test_training_ones_own_networks_from_the_command_line_resumes_and_asks_before_running_code(
    own_networks: Path,
) -> None:
    short = ("--run", "run", "--batch-size", 16, "--steps")
    named = ("--arch", "my_networks:build")
    first = run_wgan_command("train", *named, *short, 2, cwd=own_networks)
    assert first.returncode == 0, first.stderr
    unnamed = run_wgan_command("train", *short, 3, cwd=own_networks)
    assert unnamed.returncode == 2
    assert "give --arch my_networks:build to allow that code to run" in unnamed.stderr
    again = run_wgan_command("train", *named, *short, 3, cwd=own_networks)
    assert again.returncode == 0, again.stderr
    exported = run_wgan_command("export", "run", *named, cwd=own_networks)
    assert exported.returncode == 0, exported.stderr
    drawn = run_wgan_command("sample", "a.png", cwd=own_networks)
    assert drawn.returncode == 0, drawn.stderr


def test_the_features_that_the_page_makes_judge_a_generator(tmp_path: Path) -> None:
    (block,) = code_blocks("docs/evaluating.md", "python")
    made = run_code(block, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    (tmp_path / "generator.onnx").write_bytes(models.generator().SerializeToString())
    features = OnnxFeatures(tmp_path / "mine.onnx", "cpu")
    with Generator(tmp_path / "generator.onnx") as generator:
        seen = features(generator.sample(range(5)))
    assert seen.vectors.shape == (5, 64)


def test_the_python_page_trains_exports_samples_and_evaluates(tmp_path: Path) -> None:
    (features,) = code_blocks("docs/evaluating.md", "python")
    made = run_code(features, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    (tmp_path / "mine.onnx").rename(tmp_path / "features.onnx")
    outputs = []
    for block in code_blocks("docs/python.md", "python"):
        done = run_code(block, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    trained, exported, sampled, looked, evaluated = outputs
    assert trained == "runs/letters/checkpoints/step-00000004.pt\n"
    assert exported.startswith("letters.onnx ")
    assert sampled == "(16, 32, 32, 3)\n"
    assert looked == "(3, 128)\n"
    assert "FID" in evaluated


SHOWN = """
import ast, json, sys
from wgan.images import encode

cells = json.load(open(sys.argv[1]))["cells"]
names = {}
for cell in cells:
    if cell["cell_type"] == "code":
        block = ast.parse("".join(cell["source"]))
        last = block.body.pop() if isinstance(block.body[-1], ast.Expr) else None
        exec(compile(block, "cell", "exec"), names)
        if last is not None:  # a notebook shows the value of a cell's last line
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
            image = getattr(value, "_repr_png_", lambda: None)()
            print(type(value).__name__, image is not None and image[:4] == bytes([137]) + b"PNG")
"""


def test_the_notebook_trains_exports_samples_and_shows_images(tmp_path: Path) -> None:
    done = run_code(SHOWN, ROOT / "docs" / "notebook.ipynb", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *("Distance False", "Generator True", "tuple False"),
        *("Image True", "Image True", "Image True"),
    ]


def test_the_page_on_looking_inside_finds_directions(tmp_path: Path) -> None:
    (block,) = code_blocks("docs/looking-inside.md", "python")
    done = run_code(block, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "(1, 32, 32, 1)\n"
    assert np.load(tmp_path / "directions.npy").shape == (3, 64)


def test_the_readmes_python_draws(tmp_path: Path) -> None:
    (block,) = code_blocks("README.md", "python")
    (tmp_path / "generator.onnx").write_bytes(models.generator().SerializeToString())
    code = f"{block}\nprint(pixels.dtype, pixels.shape)"
    done = run_code(code, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "uint8 (64, 8, 8, 3)\n"


def test_make_bench_and_bench_gpu_name_every_benchmark() -> None:
    scripts = {
        path.stem
        for path in (ROOT / "benchmarks").glob("*.py")
        if "__main__" in path.read_text()  # the others are parts of these
    }
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (named,) = re.findall(r"^BENCHMARKS := (.*)$", makefile, re.MULTILINE)
    on_a_gpu = set(re.findall(r"-m benchmarks\.(\w+) -", makefile))
    assert set(named.split()) | on_a_gpu == scripts


def test_what_the_pages_run_of_benchmarks_is_there() -> None:
    for path in [*(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.py")]:
        text = path.read_text()
        assert "python benchmarks/" not in text, path  # they import each other: -m is needed
        for name in re.findall(r"python -m benchmarks\.([a-z_.]+[a-z_])", text):
            assert (ROOT / "benchmarks" / f"{name.replace('.', '/')}.py").is_file(), (path, name)


def test_the_source_distribution_holds_every_folder() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = told["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    folders = ("wgan", "tests", "benchmarks", "deploy", "docs")
    assert {f"/{folder}" for folder in folders} <= set(included)
