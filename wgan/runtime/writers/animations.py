"""Animations of an interpolation: GIF and WebP by Pillow, MP4 by PyAV."""

import itertools
import struct
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from wgan.errors import UsageError, needs_extra
from wgan.files import whole_file
from wgan.images import MAX_SIDES, Pixels, to_pil
from wgan.runtime.job import Job
from wgan.text import plural

GIF_FPS_LIMIT = 50
"""Players show frames of less than 2/100 s for 10/100 s instead."""

LOOPING_LIMIT = 2**28
"""Most pixels of all frames of a GIF or WebP together: Pillow holds them in memory at once."""


def write_animation(path: Path, job: Job) -> None:
    """Write the frames in order; GIF and WebP loop without end.

    Raises:
        UsageError: more frames per second than players of GIF show, or frames that are too many,
            too large or shown too long.
        OutputError: the file cannot be written.
        MissingExtra: `.mp4` needs PyAV.
    """
    if path.suffix.lower() == ".gif" and job.config.fps > GIF_FPS_LIMIT:
        raise UsageError(
            f"--fps {job.config.fps:g} is not allowed for a GIF, which shows at most"
            f" {GIF_FPS_LIMIT} frames per second: write a .webp or .mp4"
        )
    if path.suffix.lower() == ".mp4":
        with needs_extra("video", purpose="writing .mp4"):
            import av  # noqa: F401 - missing packages are reported before the work
        with whole_file(path) as file:
            _write_video(file, job)
    else:
        kind = path.suffix.lower()[1:].upper()
        _check_size(job, kind)
        with whole_file(path) as file:
            _write_looping(file, job, kind)


def _check_size(job: Job, kind: str) -> None:
    frames, (height, width, _) = len(job.positions), job.image_shape
    if frames * height * width > LOOPING_LIMIT or max(height, width) > MAX_SIDES[kind]:
        raise UsageError(
            f"a {kind} of {plural(frames, 'frame')} of {width}x{height} pixels is too large:"
            " generate fewer --frames, lower --scale, or write a .mp4 or a folder of PNGs (out/)"
        )


def _write_looping(file: BinaryIO, job: Job, kind: str) -> None:
    frames = [to_pil(pixels) for _, pixels in job.numbered_images()]
    try:
        frames[0].save(
            file,
            format=kind,
            save_all=True,
            append_images=frames[1:],
            duration=_durations(len(frames), job.config.fps, kind),
            loop=0,
            **({"quality": 90} if kind == "WEBP" else {}),
        )
    except (OverflowError, struct.error) as exc:  # struct: before Pillow 13
        # A GIF has 16 bits for the hundredths of a second of a frame, and Pillow joins equal ones;
        # a WebP has 31 bits for the milliseconds of all.
        limit = "one image for more than 655 s" if kind == "GIF" else "images for 25 days"
        raise UsageError(f"a {kind} cannot show {limit}: raise --fps, or write a .mp4") from exc


def _write_video(file: BinaryIO, job: Job) -> None:
    import av

    with av.open(file, "w", format="mp4") as container:
        # The intended ratio: 23.976 is 24000/1001.
        rate = Fraction(job.config.fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate)
        # yuv420p, which every player supports, halves the chroma's size: sides must be even.
        height, width, _ = job.image_shape
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18"}  # visually lossless
        for _, pixels in job.numbered_images():
            frame = av.VideoFrame.from_ndarray(_rgb_of_even_sides(pixels), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())  # flush the encoder


def _durations(frames: int, fps: float, kind: str) -> list[int]:
    """Milliseconds of each frame, rounded such that their sum stays exact."""
    step = 10 if kind == "GIF" else 1  # GIF counts in hundredths of a second
    ends = [round(frame * 1000 / fps / step) * step for frame in range(frames + 1)]
    return [end - start for start, end in itertools.pairwise(ends)]


def _rgb_of_even_sides(pixels: Pixels) -> Pixels:
    """Convert to three channels and even sides, by repeating the last row and column."""
    height, width, channels = pixels.shape
    even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(even.repeat(3 // channels, axis=2))
