import errno
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.processes import ROOT, obey_permissions
from wgan.errors import OutputError
from wgan.files import (
    check_output,
    discard_leftovers,
    lacks_open_files,
    open_lock,
    read_text,
    whole_file,
    why_unreadable,
    write_whole,
)


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
    check_output(tmp_path / "file")
    with pytest.raises(OutputError, match=r"folder .*nowhere does not exist"):
        check_output(tmp_path / "nowhere" / "file")


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # the names of sockets have at most 107 bytes


SPECIAL: dict[str, Callable[[Path], None]] = {
    "a folder": os.mkdir,
    "a pipe": os.mkfifo,
    "a socket": bound_socket,
    "a link to a device": lambda path: path.symlink_to("/dev/null"),
    "a link to itself": lambda path: path.symlink_to(path),
}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("write", [check_output, lambda path: write_whole(path, b"new")])
def test_what_is_not_a_regular_file_is_never_replaced(
    kind: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "a.bin"
    SPECIAL[kind](path)
    before = path.lstat()
    with pytest.raises(OutputError, match=r"cannot write .*a\.bin"):
        write(path)
    assert path.lstat() == before
    assert names_in(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", ".", "/", "/dev/null"])
def test_a_name_that_no_file_can_have_is_refused_before_the_work(name: str) -> None:
    for write in (check_output, lambda path: write_whole(path, b"new")):
        with pytest.raises(OutputError, match="cannot write"):
            write(Path(name))


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    for name in ("target", "new"):
        (tmp_path / f"link to {name}").symlink_to(name)
        write_whole(tmp_path / f"link to {name}", b"content")
        assert (tmp_path / f"link to {name}").is_symlink()
        assert (tmp_path / name).read_bytes() == b"content"


@pytest.mark.skipif(sys.platform != "linux", reason="rights of Linux")
def test_a_folder_that_may_not_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    child = os.fork()
    if child == 0:
        obey_permissions()
        try:
            check_output(tmp_path / "a.bin")
        except OutputError as exc:
            os._exit(7 if "Permission denied" in str(exc) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_what_a_killed_writer_left_is_removed_and_what_another_writes_stays(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a [1].bin"
    code = (
        "import os, sys; from pathlib import Path; from wgan.files import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as file: os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False)
    other = tmp_path / ".b.bin.7-7.partial"
    other.write_bytes(b"of another file")
    with whole_file(path) as file:
        (mine,) = (name for name in names_in(tmp_path) if name in file.name)
        assert len(names_in(tmp_path)) == 3
        check_output(path)
        assert sorted(names_in(tmp_path)) == sorted([mine, other.name])
    discard_leftovers(tmp_path)
    assert names_in(tmp_path) == [path.name]


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


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes of POSIX")
def test_a_pipe_that_nothing_is_written_to_is_not_waited_for_without_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TimeoutError, match="nothing was written"):
        read_text(tmp_path / "pipe", wait_s=0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="named pipes of POSIX")
def test_a_pipe_whose_writer_comes_later_is_read_to_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor() as threads:
        written = threads.submit((tmp_path / "pipe").write_bytes, b"a\n" * 50_000)
        assert read_text(tmp_path / "pipe", wait_s=30) == "a\n" * 50_000
        assert written.result() == 100_000


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "cannot be read: Too many open files"),
        (PermissionError(errno.EACCES, "Permission denied"), "cannot be read: Permission denied"),
        (OSError(errno.EINVAL, "Invalid argument"), "is damaged: [Errno 22] Invalid argument"),
        (OSError("Not a gzipped file"), "is damaged: Not a gzipped file"),
        (ValueError("a wrong length"), "is damaged: a wrong length"),
    ],
)
def test_a_file_that_the_system_refuses_is_not_called_damaged(
    error: Exception, reason: str
) -> None:
    assert why_unreadable(error) == reason


def test_the_limit_on_open_files_is_found_behind_other_errors() -> None:
    def fail(first: Exception) -> None:
        try:
            raise first
        except Exception as exc:
            raise ValueError("no such format") from exc

    full = os.strerror(errno.EMFILE)
    for first, expected in (
        (OSError(errno.EMFILE, full), True),
        (ImportError(f"libz.so: cannot open shared object file: {full}"), True),
        (PermissionError(errno.EACCES, "Permission denied"), False),
    ):
        with pytest.raises(ValueError, match="no such format") as raised:
            fail(first)
        assert lacks_open_files(raised.value) == expected


@pytest.mark.skipif(sys.platform == "win32", reason="the folder's path counts as well")
@pytest.mark.parametrize("name", ["a" * 251 + ".npy", "\N{GRINNING FACE}" * 62 + ".npy"])
def test_the_longest_name_of_a_file_can_be_written(tmp_path: Path, name: str) -> None:
    check_output(tmp_path / name)
    write_whole(tmp_path / name, b"new")
    assert names_in(tmp_path) == [name]
    killed = tmp_path / f".{name[:40]}{name[-10:]}.7-7.partial"
    killed.touch()
    check_output(tmp_path / name)
    assert not killed.exists()
