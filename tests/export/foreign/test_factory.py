"""The code that `--module` names is imported and called, and ends in a generator or a sentence."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.processes import RunWgan
from wgan.errors import UsageError
from wgan.export import export_module
from wgan.export.foreign.factory import make_module, without_wrappers
from wgan.export.foreign.weights import put_weights
from wgan.training.config import TrainConfig
from wgan.training.networks import build, load_architecture


def test_a_file_comes_before_an_installed_module_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for folder in (tmp_path, tmp_path / "mine"):
        (folder / "json.py").write_text("from torch import nn\nmake = nn.Identity")
    for name in ("json.py", "./mine/json.py", str(tmp_path / "json.py")):
        assert isinstance(make_module(f"{name}:make"), nn.Identity)
    with pytest.raises(UsageError, match=r"there is no file mine/other\.py"):
        make_module("mine/other.py:make")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module_here:f", "there is no module no_such_module_here"),
        ("torch.nn:Nothing", "torch.nn has no 'Nothing'"),
        ("torch.nn:Linear", "cannot be called .*: write a function without arguments"),
        ("builtins:dict", "returned 'dict'"),
        (":f", "write package.module:function"),
        ("mygan", "write package.module:function"),
        ("mygan:", "write package.module:function"),
    ],
)
def test_functions_that_make_no_module_are_named(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_module(name)


@pytest.mark.parametrize(
    ("code", "error"), [("raise ValueError('a bug')", ValueError), ("''.size", AttributeError)]
)
def test_an_error_inside_the_code_is_its_own(
    tmp_path: Path, code: str, error: type[Exception]
) -> None:
    (tmp_path / "faulty.py").write_text(code)
    with pytest.raises(error):
        make_module(f"{tmp_path / 'faulty.py'}:make")


CODE = """
import argparse, sys
from torch import nn

def make(config=None):
    return nn.Identity()

def ends(config=None):
    sys.exit(3)

def needs_a_file(config=None):
    open("no/such/file")

def parses(config=None):
    argparse.ArgumentParser().parse_args()
    return nn.Identity(), nn.Identity()

def needs_an_option(config=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", required=True)
    parser.parse_args()
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["wgan", "export", "--module", "theirs:make"])
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    (tmp_path / "theirs.py").write_text(CODE)
    (tmp_path / "their_script.py").write_text(f"{CODE}\nsys.exit(0)")
    yield
    for name in ("theirs", "their_script"):
        sys.modules.pop(name, None)


ENDINGS = [
    ("their_script:make", r"their_script\.py ends the program when it is imported \(exit 0\)"),
    ("theirs:ends", r"theirs\.py ends the program when it is called \(exit 3\)"),
    ("theirs:needs_an_option", r"theirs\.py reads the command line when it is called"),
    ("theirs:needs_a_file", r"theirs\.py fails when it is called: No such file .*no/such/file"),
]


@pytest.mark.parametrize(("name", "message"), ENDINGS)
@pytest.mark.usefixtures("code")
def test_code_that_ends_the_program_is_a_sentence(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"--module {name}: {message}"):
        make_module(name)


@pytest.mark.parametrize(("name", "message"), ENDINGS)
@pytest.mark.usefixtures("code")
def test_code_of_an_architecture_that_ends_the_program_is_a_sentence(
    name: str, message: str
) -> None:
    with pytest.raises(UsageError, match=f"--arch {name}: {message}"):
        build(TrainConfig(arch=name), load_architecture(name))


@pytest.mark.usefixtures("code")
def test_code_has_a_command_line_of_its_own() -> None:
    ours = list(sys.argv)
    with pytest.raises(UsageError, match="returned 'tuple'"):
        make_module("theirs:parses")
    build(TrainConfig(arch="theirs:parses"), load_architecture("theirs:parses"))
    assert sys.argv == ours


@pytest.mark.usefixtures("code")
def test_the_command_fails_for_a_script_that_ends_with_0(run_wgan: RunWgan, tmp_path: Path) -> None:
    done = run_wgan("export", "--module", "their_script.py:make", "--latents", "6", "-o", "g.onnx")
    assert done.returncode == 2
    assert "their_script.py ends the program when it is imported (exit 0)" in done.stderr
    assert not (tmp_path / "g.onnx").exists()


def test_wrappers_of_training_are_taken_off() -> None:
    plain = nn.Linear(3, 4)
    compiled: Any = torch.compile(plain)
    both: Any = torch.compile(nn.DataParallel(plain))
    for wrapped in (nn.DataParallel(plain), compiled, both):
        inner = without_wrappers(wrapped)
        assert inner is plain
        put_weights(inner, plain.state_dict())


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_scripted_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the generator is a TorchScript program"):
        export_module(torch.jit.script(nn.Identity()), (6,), tmp_path / "g.onnx")
