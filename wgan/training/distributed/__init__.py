"""Training in several processes: process group, heartbeat, synchronised batch norm."""

import os


def is_launched() -> bool:
    """Whether torchrun or another launcher started this process as one of several."""
    return "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"
