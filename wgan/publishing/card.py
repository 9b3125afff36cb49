"""The model card: README.md of a published folder."""

import re
from collections.abc import Sequence
from typing import Any

from wgan import __version__
from wgan.image_shape import PIXEL_CHANNELS, channels_text
from wgan.model_file.manifest import Manifest
from wgan.publishing.config import PublishConfig, slug
from wgan.publishing.exports import PublishedFile
from wgan.publishing.front_matter import front_matter
from wgan.publishing.measured import Measured
from wgan.publishing.snippets import javascript, onnxruntime_python, shell, wgan_python
from wgan.text import printable

SHOWN_CLASSES = 100
"""Names of classes in the card; config.json has all."""

_RECIPE = (
    *("recipe", "arch", "size", "width", "latent_dim", "conditional", "flip", "augment"),
    *("batch_size", "n_critic", "loss", "constraint", "gp_weight", "optimizer", "learning_rate"),
    *("beta1", "beta2", "decay_steps", "ema_half_life", "seed"),
)
"""Settings of the training that the card lists, as far as the manifest has them."""

_LIMITS = """\
- It draws only the kind of image that it was trained on, with that data's gaps and biases.
- An image may resemble a training image closely. `wgan eval --neighbours` shows generated images
  beside the nearest real ones.
- Latents far from those of a normal distribution (truncation above 1) give distorted images."""

_RECEIPTS = """\
The receipt and a few of those images are in each file; `wgan verify FILE` draws them again on your
machine and compares. `config.json` has the receipts too."""


def write_card(
    config: PublishConfig, files: Sequence[PublishedFile], measured: Measured | None
) -> str:
    """Return the card of `files`, the most precise first."""
    manifest = files[0].manifest
    sections = [
        front_matter(_metadata(config, manifest, measured)) + f"\n# {markdown(config.title)}",
        _introduction(manifest),
        "![Generated images](samples.png)",
        "![The way from one image to others, and back](interpolation.webp)",
        "## Use",
        *_usage(config, files),
        "## Data and training",
        *_training(manifest),
        "## Metrics",
        *_metrics(measured),
        "## Limits",
        _LIMITS,
        "## Proof",
        *_proof(files),
        "## Licence",
        f"`{config.license}`." if config.license else "None is stated.",
    ]
    return "\n\n".join(sections) + "\n"


def _metadata(
    config: PublishConfig, manifest: Manifest, measured: Measured | None
) -> dict[str, Any]:
    """The card's YAML: for a model, and for a Space, which shares the folder."""
    fields: dict[str, Any] = {"title": printable(config.title), "library_name": "wgan"}
    if config.license:
        fields["license"] = config.license
    fields |= {
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["gan", "wgan", "image-generation", "onnx", "transformers.js"],
        "sdk": "gradio",
        "app_file": "app.py",
    }
    if measured is None:
        return fields
    dataset = {"name": measured.data, "type": slug(measured.data)}
    metrics = [
        {"type": name, "name": f"{measured.labels[name]} ({measured.features})", "value": value}
        for name, value in measured.values.items()
    ]
    result = {
        "task": {"type": "unconditional-image-generation"},
        "dataset": dataset,
        "metrics": metrics,
    }
    return fields | {"model-index": [{"name": printable(config.title), "results": [result]}]}


def _introduction(manifest: Manifest) -> str:
    size = f"{manifest.width}x{manifest.height}"
    colours = channels_text(manifest.channels)
    kind = f"{colours} images" if manifest.channels in PIXEL_CHANNELS else f"images of {colours}"
    classes = f", of {len(manifest.classes):,} classes" if manifest.classes else ""
    origin = (
        "a Wasserstein GAN, trained with wgan in PyTorch"
        if not manifest.source
        else "a generator of another project"
    )
    return (
        f"Generates {kind} of {size} pixels{classes}: {origin}. The files are ONNX and need no"
        " PyTorch: each was written only after its images had matched the original's. Image k"
        f" depends only on the model{', seed k and its class' if classes else ' and on seed k'}."
    )


def _usage(config: PublishConfig, files: Sequence[PublishedFile]) -> list[str]:
    manifest, address = files[0].manifest, config.address
    return [
        "In the shell and in Python, with wgan and its extras `cpu` and `hub`:",
        shell(address),
        wgan_python(address, manifest),
        "With only onnxruntime and numpy, in this folder:",
        onnxruntime_python(files[0].name, manifest),
        "In JavaScript, with transformers.js, which warns that it has no class of its own for it:",
        javascript(address, files, manifest),
        "`app.py` is a Gradio app: `pip install -r requirements.txt`, `python app.py`.",
    ]


def _training(manifest: Manifest) -> list[str]:
    settings = manifest.config
    lines = []
    if data := settings.get("data"):
        lines.append(f"Trained on images called {code(data)}.")
    if manifest.data_range:
        low, high = manifest.data_range
        lines.append(f"{low:g} was black and {high:g} white in that data.")
    if manifest.step is not None:
        lines.append(f"The weights are the moving average (EMA) after {manifest.step:,} steps.")
    found = [" ".join(lines)] if lines else ["The files do not say what it was trained on."]
    if manifest.classes:
        names = ", ".join(map(code, manifest.classes[:SHOWN_CLASSES]))
        more = len(manifest.classes) - SHOWN_CLASSES
        found.append(f"Classes, by label: {names}" + (f" and {more} more." if more > 0 else "."))
    rows = [
        (code(name), code(settings[name])) for name in _RECIPE if settings.get(name) is not None
    ]
    return found + ([table(("setting", "value"), rows)] if rows else [])


def _metrics(measured: Measured | None) -> list[str]:
    if measured is None:
        return ["Not measured."]
    rows = [
        (markdown(measured.labels[name]), _with_interval(value, measured.halves.get(name)))
        for name, value in measured.values.items()
    ]
    how = (
        f"{markdown(measured.how)}. Numbers compare only with others of the same features and"
        " number of images."
    )
    return [how, table(("metric", "value"), rows)]


def _with_interval(value: float, half: float | None) -> str:
    return _number(value) if half is None else f"{_number(value)} ± {_number(half)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.4g}"


def _proof(files: Sequence[PublishedFile]) -> list[str]:
    rows = [_proof_row(file) for file in files]
    manifest = files[0].manifest
    trained = manifest.receipt.reference == "PyTorch"
    reference = "PyTorch's images in float32" if trained else "the original's images"
    sums = "\n".join(f"{file.sha256}  {file.name}" for file in files)
    return [
        f"The largest difference from {reference}, and the lowest PSNR of an image:",
        table(("file", "precision", "size", "difference", "PSNR", "seeds"), rows),
        _RECEIPTS,
        f"SHA-256, as `sha256sum -c` reads it:\n\n```text\n{sums}\n```",
        f"SHA-256 of the weights: {code(manifest.weights_sha256)}. Card by wgan {__version__}.",
    ]


def _proof_row(file: PublishedFile) -> tuple[str, ...]:
    receipt = file.manifest.receipt
    return (
        code(file.name),
        file.manifest.precision,
        f"{len(file.data) / 1e6:.1f} MB",
        f"{receipt.seen.pixels} of 255",
        f"{receipt.seen.psnr:.0f} dB",
        markdown(receipt.seeds) + (", tolerance loosened" if receipt.loosened else ""),
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(value: object) -> str:
    """Return text of a file as code of Markdown, which cannot end there or end a table's cell."""
    return f"`{printable(value).replace('`', chr(39)).replace('|', '/')}`"


def markdown(text: object) -> str:
    """Return text of a file such that Markdown and HTML in it have no effect."""
    return re.sub(r"([\\`*_\[\]<>#|&])", r"\\\1", printable(text))
