"""Run an exported generator with numpy and onnxruntime, without PyTorch.

from wgan.runtime import Generator, SampleConfig, sample
pixels = Generator("generator.onnx").sample(range(64))    # (64, h, w, c) uint8
sample(SampleConfig(model="generator.onnx", out="samples.png"))    # as `wgan sample`

`wgan.images.to_pil` and `wgan.images.grid` make a Pillow image of pixels.
"""

import contextlib
import threading
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wgan.files import check_keeps_inputs
from wgan.model_file.foreign import ForeignOptions
from wgan.runtime.config import SampleConfig
from wgan.stop import Stopped

if TYPE_CHECKING:
    from wgan.runtime.generator import Generator

__all__ = ["ForeignOptions", "Generator", "SampleConfig", "sample"]


def __getattr__(name: str) -> Any:
    # `wgan --help` shows the options of SampleConfig without numpy and ONNX Runtime (PEP 562).
    if name == "Generator":
        from wgan.runtime.generator import Generator

        return Generator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True)
class Sampled:
    """What `sample` wrote."""

    count: int  # images, with those that an interrupted command had written
    out: str
    provider: str  # ONNX Runtime's execution provider


def sample(config: SampleConfig) -> Sampled:
    """Generate images with an exported model and write them, as `wgan sample` does.

        sample(SampleConfig(count=64, out="samples.png"))
        sample(SampleConfig(seeds="0-999", model="generator.onnx", out="images/"))

    The same call resumes a folder or tar that was interrupted.

    Raises:
        UsageError: an option is not allowed for this model or output.
        ModelFileError: the model is missing, damaged, unsafe, or not a generator.
        DeviceError: the device does not work, or the Ray cluster cannot be reached.
        OutputError: a file cannot be written.
        MissingExtra: a package is not installed.
    """
    from wgan.runtime.generator import Generator
    from wgan.runtime.job import Job
    from wgan.runtime.latent_sources import InterpolatedLatents
    from wgan.runtime.model_source import find_model
    from wgan.runtime.writers import is_resumable, write

    # Python imports what encodes images while ONNX Runtime opens the model: 30 ms saved.
    threading.Thread(target=_import_encoder).start()
    path = find_model(config.model)
    inputs = [("the model", path), *config.input_files]
    check_keeps_inputs(Path(config.out), inputs, "name another output")
    # With Ray the device is the workers'.
    device, compute = ("cpu", "fp32") if config.ray else (config.device, config.compute)
    with Generator(
        path,
        device,
        config.threads,
        foreign=config.foreign,
        allow_random=config.allow_random,
        compute=compute,
    ) as generator:
        source = config.source(generator.latent_dim, generator.classes, generator.latent_shape)
        if isinstance(source, InterpolatedLatents):
            source = generator.blend_classes(source)
        job = Job(generator, source, config.positions(len(source)), config)
        try:
            if config.ray:
                from wgan.runtime.ray import write_shards

                write_shards(config.out, job, path)
            else:
                write(config.out, job)
        except Stopped as exc:
            resumes = config.ray or is_resumable(config.out, job)
            result = "the same command resumes" if resumes else "nothing was written"
            raise Stopped(exc.number, f"stopped; {result}") from None
        return Sampled(len(job.positions), config.out, generator.provider)


def _import_encoder() -> None:
    with contextlib.suppress(Exception):  # the same import in the main thread raises it again
        import_module("PIL.PngImagePlugin")
