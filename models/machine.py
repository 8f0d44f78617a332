"""The processor that networks run on, and its memory."""

from __future__ import annotations

import ctypes
import sys
from typing import NamedTuple

import psutil
import torch


class Memory(NamedTuple):
    """Bytes."""

    total: int
    free: int


def device_memory(device: torch.device) -> Memory:
    """The memory of `device`: for the CPU the machine's."""
    if device.type == "cpu":
        memory = psutil.virtual_memory()
        return Memory(memory.total, memory.available)
    free, total = torch.accelerator.get_memory_info(device)
    return Memory(total, free)


def device_name(device: torch.device) -> str:
    """`cuda:0 NVIDIA H100`, or just `cpu`."""
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


def give_back(device: torch.device) -> None:
    """Return memory that was freed to the device. What glibc keeps for later may be gigabytes: holes between weights
    that came and went, and feature maps."""
    if device.type != "cpu":
        torch.accelerator.empty_cache()
    elif sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
