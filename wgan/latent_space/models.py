"""The generator that is looked into: an ONNX file, or a run's or file's checkpoint in PyTorch.

One class of a generator with classes is looked into.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wgan.errors import UsageError, needs_extra
from wgan.files import is_folder
from wgan.images import Images
from wgan.latent_space.config import LatentSpaceConfig
from wgan.latent_space.fixed_label import chosen_label
from wgan.latents import ClassInput, Labels, Latents
from wgan.model_file.archive import is_program
from wgan.model_file.published import find_published
from wgan.model_file.reading import is_archive
from wgan.runs import follow_pointer
from wgan.runtime import Generator, builtin
from wgan.runtime.model_source import find_model

if TYPE_CHECKING:
    from wgan.latent_space.checkpoint_generator import CheckpointGenerator

    LatentModel = Generator | CheckpointGenerator


class OneClassGenerator(Generator):
    """An exported generator whose images are all of one class, if it has classes."""

    label: int | None = None

    def images(self, latents: Latents, labels: ClassInput | None = None) -> Images:
        """As `Generator.images`, without labels of the one class."""
        return super().images(latents, self._own_labels(latents) if labels is None else labels)

    def values(self, name: str, latents: Latents, labels: Labels | None = None) -> npt.NDArray[Any]:
        """As `Generator.values`, without labels of the one class."""
        labels = self._own_labels(latents) if labels is None else labels
        return super().values(name, latents, labels)

    def _own_labels(self, latents: Latents) -> Labels | None:
        return None if self.label is None else np.full(len(latents), self.label, np.int64)


def open_model(config: LatentSpaceConfig, method: str = "auto") -> "LatentModel":
    """Open the generator that `config` names.

    A checkpoint is opened in PyTorch, and so is a run's, unless PyTorch is not installed or
    `method` is "evolution": then the newest export of the run is taken.

    Raises:
        ModelFileError: the file is missing, damaged, unsafe, or not a generator.
        RunError: the run does not exist, or its checkpoint is missing or damaged.
        UsageError: a setting is not allowed, or `method` is "gradients" and the model is an export.
        DeviceError: the device does not work.
        MissingExtra: PyTorch or onnxruntime is not installed.
    """
    named = config.model not in (None, builtin.NAME)
    path = follow_pointer(Path(str(config.model))) if named else None
    is_run = path is not None and is_folder(path) and find_published(path) is None
    prefers_run = method == "gradients" or (method == "auto" and find_spec("torch") is not None)
    if path is not None and (is_archive(path) or (is_run and prefers_run)):
        with needs_extra("train", purpose="opening a checkpoint"):
            from wgan.latent_space.checkpoint_generator import open_checkpoint_generator
        if not is_run and is_program(path):
            raise UsageError(
                f"{path} is an archive for PyTorch: give the run, its checkpoint or an ONNX export"
            )
        if config.foreign.given:
            name = next(iter(config.foreign.given))
            raise UsageError(
                f"{name} is for exported files, and {path} is a run or a checkpoint: leave it out"
            )
        return open_checkpoint_generator(path, config)
    if method == "gradients":
        raise UsageError(
            "--method gradients needs a run or a checkpoint, and an exported file has no gradients:"
            " give --model RUN, or leave out --method"
        )
    if config.checkpoint is not None or config.arch is not None:
        option = "--checkpoint" if config.checkpoint is not None else "--arch"
        raise UsageError(f"{option} is for a run, and the model is an exported file: leave it out")
    path = find_model(config.model)
    generator = OneClassGenerator(path, config.device, config.threads, foreign=config.foreign)
    generator.label = chosen_label(config.label, generator.classes)
    return generator


def training_settings(model: "LatentModel") -> Mapping[str, Any]:
    """Return the settings of the training, as far as the model knows them."""
    if isinstance(model, Generator):
        return model.manifest.config if model.manifest is not None else {}
    return model.settings
