"""Code of a model card: how to draw in the shell, in Python and in JavaScript."""

from collections.abc import Sequence

from wgan.image_shape import PIXEL_CHANNELS
from wgan.model_file import IMAGES, LABELS, LATENTS, PIXELS
from wgan.model_file.manifest import Manifest
from wgan.publishing.exports import PublishedFile


def shell(address: str) -> str:
    """Commands that sample and serve."""
    return _block(
        "sh",
        f"wgan sample --model hf://{address} -n 64 out.png",
        f"wgan serve hf://{address}",
    )


def wgan_python(address: str, manifest: Manifest) -> str:
    """Sampling with wgan."""
    several = ", labels=0" if manifest.classes else ""
    height, width, channels = manifest.height, manifest.width, manifest.channels
    return _block(
        "python",
        "from wgan import Generator",
        "",
        f'generator = Generator("hf://{address}")',
        f"pixels = generator.sample(64{several})  # uint8, (64, {height}, {width}, {channels})",
    )


def onnxruntime_python(file: str, manifest: Manifest) -> str:
    """Sampling without wgan."""
    size = manifest.latent_dim
    labels = ""
    if manifest.classes:
        labels = f', "{LABELS}": np.array([seed % {len(manifest.classes)} for seed in seeds])'
    return _block(
        "python",
        "import numpy as np",
        "import onnxruntime",
        "",
        f'session = onnxruntime.InferenceSession("{file}")',
        "seeds = range(64)",
        f"latents = [np.random.RandomState(seed).standard_normal({size}) for seed in seeds]",
        f'feed = {{"{LATENTS}": np.array(latents, np.float32){labels}}}',
        *(
            [f'(pixels,) = session.run(["{PIXELS}"], feed)  # uint8, {_shape(manifest)}']
            if manifest.channels in PIXEL_CHANNELS
            else [f'(images,) = session.run(["{IMAGES}"], feed)  # [-1, 1], {_shape(manifest)}']
        ),
    )


def javascript(address: str, files: Sequence[PublishedFile], manifest: Manifest) -> str:
    """Sampling with transformers.js, in a browser or in Node.js.

    It takes any `model_type`: one that it does not know is a warning, and its base class.
    """
    # transformers.js finds a file by the same names of precisions.
    size, dtype = manifest.latent_dim, files[0].manifest.precision
    others = [f'"{file.manifest.precision}"' for file in files[1:]]
    comment = f"  // or {', '.join(others)}" if others else ""
    name = PIXELS if manifest.channels in PIXEL_CHANNELS else IMAGES
    values = "uint8" if name == PIXELS else "[-1, 1]"
    feed = f'{LATENTS}: new Tensor("float32", latents, [n, {size}])'
    labels = []
    if manifest.classes:
        labels = ["const labels = new BigInt64Array(n); // 0n, the first class"]
        feed += f', {LABELS}: new Tensor("int64", labels, [n])'
    return _block(
        "js",
        'import { AutoModel, Tensor } from "@huggingface/transformers";',
        "",
        f'const dtype = "{dtype}";{comment}',
        f'const model = await AutoModel.from_pretrained("{address}", {{ dtype }});',
        "const n = 16;",
        "const normal = () =>",
        "  Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());",
        f"const latents = Float32Array.from({{ length: n * {size} }}, normal);",
        *labels,
        f"const {{ {name} }} = await model({{ {feed} }});",
        f"console.log({name}.dims); // {values}, {_shape(manifest, 'n')}",
    )


def _shape(manifest: Manifest, n: str = "64") -> str:
    height, width, channels = manifest.height, manifest.width, manifest.channels
    if channels in PIXEL_CHANNELS:
        return f"[{n}, {height}, {width}, {channels}]"
    return f"[{n}, {channels}, {height}, {width}]"


def _block(language: str, *lines: str) -> str:
    return "\n".join([f"```{language}", *lines, "```"])
