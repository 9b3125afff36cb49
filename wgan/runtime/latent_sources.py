"""Where latents come from: seeds, a file, a closed path between seeds, steps along a direction.

A source has `len(source)` images; each has a key, the number that names it in files, and a label if
the generator has classes.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from wgan.errors import UsageError
from wgan.files import open_regular
from wgan.latents import ClassInput, ClassWeights, Labels, Latents, format_seeds, latents_from_seeds
from wgan.runtime.labels import Labelling
from wgan.text import plural, shorten

MOST_BY_CLASS = 10**7
"""Images of one command with `by_class`, whose seeds and labels are listed in memory."""


@dataclass(frozen=True)
class LatentSource(ABC):
    """Latents by position, 0 to `len(source) - 1`.

    `truncation` scales them: below 1 images are closer to the mean image, above 1 further away
    (the truncation trick of Brock et al. 2019, section 3.1, by scaling).
    """

    truncation: float
    labelling: Labelling | None = field(default=None, kw_only=True)  # None without classes

    key_name: ClassVar[str]  # what the keys are, in metadata

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    def grid_shape(self) -> tuple[int, int] | None:
        """Rows and columns of a grid of all images that shows what they are; None for any."""
        return None

    def key(self, position: int) -> int:
        """The number that names the image at `position`; by default the position."""
        return position

    def name(self, position: int) -> str:
        """Name of a file of the image at `position`, without its ending.

        Eight digits, so that alphabetical order is that of the keys, and then the class.
        """
        key, labels = f"{self.key(position):08d}", self.labels([position])
        if labels is None or self.labelling is None:
            return key
        return f"{key}-{self.labelling.file_name(labels[0])}"

    def labels(self, positions: Sequence[int]) -> Labels | None:
        """Labels at `positions`: int64 `[len(positions)]`; None without classes."""
        if self.labelling is None:
            return None
        return self.labelling.labels(positions, [self.key(position) for position in positions])

    def class_input(self, positions: Sequence[int]) -> ClassInput | None:
        """What the generator takes for the classes at `positions`; by default their labels."""
        return self.labels(positions)

    @abstractmethod
    def unscaled(self, positions: Sequence[int]) -> Latents:
        """Latents at `positions` before truncation: `[len(positions), latent_dim]`."""

    def settings(self) -> dict[str, Any]:
        """The settings that decide the latents of a key: equal settings give equal images."""
        return {"truncation": self.truncation}

    def latents(self, positions: Sequence[int]) -> Latents:
        """Latents at `positions`: float32 `[len(positions), latent_dim]`."""
        latents = self.unscaled(positions)
        with np.errstate(over="ignore"):  # infinity is refused where the model runs
            return latents if self.truncation == 1 else latents * np.float32(self.truncation)


@dataclass(frozen=True)
class SeedLatents(LatentSource):
    """Latents of seeds; the key is the seed."""

    key_name = "seeds"

    seeds: Sequence[int]
    latent_dim: int
    rows: int | None = None  # of a grid of all images; None for the squarest

    @classmethod
    def by_class(
        cls,
        truncation: float,
        seeds: Sequence[int],
        latent_dim: int,
        labelling: Labelling,
    ) -> Self:
        """All `seeds` in each of the given classes, or in every class: a row for each.

        Raises:
            UsageError: these are more than MOST_BY_CLASS images.
        """
        labels = labelling.given or range(len(labelling.classes))
        if len(seeds) * len(labels) > MOST_BY_CLASS:  # each takes 16 bytes
            raise UsageError(
                f"--by-class draws {plural(len(seeds), 'image')} of each of {len(labels):,}"
                f" classes, more than {MOST_BY_CLASS:,} in all: use several commands, with --seed"
            )
        given = tuple(label for label in labels for _ in seeds)
        several = Labelling(labelling.classes, given)
        return cls(truncation, [*seeds] * len(labels), latent_dim, len(labels), labelling=several)

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def grid_shape(self) -> tuple[int, int] | None:
        """A row for each class, if there are such rows."""
        return None if self.rows is None else (self.rows, len(self) // self.rows)

    def part(self, start: int, stop: int) -> Self:
        """Return the seeds from position `start` to `stop`."""
        labelling = self.labelling and self.labelling.part(start, stop)
        return replace(self, seeds=self.seeds[start:stop], rows=None, labelling=labelling)

    def key(self, position: int) -> int:
        """The seed."""
        return self.seeds[position]

    def unscaled(self, positions: Sequence[int]) -> Latents:
        """As `wgan.latents.latents_from_seeds`."""
        return latents_from_seeds([self.seeds[position] for position in positions], self.latent_dim)


@dataclass(frozen=True)
class RowLatents(LatentSource):
    """The rows of an array of latents; the key is the row's number."""

    key_name = "rows"

    rows: npt.NDArray[np.floating[Any]]  # [n, latent_dim]

    def __len__(self) -> int:
        return len(self.rows)

    def unscaled(self, positions: Sequence[int]) -> Latents:
        """The rows as float32. Raises UsageError if a value is not finite."""
        with np.errstate(over="ignore"):  # infinity is refused below
            latents = np.asarray(self.rows[list(positions)], np.float32)
        finite = np.isfinite(latents).all(axis=1)
        if not finite.all():
            row = positions[int(np.argmin(finite))]
            raise UsageError(f"row {row} of the latents has a value that is not finite")
        return latents


@dataclass(frozen=True)
class FileLatents(RowLatents):
    """The rows of a file of latents."""

    sha256: str  # of the file

    def settings(self) -> dict[str, Any]:
        """The file's hash and the truncation."""
        return {**super().settings(), "latents_sha256": self.sha256}


@dataclass(frozen=True)
class InterpolatedLatents(LatentSource):
    """A closed path of `frames` images through the latents of seeds; the key is the frame.

    Between two seeds the path is a great circle: a straight line would leave the shell on which
    standard normal latents lie (Shoemake 1985; White 2016, "Sampling Generative Networks").

    Labels are one for the whole path, by default that of the first seed, or one for each seed: then
    the label changes at the seeds' own images, with `blends_classes` evenly between them.
    """

    key_name = "frames"

    seeds: Sequence[int]
    latent_dim: int
    frames: int
    blends_classes: bool = field(default=False, kw_only=True)

    def __len__(self) -> int:
        return self.frames

    @property
    def changes_class(self) -> bool:
        """Whether the seeds have several classes."""
        return self.labelling is not None and len(set(self.labelling.given)) > 1

    def labels(self, positions: Sequence[int]) -> Labels | None:
        """Labels of the frames: of the seed where a leg begins, or of the larger weight."""
        if self.labelling is None:
            return None
        if self.blends_classes:
            labels: Labels = self._class_weights(positions).argmax(axis=1)
            return labels
        legs = [self._leg(position)[0] for position in positions]
        return self.labelling.labels(legs, [self.seeds[0]] * len(legs))

    def class_input(self, positions: Sequence[int]) -> ClassInput | None:
        """Labels of the frames, or class weights."""
        return self._class_weights(positions) if self.blends_classes else self.labels(positions)

    def _class_weights(self, positions: Sequence[int]) -> ClassWeights:
        assert self.labelling is not None
        labels = self.labelling.labels(range(len(self.seeds)), self.seeds)
        weights = np.zeros((len(positions), len(self.labelling.classes)), np.float32)
        for row, position in zip(weights, positions, strict=True):
            leg, fraction = self._leg(position)
            row[labels[leg]] += 1 - fraction
            row[labels[(leg + 1) % len(labels)]] += fraction
        return weights

    def _leg(self, position: int) -> tuple[int, float]:
        """The seed before a frame, and the fraction of the way to the next one."""
        # Whole numbers: a float position would drift on a long path.
        leg, part = divmod(position * len(self.seeds), self.frames)
        return leg, part / self.frames

    def unscaled(self, positions: Sequence[int]) -> Latents:
        """Latents of the frames; frame 0 is the first seed's."""
        anchors = latents_from_seeds(self.seeds, self.latent_dim)
        frames = []
        for position in positions:
            leg, fraction = self._leg(position)
            start, end = anchors[leg], anchors[(leg + 1) % len(anchors)]  # back to the first
            frames.append(slerp(start, end, fraction))
        return np.stack(frames)

    def settings(self) -> dict[str, Any]:
        """The seeds, their classes where they differ, the number of frames and the truncation."""
        settings = {**super().settings(), "interpolate": format_seeds(self.seeds)}
        if self.labelling is not None and self.blends_classes:
            settings["between_labels"] = ",".join(map(str, self.labelling.given))
        return {**settings, "of_frames": self.frames}


@dataclass(frozen=True)
class MovedLatents(LatentSource):
    """Latents of `base`, each moved by each of `shifts`; the key is the position.

    Position `row * len(shifts) + column` is the latent of `row`, after its own truncation, plus the
    shift of `column`.
    """

    key_name = "cells"

    base: LatentSource
    shifts: npt.NDArray[np.float32]  # [columns, latent_dim]

    @classmethod
    def along(
        cls,
        base: LatentSource,
        direction: npt.NDArray[np.float32],
        low: float,
        high: float,
        columns: int,
    ) -> Self:
        """Move along a direction, in `columns` even steps from `low` to `high` times its length.

        The middle of an odd number of steps from -s to s is exactly `base`.
        """
        last = columns - 1
        strengths = [(low * (last - step) + high * step) / last for step in range(columns)]
        return cls(1.0, base, np.array(strengths, np.float32)[:, None] * direction)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labelling", self.base.labelling)  # it is frozen

    def __len__(self) -> int:
        return len(self.base) * len(self.shifts)

    @property
    def grid_shape(self) -> tuple[int, int]:
        """A row for each latent of `base`, a column for each shift."""
        return len(self.base), len(self.shifts)

    def labels(self, positions: Sequence[int]) -> Labels | None:
        """Those of `base`."""
        return self.base.labels([position // len(self.shifts) for position in positions])

    def unscaled(self, positions: Sequence[int]) -> Latents:
        """The moved latents; their truncation is that of `base`."""
        rows, columns = np.divmod(np.asarray(positions), len(self.shifts))
        return self.base.latents(rows.tolist()) + self.shifts[columns]

    def settings(self) -> dict[str, Any]:
        """Those of `base`, its keys, which positions do not tell, and the hash of the shifts."""
        keys = format_seeds(map(self.base.key, range(len(self.base))))
        sha256 = hashlib.sha256(self.shifts.tobytes()).hexdigest()
        return {**self.base.settings(), f"of_{self.base.key_name}": keys, "moved_sha256": sha256}


def slerp(
    start: npt.NDArray[np.float32], end: npt.NDArray[np.float32], part: float
) -> npt.NDArray[np.float32]:
    """Spherical linear interpolation: `part` 0 is `start`, 1 is `end`, both `[latent_dim]`.

    The length is interpolated as well. Latents of the same or opposite direction have no unique
    great circle; they are interpolated on the straight line.
    """
    a, b = start.astype(np.float64), end.astype(np.float64)
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    cosine = float(np.clip(a @ b / lengths, -1, 1)) if lengths else 1.0
    angle = np.arccos(cosine)
    if np.sin(angle) < 1e-6:
        return ((1 - part) * a + part * b).astype(np.float32)
    mixed: npt.NDArray[np.float64] = (
        np.sin((1 - part) * angle) * a + np.sin(part * angle) * b
    ) / np.sin(angle)
    return mixed.astype(np.float32)


def load_latents(
    path: Path, latent_dim: int, truncation: float, latent_shape: tuple[int, ...] = ()
) -> FileLatents:
    """Memory-map a `.npy` file of latents, `[n, latent_dim]` or `[n, *latent_shape]`.

    Raises:
        UsageError: the file is missing, or of another kind or shape.
    """
    rows, sha256 = _load_rows(path, latent_dim, "latents", latent_shape)
    return FileLatents(truncation, rows, sha256)


DIRECTION_LIMIT = 4096
"""Most directions of a file: a generator has as many as its latents have numbers."""

DIRECTION_SIZE_LIMIT = 1e6
"""Largest number of a direction, whose length should be 1: far from float32 overflow."""


def load_directions(path: Path, latent_dim: int) -> npt.NDArray[np.float32]:
    """Read a `.npy` file of directions in latent space, float32 `[k, latent_dim]`.

    Raises:
        UsageError: the file is missing, or of another kind or shape.
    """
    rows, _ = _load_rows(path, latent_dim, "directions")
    if len(rows) > DIRECTION_LIMIT:
        raise UsageError(
            f"the directions {path} are {len(rows)}: at most {DIRECTION_LIMIT} are allowed"
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite
        directions = np.array(rows, np.float32)
    if not (np.abs(directions) <= DIRECTION_SIZE_LIMIT).all():
        raise UsageError(
            f"the directions {path} hold a number that is not within +-{DIRECTION_SIZE_LIMIT:g}"
        )
    return directions


def split_direction(name: str) -> tuple[Path, str]:
    """Split `FILE:INDEX`; FILE means its first direction."""
    file, colon, index = name.rpartition(":")
    if not colon or not index.isdecimal():  # a colon can be part of a path
        file, index = name, "0"
    return Path(file), index


def load_direction(name: str, latent_dim: int) -> npt.NDArray[np.float32]:
    """Read the direction `FILE:INDEX`, float32 `[latent_dim]`; FILE means its first.

    Raises:
        UsageError: as `load_directions`, or the file has no direction of that index.
    """
    file, index = split_direction(name)
    directions = load_directions(file, latent_dim)
    if len(index) > 9 or int(index) >= len(directions):
        raise UsageError(
            f"--direction {shorten(name)} is not allowed: {file} holds the directions 0 to"
            f" {len(directions) - 1}"
        )
    direction: npt.NDArray[np.float32] = directions[int(index)]
    return direction


def _load_rows(
    path: Path, latent_dim: int, noun: str, shape: tuple[int, ...] = ()
) -> tuple[npt.NDArray[np.floating[Any]], str]:
    """Memory-map a `.npy` file of rows of `latent_dim` numbers; return its hash too.

    Each row may have the axes `shape` in the file, if these are given.
    """
    try:
        with open_regular(path) as file:
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as exc:
        raise UsageError(f"there is no file of {noun} {path}") from exc
    except OSError as exc:
        raise UsageError(f"the {noun} {path} cannot be read: {exc}") from exc
    except (ValueError, EOFError, SyntaxError) as exc:  # numpy's errors for other kinds of files
        raise UsageError(
            f"the {noun} {path} are no .npy file of numbers: write one with numpy.save"
        ) from exc
    shapes = list(dict.fromkeys(((latent_dim,), shape or (latent_dim,))))
    fits = isinstance(rows, np.ndarray) and rows.ndim > 1 and rows.shape[1:] in shapes
    if not fits or not np.issubdtype(rows.dtype, np.floating) or not len(rows):
        found = f"{rows.dtype} {list(rows.shape)}" if isinstance(rows, np.ndarray) else "an archive"
        allowed = " or ".join(f"[n, {', '.join(map(str, axes))}]" for axes in shapes)
        raise UsageError(
            f"the {noun} {path} are {found}: this generator takes float {allowed}, n at least 1"
        )
    return rows.reshape(len(rows), latent_dim), sha256
