"""How many images an export is proved on: fewer where they are large or expensive.

The numbers depend only on the network, not on the machine's speed, so that a receipt can be
repeated.
"""

import itertools

BATCH_SIZES = (1, 2, 3, 7, 64, 257)
"""Batch sizes of the proof: the smallest ones, which an exporter may have frozen; a common one; and
sizes that are not powers of two, whose remainders vectorised and unrolled loops handle apart."""

REFERENCE_BYTES = 2**30
"""Most memory of the reference images: larger images are proved on fewer of them."""

OPERATIONS_LIMIT = 2**39
"""Most floating-point operations of one engine's share in the proof, as far as the smallest batches
allow: about 10 seconds of one core."""

FEWEST = sum(BATCH_SIZES[:4])
"""Images that even the most expensive generator is proved on."""


def batch_sizes(values: int, operations: int = 0) -> tuple[int, ...]:
    """Return the batch sizes of the proof, at least the first.

    Args:
        values: numbers in an image.
        operations: floating-point operations that an image takes.
    """
    each = values * (4 + 8 + 1)  # float32, float64 and pixels
    count = sum(
        end * each <= REFERENCE_BYTES and (end <= FEWEST or end * operations <= OPERATIONS_LIMIT)
        for end in itertools.accumulate(BATCH_SIZES)
    )
    return BATCH_SIZES[: max(1, count)]


def seed_count(values: int, seeds: int, operations: int = 0) -> int:
    """Return on how many seeds such images are proved.

    That is `seeds` as far as memory and time allow, or what the batches need if that is more.
    """
    fits = REFERENCE_BYTES // (values * (4 + 1))  # float32 and pixels
    if operations:
        fits = min(fits, OPERATIONS_LIMIT // operations)
    return max(sum(batch_sizes(values, operations)), min(seeds, fits))
