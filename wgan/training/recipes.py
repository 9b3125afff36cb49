"""Recipes, which are named sets of defaults, and the choices and bounds of the options of a run."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from wgan.image_shape import PATTERN, TRAINED_SIDE_LIMIT, parse_size

ARCHITECTURES = ("resize-conv", "dcgan", "resnet")
"""The built-in architectures."""

CRITIC_NORMS = ("none", "layer", "instance", "batch")

LOSSES = ("wasserstein", "relativistic")
"""What both networks minimise.

wasserstein: Gulrajani et al. 2017, equation 3. relativistic: a real image compared with a generated
one (Huang et al. 2024, "The GAN is dead; long live the GAN!", arXiv:2501.05441, equation 2).
"""

CONSTRAINTS = ("penalty", "one-sided", "zero-centred", "clip", "spectral")
"""How the critic's slope is kept small.

penalty: two-sided gradient penalty (Gulrajani et al. 2017). one-sided: only norms above 1 are
penalised (Petzka et al. 2018). zero-centred: R1 and R2, the squared norms at real and at generated
images (Mescheder et al. 2018, arXiv:1801.04406). clip: each weight is clipped to +-clip_limit
(Arjovsky et al. 2017, arXiv:1701.07875). spectral: each layer's largest singular value is 1
(Miyato et al. 2018).
"""

FRAMES = ("first", "all")

SCHEDULES = ("linear", "r3gan")
"""What changes over `decay_steps`; see `state.at_step`."""

OPTIMIZERS = ("adam", "rmsprop")

EVAL_METRICS = ("fid", "kid")
"""Metrics that can choose the best checkpoint: see docs/evaluating.md."""

PRECISIONS = ("auto", "fp32", "tf32", "bf16")
"""Arithmetic of the networks; `device.py` says what each does."""

AUGMENTATIONS = ("color", "translation", "cutout")
"""Differentiable augmentations; `augmentation.py` says what each does."""

AUGMENTED_BELOW = 2000
"""Sets of fewer images are augmented with `--augment auto`.

It helped with 100 and 1,000 photographs and hurt with 4,317 (docs/quality.md).
"""

AUTO = ("auto", "yes", "no")

POSITIVE = {"low": 1, "high": 2**31}
COUNT = {"low": 0, "high": 2**32 - 1}
WEIGHT = {"low": 0, "high": 1e6}
SIZE: Mapping[str, Any] = {
    "low": 1,
    "high": TRAINED_SIDE_LIMIT,
    "pattern": PATTERN,
    "parse": parse_size,
    "unit": "pixels",
    "metavar": "N|HxW",
}

_PAPER: Mapping[str, Any] = {
    "arch": "dcgan",
    "n_critic": 5,
    "learning_rate": 2e-4,
    "decay_steps": 0,
}

RECIPES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # wgan's own: the defaults. WGAN-GP on networks without a checkerboard, with fewer critic
        # updates at a higher rate that falls to 0. Measured in docs/quality.md.
        "tuned": {"augment": "auto"},
        # Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", Algorithm 1, except the
        # learning rate. Twice the paper's rate was better throughout: docs/quality.md.
        "wgan-gp": _PAPER,
        # Huang et al. 2024, "The GAN is dead; long live the GAN!" and its code's settings for
        # CIFAR-10, with the networks of the other recipes.
        "r3gan": {
            "loss": "relativistic",
            "constraint": "zero-centred",
            "gp_weight": 0.05,
            "n_critic": 1,
            "learning_rate": 2e-4,
            "schedule": "r3gan",
            "ema_half_life": 500_000,
        },
        # A tutorial's WGAN-GP: batch norm in the critic, one batch for the 3 updates of a step.
        "article": {
            **_PAPER,
            "n_critic": 3,
            "fresh_batches": False,
            "critic_norm": "batch",
            "learning_rate": 1e-4,
            "beta1": 0.5,
            "beta2": 0.999,
        },
        # Arjovsky et al. 2017, "Wasserstein GAN", Algorithm 1 and section 4.
        "wgan-clip": {
            **_PAPER,
            "constraint": "clip",
            "optimizer": "rmsprop",
            "learning_rate": 5e-5,
            "critic_norm": "batch",
        },
        # Gulrajani et al. 2017, appendix F: the CIFAR-10 ResNet.
        "resnet": {**_PAPER, "arch": "resnet", "width": 128, "decay_steps": 100_000},
    }
)
