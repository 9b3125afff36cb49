"""Which checkpoints stay when there are many."""

import logging
from collections.abc import Sequence

from wgan.errors import CheckpointError, OutputError
from wgan.runs import Run
from wgan.training.checkpoint import check_archive
from wgan.training.config import TrainConfig

logger = logging.getLogger(__name__)


def surplus(steps: Sequence[int], keep: int, for_good: int) -> list[int]:
    """The steps whose checkpoints are to be removed.

    Args:
        steps: those of all checkpoints.
        keep: how many of the newest stay; 0 keeps all.
        for_good: steps that are multiples of this stay too; 0: none does.
    """
    if keep == 0:
        return []
    older = sorted(steps)[:-keep]
    return [step for step in older if for_good == 0 or step % for_good]


def prune(run: Run, config: TrainConfig) -> None:
    """Remove the checkpoints that `config.keep` and `config.keep_every` leave out.

    The newest is read back first: as long as it is not whole, every other one stays.

    Raises:
        OutputError: one cannot be removed.
    """
    places = {run.step_of(path): path for path in run.checkpoints()}
    unwanted = surplus(list(places), config.keep, config.keep_every * config.checkpoint_every)
    if not unwanted:
        return
    try:
        check_archive(places[max(places)])
    except CheckpointError as exc:
        logger.warning("%s; the older ones are kept", exc)
        return
    for step in unwanted:
        try:
            places[step].unlink()
        except OSError as exc:
            raise OutputError(f"cannot remove {places[step]}: {exc.strerror}") from exc
