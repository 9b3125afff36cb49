"""docs/architecture.md is right: its folders and files exist, and imports keep to its arrows."""

import ast
import re
from pathlib import Path

import pytest

from tests.processes import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()

ARROW = re.compile(r"^ *(\w+) --> (\w+)$", re.MULTILINE)

Edge = tuple[str, str]


def room_of(path: Path) -> str:
    """The folder directly below wgan/ that a file is in; files beside it are the base."""
    parts = path.relative_to(ROOT / "wgan").parts
    return parts[0] if len(parts) > 1 else "base"


def rooms_imported_by(path: Path) -> set[str]:
    """Every room that a file imports from anywhere in it, within functions too."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.update(f"{node.module}.{alias.name}" for alias in node.names)
    rooms = set()
    for name in modules:
        package, _, rest = name.partition(".")
        if package == "wgan":
            room = rest.partition(".")[0]
            rooms.add(room if (ROOT / "wgan" / room).is_dir() else "base")
    return rooms


def actual_edges() -> dict[Edge, Path]:
    return {
        (room_of(path), target): path
        for path in sorted((ROOT / "wgan").rglob("*.py"))
        # The command itself, and the name that the package lends from the runtime.
        if path.relative_to(ROOT / "wgan").as_posix() not in ("__main__.py", "__init__.py")
        for target in rooms_imported_by(path)
        if target != room_of(path)
    }


def test_imports_keep_to_the_arrows_of_the_drawing() -> None:
    drawn = set(ARROW.findall(PAGE))
    undrawn = {
        f"{path.relative_to(ROOT)} imports {edge[1]}"
        for edge, path in actual_edges().items()
        if edge not in drawn and edge[1] != "base"
    }
    assert drawn
    assert not undrawn


def test_every_arrow_of_the_drawing_is_an_import() -> None:
    assert not set(ARROW.findall(PAGE)) - actual_edges().keys()


def test_arrows_make_no_circle() -> None:
    below: dict[str, set[str]] = {}
    for source, target in ARROW.findall(PAGE):
        below.setdefault(source, set()).add(target)
    while below:
        bottom = {room for room, targets in below.items() if not targets & below.keys()}
        assert bottom, f"these import each other: {sorted(below)}"
        for room in bottom:
            del below[room]


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(wgan/[\w/.]*)`", PAGE))))
def test_a_file_or_folder_that_the_page_names_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_room_is_on_the_page() -> None:
    rooms = {path.parent.name for path in (ROOT / "wgan").glob("*/__init__.py")}
    assert {room for room in rooms if f"`wgan/{room}/`" not in PAGE} == set()
