"""Evaluation of generators: FID, KID, precision, recall and more, against real images.

    from wgan.evaluation import EvalConfig, evaluate

    evaluation = evaluate(EvalConfig(generators=(Path("runs/faces"),)))
    print(evaluation.results[0].interval("fid").mean)

Reading order: `features.py`, `statistics.py`, `feature_metrics.py`: metrics from feature vectors.
`onnx_features.py`, `inception.py`: feature networks. `generators.py`: what is compared.
`evaluator.py`, `results.py`, `neighbours.py`: the evaluation itself.

It imports both training and the runtime; only the command line imports it.
"""

from typing import TYPE_CHECKING

from wgan.errors import needs_extra
from wgan.evaluation.config import EvalConfig

if TYPE_CHECKING:
    from wgan.evaluation.results import Evaluation

__all__ = ["EvalConfig", "evaluate"]


def evaluate(config: EvalConfig, *, progress: bool = False) -> "Evaluation":
    """Measure generators against real images; all that `wgan eval` does.

    `progress` shows progress bars on standard error.

    Raises:
        UsageError: an option is not allowed, or the generators cannot be compared.
        RunError: a run does not exist.
        CheckpointError: a checkpoint is damaged, or a run has none.
        ModelFileError: an exported file or a feature network cannot be used.
        DataError: the real images or Inception's weights are missing or damaged.
        DeviceError: a device was named and does not work.
        MissingExtra: a package is not installed.
        OutputError: the neighbours cannot be written.
    """
    # Here and not above: the metrics, functions of vectors, need neither PyTorch nor the runtime.
    with needs_extra("train", "eval", purpose="evaluating"):
        from wgan.evaluation.evaluator import run_evaluation
    return run_evaluation(config, progress)
