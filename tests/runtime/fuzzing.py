"""Damaged model files: each must be refused with a sentence, or run as any other.

    python -m tests.runtime.fuzzing KIND --count 1000 --first 0

Each case is a function of its kind and number alone, so that a failure can be repeated.
"""

# ruff: noqa: T201 - a command of its own, which prints

import argparse
import contextlib
import io
import random
import resource
import subprocess
import sys
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from tests.processes import environment
from tests.runtime import models
from wgan.errors import WganError
from wgan.latents import latents_from_seeds
from wgan.model_file.reading import describe
from wgan.runtime import Generator

MEMORY = 4 * 2**30
"""Bytes of address space per case: a graph that needs all memory fails early."""

GOOD = bytes(models.generator().SerializeToString())

NUMBERS = (0, -1, 1, 2, 3, 7, 64, 10**6, 2**31 - 1, -(2**31), 2**31, 2**40, 2**63 - 1, -(2**63))

OPERATORS = sorted(schema.name for schema in defs.get_all_schemas() if schema.domain == "")

SHAPED = ("ConstantOfShape", "Expand", "Tile", "Pad", "Resize", "Reshape", "Slice", "Gather")
"""Operators whose second or only input decides how much memory they take."""

ATTRIBUTES = ("group", "axis", "transA", "to", "allowzero")
LISTS = ("dilations", "strides", "pads", "kernel_shape", "output_shape", "output_padding", "perm")


def truncated(number: int) -> bytes:
    """Truncate the file after `number` bytes."""
    return GOOD[: number % len(GOOD)]


def flipped(number: int) -> bytes:
    """Flip a few bits anywhere."""
    chance, data = random.Random(number), bytearray(GOOD)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def flipped_structure(number: int) -> bytes:
    """Change bytes outside the weights and the manifest, where the graph is described."""
    chance, data = random.Random(number), bytearray(GOOD)
    end = GOOD.index(b"wgan.manifest")
    for _ in range(chance.choice((1, 1, 2, 4))):
        data[chance.choice(_structure(end))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
    return bytes(data)


def edited(number: int) -> bytes:
    """Make a well-formed file with an absurd graph."""
    chance, model = random.Random(number), models.generator()
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        with contextlib.suppress(ValueError, IndexError):  # what does not fit is left as it is
            chance.choice(EDITS)(chance, model)
    return bytes(model.SerializeToString())


def damaged_archive(number: int) -> bytes:
    """Change or truncate a TorchScript archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        manifest = models.manifest(opset=None).to_json()
        for name, content in {"g/extra/wgan.manifest": manifest, "g/data.pkl": "weights"}.items():
            # Of 1980, not of now.
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    chance, data = random.Random(number), bytearray(buffer.getvalue())
    for _ in range(chance.choice((1, 2, 4, 8))):
        data[chance.randrange(4, len(data))] = chance.randrange(256)
    return bytes(data[: chance.choice((len(data), chance.randrange(4, len(data))))])


def _structure(end: int) -> list[int]:
    weights: set[int] = set()
    for tensor in onnx.load_from_string(GOOD).graph.initializer:
        if len(tensor.raw_data) > 64:
            start = GOOD.index(tensor.raw_data)
            weights.update(range(start, start + len(tensor.raw_data)))
    return [position for position in range(end) if position not in weights]


Edit = Callable[[random.Random, onnx.ModelProto], None]


def _other_operator(chance: random.Random, model: onnx.ModelProto) -> None:
    chance.choice(model.graph.node).op_type = chance.choice(OPERATORS)


def _absurd_attribute(chance: random.Random, model: onnx.ModelProto) -> None:
    node = chance.choice(model.graph.node)
    name = chance.choice((*ATTRIBUTES, *LISTS))
    for attribute in [each for each in node.attribute if each.name == name]:
        node.attribute.remove(attribute)
    length = chance.choice((1, 2, 4))
    values = [chance.choice(NUMBERS) for _ in range(length)]
    node.attribute.append(helper.make_attribute(name, values if name in LISTS else values[0]))


def _absurd_tensor(chance: random.Random, model: onnx.ModelProto) -> None:
    tensor = chance.choice(model.graph.initializer)
    what = chance.randrange(3)
    if what == 0:
        tensor.data_type = chance.randrange(25)
    elif what == 1:
        tensor.dims.append(chance.choice(NUMBERS))
    else:
        tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice(NUMBERS)


def _crossed_wires(chance: random.Random, model: onnx.ModelProto) -> None:
    node = chance.choice(model.graph.node)
    names = [name for each in model.graph.node for name in (*each.input, *each.output)]
    node.input[chance.randrange(len(node.input))] = chance.choice([*names, "", "nothing"])


def _huge_result(chance: random.Random, model: onnx.ModelProto) -> None:
    node = chance.choice(model.graph.node)
    shape = np.array([chance.choice(NUMBERS) for _ in range(chance.randrange(1, 5))], np.int64)
    name = f"shape{len(model.graph.initializer)}"
    model.graph.initializer.append(numpy_helper.from_array(shape, name))
    operator = chance.choice(SHAPED)
    inputs = [name] if operator == "ConstantOfShape" else [node.input[0], name]
    node.CopyFrom(helper.make_node(operator, inputs, [node.output[0]]))


def _absurd_interface(chance: random.Random, model: onnx.ModelProto) -> None:
    value = chance.choice([*model.graph.input, *model.graph.output])
    axes = value.type.tensor_type.shape.dim
    axes[chance.randrange(len(axes))].dim_value = chance.choice(NUMBERS)


EDITS: tuple[Edit, ...] = (
    _other_operator,
    _absurd_attribute,
    _absurd_tensor,
    _crossed_wires,
    _huge_result,
    _absurd_interface,
)


def draw(data: bytes) -> None:
    """Open damaged bytes and run them; images have the declared shape and are finite."""
    with Generator(data, device="cpu", threads=1) as generator:
        images, pixels = generator.run(latents_from_seeds(range(2), generator.latent_dim))
        height, width, channels = generator.image_shape
    assert images.shape == (2, channels, height, width)
    assert pixels.shape == (2, height, width, channels)
    assert np.isfinite(images).all()


def look_at(data: bytes) -> None:
    """Describe damaged bytes, as `wgan info` does."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        path.write_bytes(data)
        describe(path)


KINDS: dict[str, tuple[Callable[[int], bytes], Callable[[bytes], None]]] = {
    "truncated": (truncated, draw),
    "flipped": (flipped, draw),
    "flipped-structure": (flipped_structure, draw),
    "edited": (edited, draw),
    "archive": (damaged_archive, look_at),
}


def run_cases(kind: str, numbers: range) -> bool:
    """Run cases in this process; return False and name the case if one fails otherwise."""
    make, use = KINDS[kind]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number in numbers:
        print(number, flush=True)  # the last one is the one that crashed
        try:
            use(make(number))
        except (WganError, MemoryError):
            pass
        except Exception:  # noqa: BLE001 - whatever else comes is what is looked for
            traceback.print_exc()
            return False
    return True


def run_apart(kind: str, numbers: range, folder: Path) -> str | None:
    """Run cases in a new process; return what went wrong, or None.

    `folder` is where they run: a case that writes a file leaves it there.
    """
    command = [sys.executable, "-m", "tests.runtime.fuzzing", kind]
    command += ["--first", str(numbers.start), "--count", str(len(numbers))]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=600
    )
    if done.returncode == 0 and not list(folder.iterdir()):
        return None
    last = done.stdout.split()[-1] if done.stdout else "none"
    return f"{kind} case {last}: exit status {done.returncode}\n{done.stderr[-2000:]}"


def main() -> int:
    """Run one series."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    return not run_cases(options.kind, range(options.first, options.first + options.count))


if __name__ == "__main__":
    sys.exit(main())
