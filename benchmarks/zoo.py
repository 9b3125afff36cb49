"""Generators of the public families in ONNX Runtime: as exported, and after `wgan optimize`.

    python -m benchmarks.zoo [NAME ...] [--batch-size 8] [--pairs 15] [--write docs/performance.md]

Each network of `benchmarks/zoo_networks` is exported by `torch.onnx.export`, then optimised in
float32 and in 8 bits. The three files run in turns on one thread. Processor time is measured, so
that other work on the machine changes all three alike.
"""

import argparse
import contextlib
import io
import statistics
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnxruntime
import torch

from benchmarks.machine import describe_machine
from benchmarks.pages import printed, write_between
from benchmarks.zoo_networks import NETWORKS, make_network
from wgan.errors import WganError
from wgan.export import OptimizeConfig, optimize
from wgan.latents import latents_from_seeds
from wgan.model_file.manifest import Manifest

MARK = "<!-- benchmarks/zoo.py -->"
SLICE_SECONDS = 0.05
"""Processor time of one turn, at least: the clock ticks too coarsely for a single small run."""


@dataclass(frozen=True)
class Variant:
    """A file to measure."""

    session: Any
    feed: dict[str, Any]
    output: str
    manifest: Manifest | None = None  # None of the file as exported

    def run(self) -> None:
        """Draw a batch."""
        self.session.run([self.output], self.feed)


def main() -> None:
    """Measure and print, or write into a page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NETWORKS))
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=15, help="turns of each file")
    parser.add_argument("--write", type=Path, metavar="PAGE")
    options = parser.parse_args()
    lines = printed(table(options.names or list(NETWORKS), options.batch_size, options.pairs))
    if options.write:
        write_between(options.write, MARK, lines)
    else:
        list(lines)


def table(names: Sequence[str], batch_size: int, pairs: int) -> Iterator[str]:
    """Lines of the page."""
    machine = describe_machine("onnxruntime", "torch", "onnx")
    yield f"    {machine}, 1 thread, batch {batch_size}"
    yield ""
    yield (
        "| network | ms an image | float32, ms | times as fast | dB | 8 bits, ms | times as fast |"
        " dB | layers in float |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    ratios: dict[str, list[float]] = {"fp32": [], "int8": []}
    for name in names:
        with TemporaryDirectory() as folder:
            variants = make_variants(name, Path(folder), batch_size)
            times = measure(variants, batch_size, pairs)
        cells = [name, f"{statistics.median(times['exported']):.2f}"]
        for precision, found in ratios.items():
            if precision not in variants:
                cells += ["none", "1", "", *([""] if precision == "int8" else [])]
                found.append(1.0)
                continue
            manifest = variants[precision].manifest
            assert manifest is not None
            each = [a / b for a, b in zip(times["exported"], times[precision], strict=True)]
            found.append(statistics.median(each))
            low, _, high = statistics.quantiles(each, n=4)
            cells += [
                f"{statistics.median(times[precision]):.2f}",
                f"{found[-1]:.2f} ({low:.2f} to {high:.2f})",
                f"{manifest.receipt.seen.psnr:.0f}",
            ]
            if precision == "int8":
                cells.append(str(len(manifest.float_layers)))
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield f"Medians: {', '.join(f'{k} {statistics.median(v):.2f}' for k, v in ratios.items())}."


def measure(variants: dict[str, Variant], batch_size: int, turns: int) -> dict[str, list[float]]:
    """Milliseconds of processor time for an image, of each variant and turn."""
    counts = {}
    for name, variant in variants.items():
        variant.run()  # the first run allocates memory
        start = time.process_time()
        variant.run()
        counts[name] = 1 + int(SLICE_SECONDS / max(1e-4, time.process_time() - start))
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(turns):
        for name, variant in variants.items():
            start = time.process_time()
            for _ in range(counts[name]):
                variant.run()
            spent = time.process_time() - start
            times[name].append(1e3 * spent / counts[name] / batch_size)
    return times


def make_variants(name: str, folder: Path, batch_size: int) -> dict[str, Variant]:
    """The network as exported, and optimised where that is possible."""
    network = NETWORKS[name]
    file = folder / "exported.onnx"
    export_network(name, file)
    drawn = latents_from_seeds(range(batch_size), torch.Size(network.latent_shape).numel())
    feed: dict[str, Any] = {"z": drawn.reshape(-1, *network.latent_shape)}
    if network.label is not None:
        feed["y"] = torch.full((batch_size,), network.label).numpy()
    variants = {"exported": Variant(open_session(file), feed, "image")}
    for precision in ("fp32", "int8"):
        config = OptimizeConfig(
            file=file, output=folder / f"{precision}.onnx", precision=precision,
            fixed_class=network.label, value_range=network.value_range,
        )  # fmt: skip
        try:
            manifest = optimize(config)
        except WganError as exc:
            print(f"{name}, {precision}: {exc}")
            continue
        session = open_session(config.path)
        variants[precision] = Variant(session, {"latents": drawn}, "images", manifest)
    return variants


def export_network(name: str, path: Path) -> None:
    """Write a network as most projects do: `torch.onnx.export` with a free batch."""
    network, generator = NETWORKS[name], make_network(name)
    example: tuple[torch.Tensor, ...] = (torch.zeros(2, *network.latent_shape),)
    if network.label is not None:
        example += (torch.zeros(2, dtype=torch.int64),)
    inputs = ["z", "y"][: len(example)]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # the exporter itself calls deprecated functions
        torch.onnx.export(
            generator, example, path, dynamo=True, verbose=False, input_names=inputs,
            output_names=["image"],
            dynamic_shapes=tuple({0: torch.export.Dim("batch")} for _ in example),
        )  # fmt: skip


def open_session(path: Path) -> Any:
    """ONNX Runtime with its own defaults, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
