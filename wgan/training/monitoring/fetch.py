"""Numbers on their way from the device to the host, which need not wait for them."""

import torch
from torch import Tensor


class Fetched:
    """A copy of a tensor that arrives on the host while both sides go on working."""

    def __init__(self, values: Tensor) -> None:
        """Begin to copy `values` as they are now; what overwrites them later does not matter."""
        self._arrived: torch.cuda.Event | None = None
        if values.device.type == "cuda":
            # Page-locked, or the copy would wait for the device.
            self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._host.copy_(values, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(values.device))
        else:
            self._host = values.detach().cpu().clone()

    def values(self) -> Tensor:
        """The numbers, on the host; waits only if they are still on their way."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._host
