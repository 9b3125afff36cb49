"""Models of the Hugging Face Hub, by address: `hf://USER/NAME`.

Only such an address uses the network. The package huggingface_hub downloads the file into its own
cache and looks in there first; with HF_HUB_OFFLINE=1 it looks nowhere else.
"""

import logging
import os
import re
from pathlib import Path
from urllib.parse import unquote

from wgan.errors import ModelFileError, UsageError, needs_extra
from wgan.model_file.published import PUBLISHED_FILES
from wgan.text import first_line, shorten

logger = logging.getLogger("wgan")

# A `Path` joins the two slashes.
_SCHEME = re.compile(r"hf:/{1,2}(?=[^/])")

_ADDRESS = re.compile(
    r"(?P<repository>(?P<user>[\w.-]+)/(?P<name>[\w.-]+))(@(?P<revision>[^/]+))?(/(?P<file>.+))?"
)


def is_hub_address(name: Path | str) -> bool:
    """Whether a model's name is an address of the Hub and not a path."""
    return _SCHEME.match(str(name)) is not None


def hub_name(address: Path | str) -> str:
    """Return NAME of `hf://USER/NAME@REVISION`. Raises UsageError as `find_hub_file` does."""
    return _parse(address)["name"]


def find_hub_file(address: Path | str) -> Path:
    """Return a model's file in the cache of huggingface_hub, which downloads it if it is not there.

    Args:
        address: `hf://USER/NAME`, or `hf://USER/NAME@REVISION`: a branch, a tag or a commit, with
            %2F for a slash. `/FILE` after it names a file of any repository; without it the
            repository is one that `wgan publish` wrote.

    Raises:
        UsageError: the address has another form.
        ModelFileError: there is no such repository, revision or file, or it cannot be reached.
        MissingExtra: huggingface_hub is not installed.
    """
    parts = _parse(address)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the package is imported
    with needs_extra("hub", purpose="a model of the Hugging Face Hub"):
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    revision = unquote(parts["revision"]) if parts["revision"] else None
    missing: Exception | None = None
    is_reached = True
    for file in [parts["file"]] if parts["file"] else PUBLISHED_FILES.values():
        try:
            path = hf_hub_download(
                parts["repository"], file, revision=revision, local_files_only=not is_reached
            )
        except LocalEntryNotFoundError as exc:  # no network, and this file is not in the cache
            missing, is_reached = missing or exc, False
        except EntryNotFoundError as exc:
            missing = missing or exc
        except (OSError, ValueError) as exc:  # the bases of the package's other errors
            raise ModelFileError(f"cannot get {address}: {first_line(exc)}") from exc
        else:
            if not is_reached:
                logger.warning(
                    "without the network %s is used for %s: the most precise file in the cache",
                    file,
                    address,
                )
            return Path(path)
    assert missing is not None
    raise ModelFileError(f"cannot get {address}: {first_line(missing)}") from missing


def _parse(address: Path | str) -> dict[str, str]:
    found = _ADDRESS.fullmatch(_SCHEME.sub("", str(address)))
    if found is None:
        raise UsageError(
            f"the address {shorten(str(address))} is not allowed: write hf://USER/NAME,"
            " hf://USER/NAME@REVISION or hf://USER/NAME/FILE.onnx"
        )
    return found.groupdict("")
