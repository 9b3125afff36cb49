"""Who may import whom, by what is loaded in a fresh process."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, environment

TORCH = {"torch", "torchvision"}
EXPORT = {"onnx", "onnxscript"}
HEAVY = TORCH | EXPORT | {"onnxruntime"}


COMMAND = """
import contextlib, io, wgan.cli
sys.argv = ["wgan", "{}"]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    wgan.cli.main()
"""


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(result.stdout.split())


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import wgan", HEAVY | {"numpy", "PIL", "click", "wgan.cli"}),
        ("import wgan.runtime", TORCH | EXPORT | {"wgan.training", "wgan.export", "wgan.cli"}),
        (
            "import wgan.server.main",
            TORCH | EXPORT | {"wgan.training", "wgan.export", "wgan.cli"},
        ),
        (
            "import wgan.runtime.ray",
            TORCH | EXPORT | {"ray", "wgan.training", "wgan.export", "wgan.cli"},
        ),
        (
            "import wgan.training.trainer",
            {"wgan.runtime", "wgan.export", "wgan.evaluation", "wgan.cli", "onnx"},
        ),
        ("import wgan.export.draft", {"wgan.evaluation", "wgan.cli"}),
        (
            "import wgan.evaluation.feature_metrics",
            HEAVY | {"wgan.training.loop", "wgan.runtime", "wgan.cli"},
        ),
        (
            "import wgan.evaluation.evaluator",
            EXPORT | {"onnxruntime", "torch_fidelity", "wgan.export", "wgan.cli"},
        ),
        (
            COMMAND.format("--help"),
            HEAVY | {"numpy", "PIL", "wgan.training.loop", "wgan.training.data"},
        ),
        (
            "import wgan.latent_space.projection, wgan.latent_space.principal_directions",
            TORCH | EXPORT | {"onnxruntime", "cmaes", "wgan.training.loop", "wgan.cli"},
        ),
        (
            "import wgan.publishing.card, wgan.publishing.exports, wgan.publishing.card_images",
            TORCH | EXPORT | {"onnxruntime", "huggingface_hub", "wgan.evaluation", "wgan.cli"},
        ),
        (COMMAND.format("--version"), HEAVY | {"numpy", "PIL"}),
    ],
    ids=[
        *("wgan", "runtime", "server", "cluster", "training", "export"),
        *("metrics", "evaluation", "help", "latent space", "publishing", "version"),
    ],
)
def test_a_room_loads_only_what_it_may(code: str, forbidden: set[str]) -> None:
    assert not loaded_by(code) & forbidden


def imports_of(path: Path) -> set[str]:
    """Every module that a file imports anywhere, within functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute here"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def touch(modules: set[str], package: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for name in modules)


def test_only_rooms_above_both_touch_pytorch_and_the_runtime() -> None:
    imports = {
        path.relative_to(ROOT / "wgan").as_posix(): imports_of(path)
        for path in (ROOT / "wgan").rglob("*.py")
    }
    # Whatever is in these two rooms touches PyTorch, some files by way of others.
    both = {
        name
        for name, modules in imports.items()
        if touch(modules, "wgan.runtime")
        and (name.startswith(("export/", "training/")) or touch(modules, "torch"))
    }
    # The evaluation and the latent space stand above both rooms, and draw with either.
    assert {name.rpartition("/")[0] for name in both} <= {
        *("export/parity", "evaluation", "latent_space")
    }


@pytest.mark.parametrize("room", ["evaluation", "latent_space"])
def test_nothing_but_the_command_line_imports_what_stands_above_both(room: str) -> None:
    importers = {
        path.relative_to(ROOT / "wgan").parts[0]
        for path in (ROOT / "wgan").rglob("*.py")
        if touch(imports_of(path), f"wgan.{room}")
    }
    assert importers == {room, "cli"}
