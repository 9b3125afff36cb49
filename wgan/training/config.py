"""A run's settings: every field checked before any work, recipes as named sets of defaults."""

import dataclasses
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

from wgan.errors import RunError, SettingChanged, UsageError

logger = logging.getLogger(__name__)

SIZES = (32, 64, 128)

ARCHITECTURES = ("dcgan", "resnet")
"""Those built in."""

CRITIC_NORMS = ("none", "layer", "instance", "batch")

CONSTRAINTS = ("penalty", "one-sided", "clip", "spectral")
"""What holds the critic's slope near or below 1.

penalty: the gradient penalty, two-sided (Gulrajani et al. 2017). one-sided: the same, for norms
above 1 alone. clip: each weight within clip_limit (Arjovsky et al. 2017, arXiv:1701.07875).
spectral: each layer's largest singular value at 1 (Miyato et al. 2018).
"""

OPTIMIZERS = ("adam", "rmsprop")

EVAL_METRICS = ("fid", "kid")
"""The metrics that a run can follow: see docs/evaluating.md."""
PRECISIONS = ("fp32", "tf32", "bf16")
"""See `precision.py`."""

RESUMABLE_FIELDS = frozenset(
    {
        *("steps", "checkpoint_every", "preview_every", "log_every", "keep", "keep_every"),
        *("eval_every", "eval_metric", "eval_features", "eval_n"),
    }
)
"""Settings that may differ when a run goes on: they do not touch the mathematics."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a run. Two runs with equal settings, data and device are equal."""

    # What is learned.
    data: str = "glyphs"  # a folder, archive or idx file, or the name of a data set
    size: int = 32  # height and width of the images, in pixels
    channels: int = 3  # 1 for grey, 3 for colour
    crop: int = 0  # pixels cut out of the middle before resizing; 0 takes the whole image
    background: str = "white"  # what transparent pixels are laid over, as CSS writes a colour
    flip: bool = False  # mirror half of the images, at random
    shuffle_buffer: int = 5000  # streamed images among which the next one is drawn

    # The networks.
    arch: str = "dcgan"  # "dcgan", "resnet", or "package.module:function"
    latent_dim: int = 128  # numbers in a latent
    width: int = 16  # feature maps of the critic's first layer; everything scales with it
    critic_norm: str = "none"  # none, layer, instance, batch; batch does not go with a penalty

    # The algorithm.
    recipe: str = "wgan-gp"  # which recipe the defaults came from
    batch_size: int = 64  # images in a critic update
    n_critic: int = 5  # critic updates for each generator update
    fresh_batches: bool = True  # a new batch for each critic update, or one for all of a step
    accumulate: int = 1  # parts that a batch is taken in, to save memory; divides batch_size
    constraint: str = "penalty"  # what holds the critic's slope: see CONSTRAINTS
    gp_weight: float = 10.0  # lambda, the weight of the gradient penalty
    gp_every: int = 1  # the penalty is taken in each so many-th critic update, weighted up
    clip_limit: float = 0.01  # with constraint clip: the largest size of a critic's weight
    drift: float = 0.0  # weight of the mean square score of real images
    optimizer: str = "adam"  # "adam", or "rmsprop", which has no betas
    learning_rate: float = 2e-4  # of both networks
    decay_steps: int = 0  # steps after which the learning rate has fallen to 0, linearly; 0: never
    beta1: float = 0.0  # Adam's decay of the gradient's mean
    beta2: float = 0.9  # Adam's decay of the gradient's square
    ema_half_life: int = 10_000  # images after which the EMA has forgotten half; 0 turns it off
    precision: str = "tf32"  # of the networks' products: see PRECISIONS
    seed: int = 0  # of the weights, the noise and the order of the data
    holdout: float = 0.0  # share of the images that the critic is tested on, never trained

    # How long, and what is kept.
    steps: int = 700  # generator updates
    checkpoint_every: int = 250  # steps
    preview_every: int = 100  # steps
    log_every: int = 10  # steps
    keep: int = 0  # the newest checkpoints that stay; 0: all
    keep_every: int = 0  # every so many-th checkpoint stays for good as well; 0: none does

    # Which checkpoint is the best.
    eval_every: int = 0  # steps between two measurements of eval_metric; 0: it is not followed
    eval_metric: str = "fid"  # fid or kid; the lower the better
    eval_features: str = "inception"  # inception, or an ONNX file from pixels to vectors
    eval_n: int = 2000  # images drawn for a measurement

    def __post_init__(self) -> None:
        """Check each field. Raises UsageError."""
        if self.size not in SIZES:
            raise UsageError(f"--size {self.size} is not allowed: it is one of {_listed(SIZES)}")
        if self.channels not in (1, 3):
            raise UsageError(f"--channels {self.channels} is not allowed: it is 1 or 3")
        self._check_choice("recipe", RECIPES)
        self._check_choice("critic_norm", CRITIC_NORMS)
        self._check_choice("constraint", CONSTRAINTS)
        self._check_choice("optimizer", OPTIMIZERS)
        self._check_choice("eval_metric", EVAL_METRICS)
        self._check_choice("precision", PRECISIONS)
        if self.arch not in ARCHITECTURES and not all(self.arch.partition(":")):
            raise UsageError(
                f"--arch {self.arch} is not one of {_listed(ARCHITECTURES)}, nor a function of"
                " yours as package.module:function"
            )
        self._check_range("width", 1, 4096)
        self._check_range("latent_dim", 1, 65536)
        for name in ("shuffle_buffer", "batch_size", "n_critic",
                     "accumulate", "steps", "checkpoint_every", "preview_every",
                     "log_every"):  # fmt: skip
            self._check_range(name, 1, 2**31)
        for name in ("seed", "crop", "ema_half_life", "decay_steps", "keep", "keep_every",
                     "eval_every"):  # fmt: skip
            self._check_range(name, 0, 2**32 - 1)
        for name in ("gp_weight", "learning_rate", "clip_limit", "drift"):
            self._check_range(name, 0, 1e6)
        for name in ("beta1", "beta2"):
            self._check_range(name, 0, 0.999999)
        self._check_range("holdout", 0, 0.9)
        self._check_range("eval_n", 10, 10**6)
        self._check_range("gp_every", 1, self.n_critic)
        if self.batch_size % self.accumulate:
            raise UsageError(
                f"--accumulate {self.accumulate} does not divide --batch-size {self.batch_size}"
            )

    @property
    def has_penalty(self) -> bool:
        """Whether a gradient penalty is what holds the critic."""
        return self.constraint in ("penalty", "one-sided")

    def _check_choice(self, name: str, allowed: Iterable[str]) -> None:
        value = getattr(self, name)
        if value not in allowed:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} {value} is not one of {_listed(allowed)}")

    def _check_range(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not low <= value <= high:  # a NaN fails this too
            option = name.replace("_", "-")
            raise UsageError(f"--{option} {value} is not allowed: it is {low} to {high}")

    @classmethod
    def resolve(cls, given: Mapping[str, Any]) -> Self:
        """Fill what is not given: first from the recipe, then from the defaults.

        Raises:
            UsageError: a setting is not allowed.
        """
        recipe = given.get("recipe", cls.recipe)
        return cls(**{**RECIPES.get(recipe, {}), **given})

    def resume(self, given: Mapping[str, Any]) -> Self:
        """These settings with those of `given` that may change; what is not given stays.

        Raises:
            SettingChanged: one that may not change differs; the message names it.
        """
        for name, value in given.items():
            old = getattr(self, name)
            # A path may be written in other ways, photos/ or ./photos; whether the images are
            # the same is checked by their hash.
            same = _path(value) == _path(old) if name == "data" else value == old
            if not same and name not in RESUMABLE_FIELDS:
                option = name if name == "data" else f"--{name.replace('_', '-')}"
                raise SettingChanged(
                    f"{option} was {old} when this run began and is now {value}: "
                    f"keep it, or name another folder with --run"
                )
        return dataclasses.replace(self, **{**given, "data": self.data})

    def to_json(self) -> str:
        """Write the settings as indented JSON, a line each."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_dict(cls, fields: object, source: str) -> Self:
        """Read settings that were saved; `source` names them in the error.

        A setting that did not exist when they were saved takes its default, which is how such
        runs were trained. `compile`, which 0.1.0 wrote, is dropped: it changed only the speed.

        Raises:
            RunError: they are not settings of this version of wgan.
        """
        known = {field.name: type(field.default) for field in dataclasses.fields(cls)}
        if isinstance(fields, dict):
            fields = {name: value for name, value in fields.items() if name != "compile"}
        if not isinstance(fields, dict) or not {"data", "size"} <= fields.keys() <= known.keys():
            raise RunError(f"{source} does not hold the settings of a run of this wgan version")
        for name in fields:
            kind = known[name]
            allowed = (int, float) if kind is float else kind
            if not isinstance(fields[name], allowed):
                raise RunError(
                    f"{source} has {name} = {fields[name]!r}, not of type {kind.__name__}"
                )
        return cls(**fields)

    @classmethod
    def from_json(cls, text: str, source: str) -> Self:
        """Read what `to_json` wrote. Raises RunError."""
        try:
            fields = json.loads(text)
        except ValueError as exc:
            raise RunError(f"{source} is not JSON") from exc
        if isinstance(fields, dict) and fields.get("compile"):
            logger.warning("%s has compile = true, which wgan no longer supports: ignored", source)
        return cls.from_dict(fields, source)


RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", Algorithm 1: the defaults,
        # but for the learning rate. Twice the paper's is better at any time: docs/quality.md.
        "wgan-gp": {},
        # The seed article, to the letter: batch norm in the critic, one batch for a step's updates.
        "article": {
            "n_critic": 3,
            "fresh_batches": False,
            "critic_norm": "batch",
            "learning_rate": 1e-4,
            "beta1": 0.5,
            "beta2": 0.999,
        },
        # Arjovsky et al. 2017, "Wasserstein GAN", Algorithm 1 and section 4.
        "wgan-clip": {
            "constraint": "clip",
            "optimizer": "rmsprop",
            "learning_rate": 5e-5,
            "critic_norm": "batch",
        },
        # Gulrajani et al. 2017, appendix F: the CIFAR-10 ResNet.
        "resnet": {
            "arch": "resnet",
            "width": 128,
            "learning_rate": 2e-4,
            "decay_steps": 100_000,
        },
    }
)


def _path(data: str) -> str:
    return os.path.abspath(data)  # noqa: PTH100 - pathlib's keeps a ".."


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)
