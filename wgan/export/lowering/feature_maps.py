"""Feature maps in parts: how lowered layers hand their outputs on without copying them."""

from dataclasses import dataclass

from wgan.export.lowering.graph import Graph


@dataclass(frozen=True)
class Maps:
    """A value in n x n parts: part (i, j) holds the rows i, i + n, i + 2n, ... and such columns.

    Each part is `(batch, channels, height, width)`.
    """

    parts: tuple[tuple[str, ...], ...]  # names of values
    channels: int
    height: int
    width: int


def join(graph: Graph, maps: Maps, output: str | None = None) -> str:
    """Put the parts of a value side by side; the whole is called `output`, or has a new name.

    Channels last, pixels that are neighbours in a row lie side by side in memory, so that joining
    them copies whole pixels, and joining the rows copies whole rows.
    """
    n = len(maps.parts)
    if n == 1:
        return maps.parts[0][0]
    rows = []
    for parts in maps.parts:
        pixels = [graph.add("Transpose", part, perm=[0, 2, 3, 1]) for part in parts]
        # n times (batch, height, width, channels) -> (batch, height, 1, width * n * channels)
        joined = graph.add("Concat", *pixels, axis=3)
        line = graph.integers(0, maps.height, 1, n * maps.width * maps.channels)
        rows.append(graph.add("Reshape", joined, line))
    joined = graph.add("Concat", *rows, axis=2)
    shape = graph.integers(0, n * maps.height, n * maps.width, maps.channels)
    shaped = graph.add("Reshape", joined, shape)
    return graph.add("Transpose", shaped, perm=[0, 3, 1, 2], output=output)
