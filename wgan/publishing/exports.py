"""The ONNX files to publish: those that are given, or those of a run, which is exported."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wgan.errors import ExportError, ModelFileError, RunError, UsageError
from wgan.export import ExportConfig, ExportedFile, export
from wgan.files import is_file, is_folder
from wgan.model_file.manifest import Manifest
from wgan.model_file.published import PUBLISHED_FILES, find_published
from wgan.model_file.reading import content_sha256, read_bytes, read_manifest, scan_model
from wgan.publishing.config import PublishConfig
from wgan.runs import follow_pointer, has_runs, latest_export, latest_run
from wgan.runtime.model_source import find_model, is_named

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedFile:
    """An ONNX file to publish."""

    data: bytes
    manifest: Manifest

    @property
    def name(self) -> str:
        """Its path in the folder."""
        return PUBLISHED_FILES[self.manifest.precision]

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


def gather(
    config: PublishConfig, on_export: Callable[[ExportedFile], None] | None = None
) -> list[PublishedFile]:
    """Return the files, the most precise first; a run is exported as `wgan export` does.

    `on_export` is called with each file that is exported.

    Raises:
        RunError, ExportError, MissingExtra: as `wgan.export.export`.
        ModelFileError: a file is missing, damaged, or has no manifest.
        UsageError: the files are not forms of one generator.
    """
    run = _run_of(config)
    if run is None:
        if config.checkpoint or config.arch or config.precisions:
            for path in config.exports:
                if not (is_file(path) or is_folder(path) or is_named(path)):
                    raise RunError(f"there is no run {path}")
            raise UsageError(
                "--precision, --checkpoint and --arch are for a run, and the exports are files:"
                " leave them out, or name the run"
            )
        paths = [file for path in config.exports or [None] for file in _files(path)]
    else:
        paths = _export_run(run, config, on_export)
    return check_same_generator({path: read_file(path) for path in paths})


def _files(path: Path | None) -> list[Path]:
    """Return the file that `find_model` finds; of a published folder, all files."""
    if path is not None and is_folder(path):
        found = [path / name for name in PUBLISHED_FILES.values() if is_file(path / name)]
        if found:
            return found
    return [find_model(path)]


def _run_of(config: PublishConfig) -> Path | None:
    """The run to export; None if there are files.

    Raises:
        RunError: nothing is named, and there is no run or export in this folder.
        UsageError: a run is given together with others.
    """
    if not config.exports:
        try:
            return latest_run().path
        except RunError:
            if has_runs() and latest_export() is not None:
                return None
            raise
    named = map(follow_pointer, config.exports)
    runs = [path for path in named if is_folder(path) and find_published(path) is None]
    if runs and len(config.exports) > 1:
        raise UsageError(f"{runs[0]} is a run: name nothing besides, or name files only")
    return runs[0] if runs else None


def _export_run(
    run: Path, config: PublishConfig, on_export: Callable[[ExportedFile], None] | None
) -> list[Path]:
    """Export a run's checkpoint; a precision that was not asked for may be refused by the gate."""
    paths = []
    # The most precise last: it is then the latest export, which `wgan sample` takes.
    for precision in reversed(list(PUBLISHED_FILES)):
        if config.precisions and precision not in config.precisions:
            continue
        exported = ExportConfig(
            source=run, checkpoint=config.checkpoint, arch=config.arch, precision=precision
        )
        try:
            paths += [file.path for file in export(exported, on_file=on_export)]
        except ExportError as exc:
            if precision == "fp32" or config.precisions:
                raise
            logger.warning("%s is left out: %s", precision, exc)
    return paths


def read_file(path: Path) -> PublishedFile:
    """Read an export and check that it is complete.

    Raises:
        ModelFileError: it is missing, damaged, changed, or not an export of wgan.
    """
    data = read_bytes(path)
    try:
        manifest = read_manifest(scan_model(data))
        if manifest is None:
            raise ModelFileError(
                f"it has no proof: run  wgan optimize {path}  first, and publish what that writes"
            )
        if content_sha256(data) != manifest.content_sha256:
            raise ModelFileError("it was changed after its export: export it again")
        if manifest.precision not in PUBLISHED_FILES:
            raise ModelFileError(f"this wgan does not know its precision {manifest.precision!r}")
    except ModelFileError as exc:
        raise ModelFileError(f"{path} cannot be published: {exc}") from exc
    return PublishedFile(data, manifest)


def check_same_generator(files: Mapping[Path, PublishedFile]) -> list[PublishedFile]:
    """Return the files, the most precise first.

    Raises:
        UsageError: two have the same precision, or different weights.
    """
    found: dict[str, tuple[Path, PublishedFile]] = {}
    for path, file in files.items():
        precision = file.manifest.precision
        if precision in found:
            raise UsageError(f"{found[precision][0]} and {path} are both {precision}: name one")
        found[precision] = path, file
    ordered: Sequence[tuple[Path, PublishedFile]] = [
        found[precision] for precision in PUBLISHED_FILES if precision in found
    ]
    first_path, first = ordered[0]
    for path, file in ordered[1:]:
        if file.manifest.weights_sha256 != first.manifest.weights_sha256:
            raise UsageError(
                f"{first_path} and {path} are exports of different weights: export both of one"
                " checkpoint"
            )
    return [file for _, file in ordered]
