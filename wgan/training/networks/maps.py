"""Heights and widths of the feature maps between a network's first map and its images."""

from itertools import pairwise

from torch import Tensor, nn

from wgan.image_shape import Size, height_and_width

MapSize = tuple[int, int]
"""Height and width of a feature map."""


def map_sizes(size: Size) -> list[MapSize]:
    """Return the sizes of a generator's maps, from the first one to the image's.

    Each side is halved, rounded up, until the shorter one is 4 to 7: 32, 16, 8, 4 and 28, 14, 7;
    36, 18, 9, 5; 48x80, 24x40, 12x20, 6x10. Where it was rounded, the doubled map is cropped.
    """
    height, width = height_and_width(size)
    sizes = [(height, width)]
    while min(height, width) >= 8:
        height, width = (height + 1) // 2, (width + 1) // 2
        sizes.append((height, width))
    return sizes[::-1]


def last_map_size(size: Size) -> MapSize:
    """Return the size of a critic's last map: as often halved, rounded down."""
    halvings = len(map_sizes(size)) - 1
    height, width = height_and_width(size)
    return height >> halvings, width >> halvings


class CropMap(nn.Module):
    """The first rows and columns of a map: `[n, channels, ...]` -> `[n, channels, *size]`."""

    def __init__(self, size: MapSize) -> None:
        super().__init__()
        self.size = size

    def forward(self, maps: Tensor) -> Tensor:
        """Leave out the last row, column, or both."""
        height, width = self.size
        return maps[:, :, :height, :width]

    def extra_repr(self) -> str:
        """Show the size in the network's text."""
        return "x".join(map(str, self.size))


def crops(sizes: list[MapSize]) -> list[list[nn.Module]]:
    """Return what follows each doubling of these maps: nothing, or a crop where it is needed."""
    return [
        [] if (2 * before[0], 2 * before[1]) == after else [CropMap(after)]
        for before, after in pairwise(sizes)
    ]
