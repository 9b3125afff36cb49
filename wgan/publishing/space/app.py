"""A Gradio app for the generator in this folder.

    pip install -r requirements.txt
    python app.py

A Space of the Hugging Face Hub runs it as it is. It needs no wgan: config.json describes the ONNX
file, onnxruntime runs it.
"""

import json
import os
from pathlib import Path

# Neither package sends anything: both variables are read when the packages are imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import gradio as gr
import numpy as np
import onnxruntime

FOLDER = Path(__file__).parent
CONFIG = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
FILE = next(iter(CONFIG["files"].values()))["file"]  # the most precise one
CLASSES = CONFIG["classes"]
ANY = "by seed"
SIDE = 256  # pixels to which smaller images are enlarged

session = onnxruntime.InferenceSession(FOLDER / FILE, providers=["CPUExecutionProvider"])
OUTPUT = "pixels" if CONFIG["channels"] in (1, 3, 4) else "images"


def latents_of(seed: int) -> np.ndarray:
    """Return the latents of a seed, float32 `[latent_dim]`: the same everywhere."""
    latents = np.random.RandomState(seed).standard_normal(CONFIG["latent_dim"])
    return np.asarray(latents, np.float32)


def generate(latents: np.ndarray, labels: list[int]) -> list[np.ndarray]:
    """Generate images, each uint8 `[height, width]` or `[height, width, channels]`."""
    feed = {"latents": latents.astype(np.float32)}
    if CLASSES:
        feed["labels"] = np.array(labels, np.int64)
    if OUTPUT == "pixels":
        (pixels,) = session.run(["pixels"], feed)
    else:  # of many bands the first one, or the first three as colour
        (images,) = session.run(["images"], feed)
        images = images.transpose(0, 2, 3, 1)
        pixels = np.rint((images + 1) * 127.5).clip(0, 255).astype(np.uint8)
        pixels = pixels[..., : 3 if pixels.shape[-1] > 4 else 1]
    scale = max(1, SIDE // max(pixels.shape[1:3]))
    pixels = pixels.repeat(scale, axis=1).repeat(scale, axis=2)
    return list(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def label_of(seed: int, name: str) -> int:
    """Return the class of an image: the chosen one, or that of its seed."""
    if not CLASSES:
        return 0
    return CLASSES.index(name) if name in CLASSES else seed % len(CLASSES)


def seed_of(number: float | None) -> int:
    """Return the seed that a field shows; 0 if it is empty."""
    return int(min(max(number or 0, 0), 2**32 - 1))


def draw(seed: float | None, count: float, truncation: float, name: str) -> list[np.ndarray]:
    """Draw `count` seeds from `seed` on."""
    first = seed_of(seed)
    seeds = range(first, min(first + int(count), 2**32))
    latents = np.stack([latents_of(each) for each in seeds]) * truncation
    return generate(latents, [label_of(each, name) for each in seeds])


def between(start: float | None, end: float | None, position: float, name: str) -> np.ndarray:
    """Draw an image on the way from one seed to another, `position` from 0 to 1."""
    one, two = latents_of(seed_of(start)), latents_of(seed_of(end))
    # On the arc between them: the middle of a straight line is nearer to 0 than latents are.
    cosine = np.dot(one, two) / (np.linalg.norm(one) * np.linalg.norm(two))
    angle = np.arccos(np.clip(cosine, -1, 1))
    weights = [1 - position, position]
    if np.sin(angle) > 1e-6:
        weights = [np.sin(weight * angle) / np.sin(angle) for weight in weights]
    latents = weights[0] * one + weights[1] * two
    return generate(latents[None], [label_of(seed_of(start), name)])[0]


with gr.Blocks(title=CONFIG["name"], analytics_enabled=False) as demo:
    depends = "the model, seed k and its class" if CLASSES else "the model and on seed k"
    gr.Markdown(f"# {CONFIG['name']}\n\nImage k depends only on {depends}.")
    kind = gr.Dropdown([ANY, *CLASSES], value=ANY, label="Class", visible=bool(CLASSES))
    with gr.Tab("Images"):
        with gr.Row():
            seed = gr.Number(0, label="First seed", precision=0, minimum=0, maximum=2**32 - 1)
            count = gr.Slider(1, 64, 16, step=1, label="Images")
            truncation = gr.Slider(0, 1.5, 1, step=0.05, label="Truncation")
        button = gr.Button("Draw", variant="primary")
        gallery = gr.Gallery(show_label=False, columns=8, format="png")
        inputs = [seed, count, truncation, kind]
        gr.on([button.click, demo.load], draw, inputs, gallery, api_name="draw")
    with gr.Tab("Between two seeds"):
        with gr.Row():
            start = gr.Number(0, label="From seed", precision=0, minimum=0, maximum=2**32 - 1)
            end = gr.Number(1, label="To seed", precision=0, minimum=0, maximum=2**32 - 1)
            position = gr.Slider(0, 1, 0.5, step=0.01, label="Position")
        image = gr.Image(show_label=False, format="png", height=384, buttons=["download"])
        moved = [position.change, start.change, end.change, kind.change, demo.load]
        gr.on(moved, between, [start, end, position, kind], image, api_name="between")

if __name__ == "__main__":
    demo.launch()
