"""The processor that networks run on, and its memory."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psutil
import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_LEAST, _USUAL, _MOST = 2**20, 2**25, 2**31 - 1  # bytes; what glibc comes to by itself, and the most it takes


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


def in_words(size: int) -> str:
    """Bytes for people, in the largest unit of which there is at least a tenth: `3.20 GiB`, `98.30 MiB`, `0 B`."""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size * 10 >= 2**power:
            return f"{size / 2**power:.2f} {unit}"
    return f"{size} B"


def device_name(device: torch.device) -> str:
    """`cuda:0 NVIDIA H100`, or just `cpu`."""
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)


@contextmanager
def freed_memory_kept(device: torch.device) -> Iterator[None]:
    """For the length of a `with`, glibc keeps what is freed for what is wanted next: for steps that want the same sizes
    again and again. By itself it returns every piece above 32 MiB to the system at once, and the next one of that size
    waits for the system to clear its pages. Between different sizes, keeping would only leave holes."""
    if device.type != "cpu":
        yield
        return
    try:
        with _thresholds(_MOST):
            yield
    finally:
        give_back(device)


@contextmanager
def freed_memory_returned() -> Iterator[None]:
    """For the length of a `with`, glibc returns every piece above 1 MiB to the system when it is freed: for work whose
    peak must be low. What it keeps by itself, for sizes that may not come again, doubled that of a tile."""
    with _thresholds(_LEAST):
        yield


@contextmanager
def _thresholds(size: int) -> Iterator[None]:
    """Pieces of `size` bytes and more are the system's, smaller ones glibc's to keep."""
    _set_thresholds(size)
    try:
        yield
    finally:
        _set_thresholds(_USUAL)


def _set_thresholds(size: int) -> None:
    if sys.platform == "linux" and (set_option := getattr(ctypes.CDLL(None), "mallopt", None)):
        for option in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            set_option(option, size)


def give_back(device: torch.device) -> None:
    """Return memory that was freed to the device. What glibc keeps for later may be gigabytes: holes between weights
    that came and went, and feature maps."""
    if device.type != "cpu":
        torch.accelerator.empty_cache()
    elif sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)
