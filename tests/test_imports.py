"""Who may import whom, by what is loaded in a fresh process."""

import subprocess
import sys

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
            "import wgan.runtime.server.serving",
            TORCH | EXPORT | {"wgan.training", "wgan.export", "wgan.cli"},
        ),
        ("import wgan.training.session", {"wgan.runtime", "wgan.export", "wgan.cli", "onnx"}),
        ("import wgan.export.exporting", {"wgan.cli"}),
        (
            COMMAND.format("--help"),
            HEAVY | {"numpy", "PIL", "wgan.training", "wgan.export", "wgan.runtime"},
        ),
        (COMMAND.format("--version"), HEAVY | {"numpy", "PIL"}),
    ],
    ids=["wgan", "runtime", "server", "training", "export", "help", "version"],
)
def test_a_room_loads_only_what_it_may(code: str, forbidden: set[str]) -> None:
    assert not loaded_by(code) & forbidden


def test_only_parity_touches_both_pytorch_and_the_runtime() -> None:
    importers = {
        path.relative_to(ROOT / "wgan").as_posix()
        for path in (ROOT / "wgan").rglob("*.py")
        if "wgan.runtime" in path.read_text()
        and path.relative_to(ROOT / "wgan").parts[0] in ("export", "training")
    }
    assert importers <= {"export/parity.py"}
