"""Mode coverage of 25 Gaussians on a grid and 8 on a ring, with the training loop of wgan.

    python -m benchmarks.quality.gaussians RESULTS [--seeds 3] [--only grid]
        [--write docs/quality.md] [--image docs/images/gaussians.png]

PacGAN's protocol: 100,000 training points, 2,500 generated ones. An interrupted run continues.
Time is CPU time on one thread, which other programs and pauses do not change.
"""

import dataclasses
import io
import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

from benchmarks.machine import describe_machine
from benchmarks.quality.mixtures import MIXTURES, SCORED, Mixture, Points, score
from benchmarks.quality.records import (
    Record,
    arguments,
    load_records,
    publish,
    save_record,
    spread,
    table,
)
from wgan.files import make_folder, whole_file
from wgan.latents import latents_from_seeds
from wgan.training.config import TrainConfig
from wgan.training.loop import train_steps
from wgan.training.networks import build
from wgan.training.networks.norms import initialise_he
from wgan.training.state import TrainState

TRAINING_POINTS = 100_000

SNAPSHOTS = (0.0, 0.02, 0.1, 0.3, 1.0)
"""Shares of a run after which its points are kept for the image."""

CHECKPOINTS = 20
"""Times that a run is scored and saved."""

STEPS = {"grid": 10_000, "ring": 6_000}

GENERATOR_LAYERS, CRITIC_LAYERS = 5, 3
"""Hidden layers. A steep generator makes few points between Gaussians, and depth makes it steep:
with three layers more than a tenth of the points stayed there."""

COMMON = TrainConfig(
    arch="benchmarks.quality.gaussians:networks",
    latent_dim=2,  # as in PacGAN; with 16 sharp edges take many times as long
    width=128,
    batch_size=128,
    n_critic=5,
    gp_weight=0.1,
    learning_rate=1e-3,
    ema_half_life=50_000,
)


def settings(seed: int, steps: int) -> TrainConfig:
    """Settings of a run, whose learning rate falls to 0 at its end."""
    return dataclasses.replace(COMMON, seed=seed, steps=steps, decay_steps=steps)


def networks(config: TrainConfig) -> tuple[nn.Module, nn.Module]:
    """Build two perceptrons: latents -> points `[n, 2]`, points -> scores `[n]`."""
    generator = perceptron(config.latent_dim, config.width, 2, GENERATOR_LAYERS)
    critic = nn.Sequential(*perceptron(2, config.width, 1, CRITIC_LAYERS), nn.Flatten(0))
    return generator, critic


def perceptron(inputs: int, width: int, outputs: int, hidden: int) -> nn.Sequential:
    """Build linear layers with ReLU between them, initialised as by He et al."""
    sizes = [inputs, *[width] * hidden]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(width, outputs))
    initialise_he(network)
    return network


class GaussianRun:
    """A run, saved to a file as it goes."""

    def __init__(self, mixture: Mixture, config: TrainConfig, path: Path) -> None:
        self.mixture, self.config, self.path = mixture, config, path
        self.state = TrainState(*build(config, networks), config, torch.device("cpu"))
        self.step = 0
        self.drawn = 0
        self.cpu_seconds = 0.0
        self.curve: list[Record] = []
        self.snapshots: dict[int, Tensor] = {}
        self._points = torch.from_numpy(
            mixture.sample(TRAINING_POINTS, config.seed) / mixture.scale
        )
        if path.exists():
            self._load()

    def next_batch(self) -> Tensor:
        """Draw training points, by the seed and the number of the batch."""
        chosen = torch.Generator().manual_seed((self.config.seed << 32) + self.drawn)
        self.drawn += 1
        return self._points[
            torch.randint(TRAINING_POINTS, (self.config.batch_size,), generator=chosen)
        ]

    def run(self) -> Record:
        """Train to the end and return the record."""
        steps = train_steps(self.state, self.next_batch, self.config, self.step)
        every = max(1, self.config.steps // CHECKPOINTS)
        shown = {round(share * self.config.steps) for share in SNAPSHOTS}
        start = time.process_time() - self.cpu_seconds
        if self.step == 0:
            self.snapshots[0] = self._draw()
        while self.step < self.config.steps:
            self.step = next(steps).number
            if self.step in shown:
                self.snapshots[self.step] = self._draw()
            if self.step % every == 0 or self.step == self.config.steps:
                self.cpu_seconds = time.process_time() - start
                self._score()
                self._save()
        return self.record()

    def record(self) -> Record:
        """Return the record of the run so far."""
        return {
            "mixture": self.mixture.name,
            "seed": self.config.seed,
            **self.curve[-1],
            "cpu_seconds": self.cpu_seconds,
            "curve": self.curve,
            "settings": dataclasses.asdict(self.config),
            "machine": describe_machine("torch", "numpy"),
        }

    def _draw(self) -> Tensor:
        z = latents_from_seeds(range(SCORED), self.config.latent_dim)
        with torch.no_grad():
            points: Tensor = self.state.generator_ema(torch.from_numpy(z))
        return points * self.mixture.scale

    def _score(self) -> None:
        found = score(self._draw().numpy(), self.mixture)
        self.curve.append({"step": self.step, **dataclasses.asdict(found)})
        print(
            f"{self.path.stem}: step {self.step}, {found.modes} modes,"
            f" {found.high_quality:.1%} of high quality, {self.cpu_seconds:.0f} CPU s",
            flush=True,
        )

    def _save(self) -> None:
        fields = {name: getattr(self, name) for name in FIELDS}
        state = {name: getattr(self.state, name).state_dict() for name in PARTS}
        with whole_file(self.path) as file:
            torch.save({**fields, **state, "noise": self.state.rng.get_state()}, file)

    def _load(self) -> None:
        state: dict[str, Any] = torch.load(self.path, weights_only=True)
        for name in FIELDS:
            setattr(self, name, state[name])
        for name in PARTS:
            getattr(self.state, name).load_state_dict(state[name])
        self.state.rng.set_state(state["noise"])


FIELDS = ("step", "drawn", "cpu_seconds", "curve", "snapshots")
PARTS = ("generator", "critic", "generator_ema", "generator_optimizer", "critic_optimizer")


def run_once(mixture: Mixture, config: TrainConfig, folder: Path) -> None:
    """Run to the end unless the record exists."""
    name = f"{mixture.name}-{config.seed}"
    if (folder / f"{name}.json").exists():
        return
    make_folder(folder)
    save_record(folder / f"{name}.json", GaussianRun(mixture, config, folder / f"{name}.pt").run())


PUBLISHED = {
    "grid": [("GAN", "17.3", "94.8"), ("ALI", "24.1", "95.7"), ("PacGAN4", "24.8", "93.6")],
    "ring": [],
}
"""Table 1 of PacGAN: mean modes, mean percentage of high quality."""


def report(records: Sequence[Record]) -> str:
    """Return the machine, the table and the settings."""
    rows = []
    for name, mixture in MIXTURES.items():
        runs = [record for record in records if record["mixture"] == name]
        most = len(mixture.centres)
        if runs:
            rows.append(
                (
                    f"{name}: wgan, {len(runs)} {'run' if len(runs) == 1 else 'runs'}",
                    f"{spread([run['modes'] for run in runs], '.1f')} of {most}",
                    spread([100 * run["high_quality"] for run in runs], ".1f"),
                    _steps(runs),
                    spread([run["cpu_seconds"] / 60 for run in runs], ".1f"),
                )
            )
        rows += [(f"{name}: {paper}", f"{modes} of {most}", share, "", "")
                 for paper, modes, share in PUBLISHED[name]]  # fmt: skip
    heads = ("", "modes", "high quality, %", "steps", "CPU minutes")
    return f"    {records[-1]['machine']}\n\n{table(heads, rows)}\n\n{describe(records)}"


def _steps(runs: Sequence[Record]) -> str:
    """Steps of the runs, and the planned steps if they were stopped earlier."""
    taken, planned = min(run["step"] for run in runs), runs[0]["settings"]["steps"]
    return f"{taken:,}" if taken == planned else f"stopped at {taken:,} of {planned:,}"


def describe(records: Sequence[Record]) -> str:
    """Describe the settings of wgan's runs."""
    used = records[-1]["settings"]
    steps = {record["mixture"]: f"{record['settings']['steps']:,}" for record in records}
    lengths = ", ".join(f"{count} steps on the {name}" for name, count in steps.items())
    return (
        f"Settings of both: {used['latent_dim']} numbers in a latent; perceptrons of width"
        f" {used['width']} with ReLU, {GENERATOR_LAYERS} hidden layers in the generator and"
        f" {CRITIC_LAYERS} in the critic; batches of {used['batch_size']},"
        f" {used['n_critic']} critic updates a step; gradient penalty of weight"
        f" {used['gp_weight']:g}; Adam with betas {used['beta1']:g} and {used['beta2']:g}, its"
        f" learning rate falling from {used['learning_rate']:g} to 0; an EMA with a half-life of"
        f" {used['ema_half_life']:,} points; points in units of their standard deviation."
        f" {lengths}."
    )


def draw_progress(rows: Sequence[tuple[Mixture, Mapping[int, Points]]]) -> bytes:
    """Plot generated points over real ones: a row per mixture, a column per step; a PNG."""
    columns = max(len(points) for _, points in rows)
    figure = Figure(figsize=(2.4 * columns, 2.55 * len(rows)), dpi=80, facecolor="white")
    FigureCanvasAgg(figure)
    for row, (mixture, snapshots) in enumerate(rows):
        real = mixture.sample(1000, seed=0)
        reach = 1.25 * abs(mixture.centres).max()
        for column, (step, points) in enumerate(sorted(snapshots.items())):
            axes = figure.add_subplot(len(rows), columns, row * columns + column + 1)
            axes.scatter(real[:, 0], real[:, 1], s=9, color="#e07b1a", linewidths=0)
            axes.scatter(points[:, 0], points[:, 1], s=1.2, color="#2864b4", linewidths=0)
            axes.set(
                xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=(), yticks=()
            )
            axes.set_title(f"{mixture.name}, step {step:,}", fontsize=8)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def image(folder: Path, seed: int = 0) -> bytes:
    """Plot the snapshots of the runs of one seed."""
    rows = []
    for mixture in MIXTURES.values():
        path = folder / f"{mixture.name}-{seed}.pt"
        if path.exists():
            snapshots = torch.load(path, weights_only=True)["snapshots"]
            points: dict[int, Points] = {step: each.numpy() for step, each in snapshots.items()}
            rows.append((mixture, points))
    return draw_progress(rows)


def main() -> None:
    """Run what is missing; print and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=MIXTURES, help="only this mixture")
    parser.add_argument("--steps", type=int, help="of every run  [grid 10000, ring 6000]")
    parser.add_argument("--image", type=Path, help="plot the points to this PNG")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a network this small is no faster on two
    folder = options.results / "gaussians"
    chosen = [options.only] if options.only else list(MIXTURES)
    for seed, name in itertools.product(range(options.seeds), chosen):
        config = settings(seed, options.steps or STEPS[name])
        run_once(MIXTURES[name], config, folder)
    publish(report(load_records(folder)), "gaussians", options.write)
    if options.image:
        with whole_file(options.image) as file:
            file.write(image(folder))


if __name__ == "__main__":
    main()
