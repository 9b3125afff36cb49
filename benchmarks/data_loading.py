"""Batches per second: from the cache, from shards, and by decoding JPEG files in each epoch.

    python -m benchmarks.data_loading [--images 4000] [--size 64] [--workers 2] [--rounds 5]

The last is `torchvision.datasets.ImageFolder` with `torch.utils.data.DataLoader`. All read the
same images, 178x218 like CelebA's, and yield the same batches: float32 in [-1, 1] on the CPU. A
round reads an epoch of each in turn; the first round is not counted.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image, ImageFilter
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from wgan import __version__
from wgan.host import usable_cores
from wgan.training.data import (
    Batches,
    Cache,
    Transform,
    load_data,
    load_images,
    open_data,
    open_source,
)
from wgan.training.data.shard_writer import write_shards
from wgan.training.data.sources.glyphs import GlyphSource

BATCH_SIZE = 64
CPU = torch.device("cpu")

Epoch = Callable[[], int]
"""Reads the batches of an epoch and returns the number of images."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=usable_cores())
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {usable_cores()} cores,"
        f" {torch.get_num_threads()} threads; Python {platform.python_version()},"
        f" torch {torch.__version__}, torchvision {torchvision.__version__},"
        f" pillow {PIL.__version__}, wgan {__version__}"
    )
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), options.images, options.size, options.workers, options.rounds)


def measure(folder: Path, count: int, size: int, workers: int, rounds: int) -> None:
    """Write the images, then time the first load and each epoch."""
    mean_bytes = write_images(folder / "images" / "all", count)
    print(f"{count} JPEG of 178x218, {mean_bytes / 1000:.1f} kB each, to {size}x{size}\n")
    ways = {
        f"ImageFolder and DataLoader, {workers} workers": image_folder(folder, size, workers),
        "ImageFolder and DataLoader, no workers": image_folder(folder, size, 0),
        "wgan, shards of the JPEG files": shards(folder, size, resized=False),
        f"wgan, shards of {size}x{size} PNG": shards(folder, size, resized=True),
        "wgan, the cache": cache(folder, size),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds + 1):
        for way, epoch in ways.items():
            start = time.perf_counter()
            done = epoch()
            rates[way].append(done / (time.perf_counter() - start))
    print_rates({way: counted[1:] for way, counted in rates.items()})


def print_rates(rates: dict[str, list[float]]) -> None:
    """Print a table of median rates and their ratio to the first."""
    first = statistics.median(next(iter(rates.values())))
    print("| | images/s | slowest to fastest round | times |")
    print("| --- | --- | --- | --- |")
    for way, counted in rates.items():
        rate = statistics.median(counted)
        spread = f"{min(counted):,.0f} to {max(counted):,.0f}"
        print(f"| {way} | {rate:,.0f} | {spread} | {rate / first:.1f} |")


def write_images(folder: Path, count: int) -> float:
    """Write JPEG files of 178x218 with soft shading like photographs; returns their mean size."""
    folder.mkdir(parents=True)
    source = GlyphSource(count)
    for index in range(count):
        random = np.random.RandomState(index)
        shade = Image.fromarray(random.randint(0, 256, (14, 12, 3)).astype(np.uint8))
        image = source.image(index, 218).crop((20, 0, 198, 218))
        shaded = Image.blend(image, shade.resize(image.size, Image.Resampling.BICUBIC), 0.4)
        shaded.filter(ImageFilter.GaussianBlur(1)).save(folder / f"{index:06}.jpg", quality=92)
    return sum(path.stat().st_size for path in folder.iterdir()) / count


def image_folder(folder: Path, size: int, workers: int) -> Epoch:
    """Decode each file in each epoch, like most training scripts."""
    data = torchvision.datasets.ImageFolder(
        str(folder / "images"),
        v2.Compose(
            [
                v2.Resize(size, antialias=True),
                v2.CenterCrop(size),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize([0.5] * 3, [0.5] * 3),
            ]
        ),
    )
    loader = DataLoader(
        data,
        batch_size=BATCH_SIZE,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return lambda: sum(len(images) for images, _ in loader)


def cache(folder: Path, size: int) -> Epoch:
    """Read the cache of decoded images; prints the time to write and to open it."""
    images_cache = Cache(folder=folder / "cache")
    for what in ("decoding once, into the cache", "opening the cache in a later run"):
        start = time.perf_counter()
        source = open_source(folder / "images")
        listed = time.perf_counter() - start
        images = load_images(source, Transform(size=size, channels=3), cache=images_cache)
        print(f"{what}: {time.perf_counter() - start:.2f} s, of which listing {listed:.2f} s")
    print()
    batches = Batches(images.pixels, BATCH_SIZE, seed=0, device=CPU)
    return lambda: draw(batches.next, len(images.pixels))


def shards(folder: Path, size: int, resized: bool) -> Epoch:
    """Stream shards of the original files, or of resized ones."""
    source = open_source(folder / "images")
    transform = Transform(size=size, channels=3) if resized else None
    target = folder / f"shards-{'resized' if resized else 'files'}"
    written = write_shards(source, target, shard_size=-(-len(source) // 4), transform=transform)
    data = load_data(open_data(written.pattern), Transform(size=size, channels=3))
    batches = data.batches(BATCH_SIZE, seed=0, device=CPU)
    return lambda: draw(batches.next, written.count)


def draw(next_batch: Callable[[], torch.Tensor], count: int) -> int:
    """Read the complete batches of an epoch."""
    return sum(len(next_batch()) for _ in range(count // BATCH_SIZE))


if __name__ == "__main__":
    main()
