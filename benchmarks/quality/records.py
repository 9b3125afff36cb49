"""Records of quality benchmarks: a JSON file per run, and tables made from them."""

import argparse
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages import write_between
from wgan.errors import UsageError
from wgan.files import make_folder, write_whole

Record = dict[str, Any]
"""Settings, machine and results of a run, as plain values."""


def arguments(about: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that every script has."""
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument(
        "results", type=Path, help="folder of the results; existing runs are not repeated"
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of each kind (default: 3)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the table to this page")
    return parser


def save_record(path: Path, record: Record) -> None:
    """Write the record of a run atomically."""
    make_folder(path.parent)
    write_whole(path, json.dumps(record, indent=1).encode() + b"\n")


def is_done(path: Path, **settings: object) -> bool:
    """Whether the record of a run exists.

    Raises:
        UsageError: it has other settings, so it does not belong in the same table.
    """
    if not path.exists():
        return False
    record = json.loads(path.read_text())
    for name, value in settings.items():
        if record[name] != value:
            raise UsageError(f"{path} has {name} {record[name]}, not {value}: name another folder")
    return True


def load_records(folder: Path) -> list[Record]:
    """Load the records in a folder, in the order of their names."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def publish(text: str, name: str, page: Path | None) -> None:
    """Print the text of a script; write it to the script's place in `page`, unless that is None."""
    print(text)
    if page:
        write_between(page, f"<!-- benchmarks/quality/{name}.py -->", text.splitlines())


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def spread(values: Sequence[float], form: str) -> str:
    """Format mean and range, `"93.1 (92.0 to 94.4)"`, or `"93.1 (1 run)"`."""
    mean = format(statistics.mean(values), form)
    if len(values) == 1:
        return f"{mean} (1 run)"
    return f"{mean} ({min(values):{form}} to {max(values):{form}})"
