"""Which extra brings which package, said in one sentence when it is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from wgan.errors import MissingExtra


@contextmanager
def needs_extra(*extras: str, purpose: str) -> Iterator[None]:
    """Turn a failed import inside the block into the command that installs what is missing.

    `purpose` begins the sentence: "training", "drawing from an ONNX file".

    Raises:
        MissingExtra: a package from outside wgan could not be found.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        package = (exc.name or "").partition(".")[0]
        if package in ("", "wgan"):  # a bug of ours keeps its traceback
            raise
        names = ",".join(extras)
        raise MissingExtra(
            f"{purpose} needs the package {package}, which is not installed: "
            f"run  pip install 'wgan[{names}]'"
        ) from exc
