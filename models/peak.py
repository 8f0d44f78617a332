"""How much memory is needed at most between two moments: of an accelerator, or of this process."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

_CLEAR, _PEAK_RSS = Path("/proc/self/clear_refs"), "5"  # proc(5): 5 sets the peak of the resident set to what it is now


class PeakMemory:
    """The most memory in use since `reset`. On an accelerator that which torch has given out on `device`; on the CPU
    the resident memory of the process, which only Linux tells anew.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._known = device.type == "cuda" or (device.type == "cpu" and sys.platform == "linux")

    def reset(self) -> None:
        """Forget what was before."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif self._known:
            try:
                _CLEAR.write_text(_PEAK_RSS)
            except OSError:  # not allowed in some containers
                self._known = False

    def peak(self) -> int | None:
        """Bytes; None where that cannot be told."""
        if not self._known:
            return None
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return _peak_of_process()


def _peak_of_process() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
