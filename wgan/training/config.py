"""The options of a training run, checked before any work; recipes are named sets of defaults."""

import dataclasses
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from wgan.errors import RunError, SettingChanged, UsageError
from wgan.image_shape import (
    FITS,
    MAX_CHANNELS,
    SIDES_TEXT,
    Size,
    check_size,
    height_and_width,
    parse_size,
)
from wgan.options import advanced, check, check_value, flag, option
from wgan.text import shorten
from wgan.training.execution import check_data_range
from wgan.training.recipes import (
    ARCHITECTURES,
    AUGMENTATIONS,
    AUGMENTED_BELOW,
    CONSTRAINTS,
    COUNT,
    CRITIC_NORMS,
    EVAL_METRICS,
    FRAMES,
    LOSSES,
    OPTIMIZERS,
    POSITIVE,
    PRECISIONS,
    RECIPES,
    SCHEDULES,
    SIZE,
    WEIGHT,
)

logger = logging.getLogger(__name__)

RESUMABLE_FIELDS = frozenset({
    "steps", "minutes", "checkpoint_every", "preview_every", "log_every", "keep", "keep_every",
    "eval_every", "eval_metric", "eval_features", "eval_n",
    "data",  # it may have moved: the hash of the images is compared
})  # fmt: skip
"""Options that may change when a run is resumed, since they do not change the mathematics."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What a run computes; saved as config.json. Equal options, data and device give equal runs."""

    data: str = option(
        "letters",
        "A folder, archive or idx file of images, shards, or the name of a data set.",
        argument=True,
        group="Data",
    )
    size: Size = option(
        32,
        f"Height and width of the images: {SIDES_TEXT}, or HEIGHTxWIDTH.",
        **SIZE,
    )
    fit: str = option(
        "crop",
        "Images of another shape are cropped, padded with the background, or stretched.",
        choices=FITS,
    )
    channels: int = option(
        3,
        "1 for grey, 3 for colour, 4 for colour and alpha, or the bands of the data, up to 16.",
        low=1,
        high=MAX_CHANNELS,
        metavar="N",
        shown_default="as the data",
    )
    crop: int = advanced(
        0,
        "Side of the square cut from the centre before resizing; 0 for the whole image.",
        unit="pixels",
        **COUNT,
    )
    background: str = advanced(
        "white",
        "Colour behind transparent pixels and of --fit pad, a CSS name or #rrggbb.",
        metavar="COLOUR",
    )
    data_range: str = option(
        "",
        "Values of black and white in 16-bit, signed or float data; auto: the lowest and highest.",
        flags=("--range",),
        metavar="LOW,HIGH|auto",
        shown_default="the whole range of 8 or 16 bits",
    )
    frames: str = advanced(
        "first", "Which frames of animations and pages of files are images.", choices=FRAMES
    )
    flip: bool = option(False, "Mirror half of the images at random.", negatable=True)
    conditional: bool = option(
        False,
        "Learn to draw images of a given class: the data must have classes, such as subfolders.",
    )
    classes: tuple[str, ...] = ()  # no option: the data's class names, in a conditional run
    shuffle_buffer: int = advanced(
        5000,
        "Streamed images from which the next one is drawn at random.",
        unit="images",
        **POSITIVE,
    )
    augment: str = option(
        "none",
        "Augment what the critic sees, real and generated: color,translation,cutout, some of them,"
        f" none, or auto: all three for sets of under {AUGMENTED_BELOW:,} images.",
        metavar="NAME,...",
    )
    holdout: float = option(
        0.0,
        "Share of the images to test the critic on and never train on.",
        low=0,
        high=0.9,
        unit="share",
    )

    arch: str = option(
        "resize-conv",
        "resize-conv, dcgan, resnet, or a function of your own as package.module:function.",
        metavar="NAME",
        group="Networks",
    )
    width: int = option(
        16,
        "Network width: larger is better and slower.",
        low=1,
        high=4096,
    )
    latent_dim: int = advanced(128, "Numbers in a latent vector.", low=1, high=65536)
    critic_norm: str = advanced(
        "none",
        "The critic's norm layers; batch norm breaks a gradient penalty's premise.",
        choices=CRITIC_NORMS,
    )
    start_from: str | None = option(
        None,
        "Start a new run from the weights of another run or checkpoint, with its networks.",
        metavar="RUN|CHECKPOINT",
        flags=("--from",),
        shown_default="random weights",
    )

    recipe: str = option(
        "tuned",
        "Set of defaults; each of them can be replaced by its own option.",
        choices=tuple(RECIPES),
        group="Algorithm",
    )
    batch_size: int = option(
        64, "Images per critic update, over all processes.", unit="images", **POSITIVE
    )
    accumulate: int = advanced(
        1,
        "Compute each batch in N parts to save memory; N divides --batch-size.",
        metavar="N",
        **POSITIVE,
    )
    n_critic: int = advanced(1, "Critic updates per generator update.", metavar="N", **POSITIVE)
    fresh_batches: bool = advanced(
        True, "Use a new batch for each critic update, not one for all of a step.", negatable=True
    )
    loss: str = advanced(
        "wasserstein",
        "Loss of both networks: wasserstein, or relativistic, which compares pairs.",
        choices=LOSSES,
    )
    constraint: str = advanced(
        "penalty",
        "How the critic's slope is constrained: gradient penalty, one-sided penalty, zero-centred"
        " penalty (R1 and R2), weight clipping or spectral norm.",
        choices=CONSTRAINTS,
    )
    gp_weight: float = advanced(10.0, "Weight of the gradient penalty.", **WEIGHT)
    gp_every: int = advanced(
        1, "Apply the penalty every N critic updates, scaled up to compensate.", metavar="N", low=1
    )
    clip_limit: float = advanced(
        0.01, "Largest absolute weight of the critic with --constraint clip.", **WEIGHT
    )
    drift: float = advanced(0.0, "Weight of the mean squared score of real images.", **WEIGHT)
    optimizer: str = advanced("adam", "Optimiser of both networks.", choices=OPTIMIZERS)
    learning_rate: float = option(
        4e-3, "Learning rate of both networks.", flags=("--learning-rate", "--lr"), **WEIGHT
    )
    decay_steps: int | None = advanced(
        None,
        "Steps over which the learning rate falls; 0 keeps it constant.",
        unit="steps",
        shown_default="as --steps",
        **COUNT,
    )
    schedule: str = advanced(
        "linear",
        "How it falls: linearly to 0, or as R3GAN's schedules, which also change the penalty's"
        " weight, beta2 and the EMA.",
        choices=SCHEDULES,
    )
    beta1: float = advanced(0.0, "Adam's beta1.", low=0, high=0.999999)
    beta2: float = advanced(0.9, "Adam's beta2.", low=0, high=0.999999)
    ema_half_life: int = advanced(
        10_000,
        "Half-life of the weights' moving average (EMA); 0 turns it off.",
        unit="images",
        **COUNT,
    )
    precision: str = option(
        "auto",
        "Arithmetic of the networks: auto is bf16 where the processor or GPU has it, else tf32,"
        " a GPU's fast float32.",
        choices=PRECISIONS,
    )
    seed: int = option(0, "Seed of the weights, the noise and the data's order.", **COUNT)

    steps: int = option(
        2000,
        "Generator updates in all, with those already done.",
        unit="steps",
        excludes=("minutes",),
        **POSITIVE,
        group="Run",
    )
    minutes: float = option(
        0.0,
        "Train for this long: sets --steps, and --width and --batch-size unless given, to what this"
        " machine can do; 0 is no limit.",
        low=0,
        high=1e6,
        unit="minutes",
        excludes=("steps",),
    )
    checkpoint_every: int = option(250, "Save a checkpoint every N steps.", metavar="N", **POSITIVE)
    preview_every: int = option(100, "Draw a preview every N steps.", metavar="N", **POSITIVE)
    log_every: int = advanced(10, "Log metrics every N steps.", metavar="N", **POSITIVE)
    keep: int = option(0, "Keep the newest N checkpoints; 0 keeps all.", metavar="N", **COUNT)
    keep_every: int = advanced(
        0, "With --keep, also keep every N-th checkpoint; 0 keeps none.", metavar="N", **COUNT
    )
    eval_every: int = option(
        0,
        "Measure --eval-metric every N steps and keep the best checkpoint; 0 never does.",
        metavar="N",
        **COUNT,
    )
    eval_metric: str = advanced(
        "fid", "Metric of the best checkpoint; lower is better.", choices=EVAL_METRICS
    )
    eval_features: str = advanced(
        "inception",
        "Feature network: inception, or an ONNX file (see wgan eval).",
        metavar="NAME|FILE",
    )
    eval_n: int = advanced(
        2000, "Generated images per measurement.", unit="images", low=10, high=10**6
    )

    def __post_init__(self) -> None:
        """Check each field. Raises UsageError."""
        check(self)
        if self.arch not in ARCHITECTURES and not all(self.arch.partition(":")):
            raise UsageError(
                f"--arch {self.arch} is not one of {', '.join(ARCHITECTURES)}, nor a function of"
                " your own as package.module:function"
            )
        check_data_range(self.data_range)
        if isinstance(self.size, str):
            object.__setattr__(self, "size", parse_size(self.size))  # 48x48 is 48
        check_size(self.size, built_in=self.arch in ARCHITECTURES)
        _check_augment(self.augment)
        if self.gp_every > self.n_critic:
            raise UsageError(
                f"--gp-every {self.gp_every} is not allowed: it must be at most --n-critic"
                f" {self.n_critic}"
            )
        if self.batch_size % self.accumulate:
            raise UsageError(
                f"--accumulate {self.accumulate} does not divide --batch-size {self.batch_size}"
            )

    @property
    def height(self) -> int:
        """Height of the images, in pixels."""
        return height_and_width(self.size)[0]

    @property
    def image_width(self) -> int:
        """Width of the images, in pixels; `width` is that of the networks."""
        return height_and_width(self.size)[1]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images."""
        return self.height, self.image_width, self.channels

    @property
    def has_penalty(self) -> bool:
        """Whether the critic is constrained by a gradient penalty."""
        return self.constraint in ("penalty", "one-sided", "zero-centred")

    @property
    def has_unit_slope(self) -> bool:
        """Whether the constraint pulls the critic's gradient norms to 1 or below."""
        return self.constraint in ("penalty", "one-sided")

    @property
    def decay_length(self) -> int:
        """Steps over which the learning rate falls; 0 keeps it constant."""
        return self.steps if self.decay_steps is None else self.decay_steps

    @property
    def batches_per_step(self) -> int:
        """Batches of real images that a step takes."""
        updates = self.n_critic + (self.loss == "relativistic")  # the generator's loss has them too
        return updates if self.fresh_batches else 1

    @classmethod
    def resolve(cls, given: Mapping[str, Any]) -> Self:
        """Return `given`, completed from its recipe, then from the defaults.

        Raises:
            UsageError: a value is not allowed, or both `minutes` and `steps` are given.
        """
        _check_length(given)
        recipe = given.get("recipe", cls.recipe)
        check_value(cls, "recipe", recipe)
        return cls(**{**RECIPES.get(recipe, {}), **given})

    def resume(self, given: Mapping[str, Any]) -> Self:
        """Return this config with the options of `given` that may change.

        Given `steps` end the limit of `minutes`.

        Raises:
            SettingChanged: an option of `given` that may not change differs.
            UsageError: both `minutes` and `steps` are given.
        """
        _check_length(given)
        for name, value in given.items():
            old = getattr(self, name)
            if name in ("precision", "augment", "data_range") and value == "auto":
                continue  # as it was resolved when the run began
            if value != old and name not in RESUMABLE_FIELDS:
                raise SettingChanged(
                    f"{flag(name, self)} was {old} when this run began and is now {value}: "
                    "keep it, or name another folder with --run"
                )
        changed = {name: value for name, value in given.items() if name in RESUMABLE_FIELDS}
        ended = {"minutes": 0.0} if "steps" in changed else {}
        return dataclasses.replace(self, **{**ended, **changed})

    def to_json(self) -> str:
        """Return the options as indented JSON, one per line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_dict(cls, fields: object, source: str) -> Self:
        """Read the saved options of a run; `source` names them in errors.

        An option that is newer than the run takes its default. `compile`, which 0.1.0 wrote, is
        dropped: it changed only the speed.

        Raises:
            RunError: these are not the options of a run of this version of wgan.
        """
        if isinstance(fields, dict):
            fields = {name: value for name, value in fields.items() if name != "compile"}
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(fields, dict) or not {"data", "size"} <= fields.keys() <= known:
            raise RunError(f"{source} does not hold the options of a run of this wgan version")
        classes = fields.get("classes", ())
        if not isinstance(classes, list | tuple) or not all(isinstance(n, str) for n in classes):
            raise RunError(f"{source} cannot be used: its classes are not a list of names")
        try:
            return cls(**{**fields, "classes": tuple(classes)})
        except UsageError as exc:
            raise RunError(f"{source} cannot be used: {exc}") from exc

    @classmethod
    def from_json(cls, text: str, source: str) -> Self:
        """Read the text that `to_json` wrote. Raises RunError."""
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise RunError(f"{source} is not JSON") from exc
        if isinstance(fields, dict) and fields.get("compile"):
            logger.warning("%s has compile = true, which wgan no longer supports: ignored", source)
        return cls.from_dict(fields, source)


def _check_length(given: Mapping[str, Any]) -> None:
    if given.get("minutes") and "steps" in given:
        raise UsageError("--minutes sets --steps: give one of them")


def _check_augment(augment: str) -> None:
    unknown = set(augment.split(",")) - {*AUGMENTATIONS}
    if unknown and augment not in ("auto", "none"):
        raise UsageError(
            f"--augment {shorten(augment)} is not allowed: auto, none, or some of"
            f" {','.join(AUGMENTATIONS)} with commas between them"
        )
