import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.processes import ROOT
from wgan.errors import OutputError
from wgan.files import check_parent_folder, open_lock, whole_file, write_whole


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_appears_with_its_complete_contents(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.bin", b"new")
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert names_in(tmp_path) == ["a.bin"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_whole(path, b"old")
    with pytest.raises(RuntimeError), whole_file(path) as file:  # noqa: PT012
        file.write(b"half of the ne")
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.bin"]


def test_threads_may_write_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda k: write_whole(path, bytes([k]) * 1000), range(100)))
    assert len(set(path.read_bytes())) == 1
    assert names_in(tmp_path) == ["a.bin"]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"folder .*nowhere does not exist"):
        write_whole(tmp_path / "nowhere" / "a.bin", b"")


def test_a_missing_folder_is_found_before_the_work(tmp_path: Path) -> None:
    check_parent_folder(tmp_path / "file")
    with pytest.raises(OutputError, match=r"folder .*nowhere does not exist"):
        check_parent_folder(tmp_path / "nowhere" / "file")


def test_a_limit_on_the_file_size_ends_in_a_sentence_and_leaves_the_old_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.bin"
    write_whole(path, b"old")
    limit = (resource.RLIMIT_FSIZE, (1000, 1000))
    code = (
        "import resource, sys; from pathlib import Path; from wgan.files import write_whole\n"
        f"resource.setrlimit{limit}\n"
        "write_whole(Path(sys.argv[1]), bytes(5000))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "OutputError: cannot write" in result.stderr
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.bin"]


def test_a_lock_is_held_until_its_file_is_closed(tmp_path: Path) -> None:
    lock = open_lock(tmp_path / ".lock")
    assert lock is not None
    assert open_lock(tmp_path / ".lock") is None
    lock.close()
    again = open_lock(tmp_path / ".lock")
    assert again is not None
    again.close()
    with pytest.raises(OutputError, match="cannot write"):
        open_lock(tmp_path / "nowhere" / ".lock")
