"""Any value for any option or argument ends in a sentence, or in what the command does.

The options are those of the commands themselves. The inputs of most commands do not exist, so that
an accepted value starts no long work; `tests/cli/fuzzing.py` runs commands with real inputs.
"""

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import FrameType

import click
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.processes import PRELOADED
from tests.runtime import models
from wgan.cli import COMMANDS, cli, explain
from wgan.errors import WganError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="devices of Linux")

SECONDS = 20
"""Longest time of a command here: one that waits for input never ends."""

MEMORY = 2 * 2**30
"""Bytes that a command may take."""

EXAMPLES = int(os.environ.get("WGAN_HOSTILE_EXAMPLES", "150"))

MISSING = {
    "train": ["gone/"],
    "export": ["gone.pt"],
    "optimize": ["gone.onnx"],
    "eval": ["gone.onnx"],
    "publish": ["published", "gone.onnx"],
    "serve": ["gone.onnx"],
    "info": ["good.onnx"],
    "verify": ["gone.onnx"],
    "bench": ["gone.onnx"],
    "sample": ["out.png", "--model", "good.onnx"],
    "project": ["gone.png", "--model", "good.onnx"],
    "directions": ["out.npy", "--model", "good.onnx", "--threads", "1"],
    "prepare": ["gone/", "shards"],
    "cache": ["list"],
    "completion": ["bash"],
}
"""Arguments with which a command ends soon."""

SKIPPED = ("--download", "--ray", "--tracker", "--help", "--help-all")
"""Options that reach for other machines, or end the command."""

NUMBERS = ("nan", "inf", "-inf", "-1", "0", "1e308", "-1e400", "9" * 30, "9" * 5000, "0x10")
TEXTS = (
    *("", " ", "\x1b[31m", "a\nb", "\u202e", "\udce9", "x" * 300, "x/" * 3000),
    *("a,b", "1/0", "%s{}"),
)
PATHS = (
    *(".", "/", "/dev/null", "/dev/full", "loop", "loop/x", "unreadable", "text"),
    *("good.onnx", "gone/x"),
)

hostile = st.sampled_from([*NUMBERS, *TEXTS, *PATHS]) | st.text(
    st.characters(exclude_characters="\0"), max_size=20
)


def parameters(command: click.Command) -> list[click.Parameter]:
    return [each for each in command.params if not set(each.opts) & set(SKIPPED)]


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from(list(COMMANDS)))
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    arguments = list(MISSING[name])
    some = st.lists(st.sampled_from(parameters(command)), max_size=3)
    for parameter in draw(some) if parameters(command) else ():
        if isinstance(parameter, click.Argument):
            if name != "serve":  # a server that finds its model does not end
                arguments[0] = draw(hostile)
        elif isinstance(parameter, click.Option):
            arguments.append(draw(st.sampled_from(parameter.opts)))
            if not parameter.is_flag:
                arguments.append(draw(hostile))
    return [name, *arguments]


class Endless(BaseException):
    """A command did not end in time. Not an Exception, which a command may turn into a sentence."""


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Limit the time of a command, and its memory: a device can be read without end."""

    def expire(number: int, frame: FrameType | None) -> None:
        raise Endless

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(SECONDS)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    for name in PRELOADED:  # not within the limits
        import_module(name)
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "good.onnx").write_bytes(models.generator().SerializeToString())
    (folder / "text").write_text("hello\x1b[31m")
    (folder / "loop").symlink_to("loop")
    (folder / "unreadable").write_bytes(b"x")
    (folder / "unreadable").chmod(0)
    with contextlib.chdir(folder):
        yield


@given(command_lines())
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_any_value_of_any_option_ends_in_a_sentence(words: list[str]) -> None:
    with limits():
        result = CliRunner().invoke(cli, words)
    exc = result.exception
    assert not isinstance(exc, MemoryError), f"wgan {words}: out of memory"
    if exc is not None and not isinstance(exc, WganError | SystemExit):
        assert explain(exc) is not None, f"wgan {words}: {exc!r}"
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    "words",
    [
        ("train", "gone/", "--config", "/dev/full"),
        ("serve", "gone.onnx", "--api-key-file", "/dev/full"),
        ("eval", "gone.onnx", "--weights", "/dev/full"),
        ("sample", "--model", "good.onnx", "--latents", "/dev/full"),
    ],
    ids=lambda words: words[0],
)
def test_a_device_that_can_be_read_without_end_is_refused(words: tuple[str, ...]) -> None:
    with limits():
        result = CliRunner().invoke(cli, words)
    assert isinstance(result.exception, WganError)
    assert "/dev/full" in str(result.exception)


def test_an_error_of_the_system_that_no_command_explains_is_a_sentence() -> None:
    error = PermissionError(13, "Permission denied", "/data")
    assert explain(error) == "Permission denied: /data"
    assert "no more processes or threads" in str(explain(BlockingIOError(11, "Resource")))
    assert "no more processes or threads" in str(explain(RuntimeError("can't start new thread")))
    unmapped = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    assert "ulimit -v" in str(explain(unmapped))
    assert explain(RuntimeError("a bug")) is None
    assert explain(ImportError("cannot import name 'a_bug'")) is None
