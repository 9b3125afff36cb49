"""The page's scripts in node, as modules."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from wgan.page import page_file

NODE = shutil.which("node")


def run_script(folder: Path, text: str, *names: str) -> Any:
    """Run `text`, which may import the page's scripts `names`; returns the JSON that it prints."""
    if NODE is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no node, which runs the page's scripts")
        pytest.skip("node is not installed: it runs the page's scripts")
    for name in names:
        (folder / name).write_bytes(page_file(name))
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "main.js").write_text(text)
    done = subprocess.run(
        [NODE, "main.js"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
