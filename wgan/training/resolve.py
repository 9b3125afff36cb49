"""The run folder, settings and data of a run, resolved and checked before any work."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wgan.errors import RunError
from wgan.runs import RUNS, Run
from wgan.training.config import TrainConfig
from wgan.training.data import ImageSource, Shards, open_data
from wgan.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup, check_divides


@dataclass(frozen=True)
class ResolvedRun:
    """A run that can be trained."""

    run: Run
    config: TrainConfig
    source: ImageSource | Shards
    resumes: bool  # the folder holds this run already


def resolve_run(
    given: Mapping[str, Any],
    run: Path | None = None,
    download: bool = False,
    group: ProcessGroup = SINGLE_PROCESS,
) -> ResolvedRun:
    """Resolve a run on rank 0, and send its folder and settings to the other ranks.

    Args:
        given: settings by their names in `TrainConfig`. If the folder holds a run, all others are
            as that run was started; else they come from the recipe.
        run: the run folder; None names it after the data, size and recipe.
        download: download a named data set that is missing.
        group: the processes of the run.

    Raises:
        UsageError: a setting is not allowed, or the ranks cannot share a batch evenly.
        SettingChanged: the run in this folder was started with another setting.
        DataError: the data is missing.
        RunError: the folder holds something else.
        RankFailed: rank 0 stopped with an error.
    """
    if not group.is_main:
        config = TrainConfig.from_json(group.store_get("plan"), "rank 0")
        source = group.local_main_first("open", lambda: open_data(config.data, download=download))
        return ResolvedRun(Run(Path(group.store_get("run"))), config, source, resumes=False)
    resolved = group.local_main_first("open", lambda: _resolve(given, run, download))
    check_divides(group.size, resolved.config.batch_size, resolved.config.accumulate)
    group.store_set("run", str(resolved.run.path))
    group.store_set("plan", resolved.config.to_json())
    return resolved


def _resolve(given: Mapping[str, Any], run: Path | None, download: bool) -> ResolvedRun:
    stored = _stored_config(Run(run)) if run else None
    # The channels and the name of a new run's folder are those of the data.
    data = given.get("data", stored.data if stored else TrainConfig.data)
    source = open_data(data, download=download)
    new = TrainConfig.resolve({"channels": source.channels, **given})
    if run is None:
        run = RUNS / f"{source.name}-{new.size}-{new.recipe}"
        stored = _stored_config(Run(run))
    config = stored.resume(given) if stored else new
    return ResolvedRun(Run(run), config, source, resumes=stored is not None)


def _stored_config(run: Run) -> TrainConfig | None:
    try:
        text = run.config.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except NotADirectoryError as exc:
        raise RunError(f"{run.path} is not a folder: --run names the folder of a run") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise RunError(f"cannot read {run.config}: {exc}") from exc
    return TrainConfig.from_json(text, str(run.config))
