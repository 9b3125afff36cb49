"""What is committed: no large file, and nothing that a build or a package manager leaves behind."""

import subprocess

import pytest

from tests.processes import ROOT

LARGEST = 1_000_000
"""Bytes; the generator in the box is the largest file."""


@pytest.fixture(scope="module")
def committed() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone: git does not know what is committed")
    listed = subprocess.run(
        ("git", "ls-files", "-z"), cwd=ROOT, capture_output=True, text=True, check=True
    )
    return listed.stdout.strip("\0").split("\0")


def test_no_committed_file_is_large(committed: list[str]) -> None:
    sizes = {name: (ROOT / name).stat().st_size for name in committed if (ROOT / name).exists()}
    assert sizes["wgan/runtime/builtin/generator.onnx"] > 100_000
    assert [name for name, size in sizes.items() if size > LARGEST] == []


def test_no_package_or_log_is_committed(committed: list[str]) -> None:
    ends = (".tgz", ".tar.gz", ".whl", ".zip", ".log", ".pyc")
    assert [name for name in committed if name.endswith(ends)] == []
