"""How well the losses and the loop learn 25 Gaussians on a grid, and 8 on a ring.

    python -m benchmarks.quality.gaussians RESULTS [--seeds 3] [--only grid]
        [--write docs/quality.md] [--image docs/images/gaussians.png]

PacGAN's protocol: 100,000 points to learn from, 2,500 to be scored. A run goes on where it was
killed. The time is the process's own (CPU seconds on one thread), so that other programs and
pauses do not count.
"""

import dataclasses
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.machine import describe_machine
from benchmarks.quality.mixtures import MIXTURES, SCORED, Mixture, Points, score
from benchmarks.quality.plots import draw_progress
from benchmarks.quality.records import (
    Record,
    arguments,
    load_records,
    save_record,
    spread,
    table,
    write_block,
)
from wgan.files import make_folder, whole_file
from wgan.latents import latents_from_seeds
from wgan.training.config import TrainConfig
from wgan.training.loop import TrainState, train_steps
from wgan.training.networks import build
from wgan.training.networks.norms import initialise_he

LEARNED = 100_000
"""Points that a run learns from."""

SNAPSHOTS = (0.0, 0.02, 0.1, 0.3, 1.0)
"""The shares of a run after which its points are kept for the image."""

PARTS = 20
"""A run is scored and saved so many times."""

STEPS = {"grid": 10_000, "ring": 6_000}

GENERATOR_LAYERS, CRITIC_LAYERS = 5, 3
"""Hidden ones. The generator must be steep, and depth makes it so: what it draws between two
Gaussians is wrong, and with three layers that stayed more than a tenth."""

COMMON = TrainConfig(
    arch="benchmarks.quality.gaussians:networks",
    latent_dim=2,  # as PacGAN's; with 16 it takes many times as long to find sharp edges
    width=128,
    batch_size=128,
    gp_weight=0.1,
    learning_rate=1e-3,
    ema_half_life=50_000,
)


def settings(seed: int, steps: int) -> TrainConfig:
    """A run's settings: its learning rate falls to 0 at its end."""
    return dataclasses.replace(COMMON, seed=seed, steps=steps, decay_steps=steps)


def networks(config: TrainConfig) -> tuple[nn.Module, nn.Module]:
    """Two perceptrons: latents -> points `[n, 2]`, points -> scores `[n]`."""
    generator = perceptron(config.latent_dim, config.width, 2, GENERATOR_LAYERS)
    critic = nn.Sequential(*perceptron(2, config.width, 1, CRITIC_LAYERS), nn.Flatten(0))
    return generator, critic


def perceptron(inputs: int, width: int, outputs: int, hidden: int) -> nn.Sequential:
    """Linear layers with ReLU between them; their weights keep the signal's size."""
    sizes = [inputs, *[width] * hidden]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Linear(width, outputs))
    initialise_he(network)
    return network


class Trial:
    """One run, kept in a file as it goes."""

    def __init__(self, mixture: Mixture, config: TrainConfig, path: Path) -> None:
        self.mixture, self.config, self.path = mixture, config, path
        self.players = TrainState(*build(config, networks), config, torch.device("cpu"))
        self.step = 0
        self.drawn = 0
        self.cpu_seconds = 0.0
        self.curve: list[Record] = []
        self.snapshots: dict[int, Tensor] = {}
        self._points = torch.from_numpy(mixture.sample(LEARNED, config.seed) / mixture.scale)
        if path.exists():
            self._load()

    def next_batch(self) -> Tensor:
        """Draw points to learn from; which ones depends on the seed and the batch's number."""
        chosen = torch.Generator().manual_seed((self.config.seed << 32) + self.drawn)
        self.drawn += 1
        return self._points[torch.randint(LEARNED, (self.config.batch_size,), generator=chosen)]

    def run(self) -> Record:
        """Train to the end and describe the result."""
        steps = train_steps(self.players, self.next_batch, self.config, self.step)
        every = max(1, self.config.steps // PARTS)
        shown = {round(share * self.config.steps) for share in SNAPSHOTS}
        began = time.process_time() - self.cpu_seconds
        if self.step == 0:
            self.snapshots[0] = self._draw()
        while self.step < self.config.steps:
            self.step = next(steps).number
            if self.step in shown:
                self.snapshots[self.step] = self._draw()
            if self.step % every == 0 or self.step == self.config.steps:
                self.cpu_seconds = time.process_time() - began
                self._note()
                self._save()
        return self.record()

    def record(self) -> Record:
        """Where the run stands: at its end, or as it was stopped."""
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
            points: Tensor = self.players.average(torch.from_numpy(z))
        return points * self.mixture.scale

    def _note(self) -> None:
        found = score(self._draw().numpy(), self.mixture)
        self.curve.append({"step": self.step, **dataclasses.asdict(found)})
        print(
            f"{self.path.stem}: step {self.step}, {found.modes} modes,"
            f" {found.high_quality:.1%} of high quality, {self.cpu_seconds:.0f} CPU s",
            flush=True,
        )

    def _save(self) -> None:
        fields = {name: getattr(self, name) for name in KEPT}
        players = {name: getattr(self.players, name).state_dict() for name in PLAYERS}
        with whole_file(self.path) as file:
            torch.save({**fields, **players, "noise": self.players.noise.get_state()}, file)

    def _load(self) -> None:
        state: dict[str, Any] = torch.load(self.path, weights_only=True)
        for name in KEPT:
            setattr(self, name, state[name])
        for name in PLAYERS:
            getattr(self.players, name).load_state_dict(state[name])
        self.players.noise.set_state(state["noise"])


KEPT = ("step", "drawn", "cpu_seconds", "curve", "snapshots")
PLAYERS = ("generator", "critic", "average", "generator_optimizer", "critic_optimizer")


def run_trial(mixture: Mixture, config: TrainConfig, folder: Path) -> None:
    """Run to the end unless the record is there."""
    name = f"{mixture.name}-{config.seed}"
    if (folder / f"{name}.json").exists():
        return
    make_folder(folder)
    save_record(folder / f"{name}.json", Trial(mixture, config, folder / f"{name}.pt").run())


PUBLISHED = {
    "grid": [("GAN", "17.3", "94.8"), ("ALI", "24.1", "95.7"), ("PacGAN4", "24.8", "93.6")],
    "ring": [],
}
"""PacGAN's table 1, modes and percent of high quality; means over its own runs."""


def report(records: Sequence[Record]) -> str:
    """The settings, the machine and the table."""
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
        rows += [(f"{name}: {who}", f"{modes} of {most}", share, "", "")
                 for who, modes, share in PUBLISHED[name]]  # fmt: skip
    heads = ("", "modes", "high quality, %", "steps", "CPU minutes")
    return f"    {records[-1]['machine']}\n\n{table(heads, rows)}\n\n{describe(records)}"


def _steps(runs: Sequence[Record]) -> str:
    """How many steps the runs took; and of how many, where they were stopped before their end."""
    taken, planned = min(run["step"] for run in runs), runs[0]["settings"]["steps"]
    return f"{taken:,}" if taken == planned else f"stopped at {taken:,} of {planned:,}"


def describe(records: Sequence[Record]) -> str:
    """The settings of wgan's runs, in words."""
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


def image(folder: Path, seed: int = 0) -> bytes:
    """Real and generated points over the runs of one seed, a row for each mixture."""
    rows = []
    for mixture in MIXTURES.values():
        path = folder / f"{mixture.name}-{seed}.pt"
        if path.exists():
            snapshots = torch.load(path, weights_only=True)["snapshots"]
            points: dict[int, Points] = {step: each.numpy() for step, each in snapshots.items()}
            rows.append((mixture, points))
    return draw_progress(rows)


def main() -> None:
    """Run what is missing, print the table, and write it where asked."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=MIXTURES, help="one mixture alone")
    parser.add_argument("--steps", type=int, help="of every run  [grid 10000, ring 6000]")
    parser.add_argument("--image", type=Path, help="draw the points over training here")
    options = parser.parse_args()
    torch.set_num_threads(1)  # so small a network is no faster on two
    folder = options.results / "gaussians"
    chosen = [options.only] if options.only else list(MIXTURES)
    for seed, name in itertools.product(range(options.seeds), chosen):
        config = settings(seed, options.steps or STEPS[name])
        run_trial(MIXTURES[name], config, folder)
    text = report(load_records(folder))
    print(text)
    if options.write:
        write_block(options.write, "gaussians", text)
    if options.image:
        with whole_file(options.image) as file:
            file.write(image(folder))


if __name__ == "__main__":
    main()
