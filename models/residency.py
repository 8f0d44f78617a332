"""Which networks are in memory, on which device and in which precision; the only way to the networks."""

from __future__ import annotations

import gc
import math
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import get_args

import psutil
import torch
from torch import Tensor, nn

from models.checkpoint import Change, CheckpointError, Part, Variant, load_part
from models.family import TOWERS
from models.layouts import Steering
from models.machine import give_back, in_words
from models.packed import Packed, can_pack
from models.precision import Precision, computed, kept_bytes
from models.streaming import Streamed
from models.types import ModelHandle, Network

RESERVE = 0.1  # share of the free memory that is left to other programs, and to what nobody can foresee
PACKED: tuple[Part, ...] = ("model", *TOWERS, "vae", *get_args(Steering))


class OutOfMemory(Exception):
    """What is wanted does not fit the budget; the message names the sizes."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, by our count or by the device's. torch tells that of the CPU only in words."""
    cpu = isinstance(error, RuntimeError) and "DefaultCPUAllocator: " in str(error)
    return cpu or isinstance(error, OutOfMemory | torch.OutOfMemoryError | MemoryError)


def choose_device(name: str | None = None) -> torch.device:
    """The device called `name` ("cuda:1", "mps", "cpu"), else the accelerator torch sees, else the CPU.

    Raises ValueError for a device that is not there.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name is None:
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"there is no kind of device called {name!r}") from error
    here = 1 if device.type == "cpu" else torch.accelerator.device_count() if _same(device, accelerator) else 0
    if (device.index or 0) >= here:
        raise ValueError(f"there is no device {name!r} on this machine; there is {accelerator or 'only the cpu'}")
    return device


def memory_budget(device: torch.device) -> int:
    """Bytes that weights and activations may take on `device`, judged by what is free now."""
    if device.type == "cpu":
        free = psutil.virtual_memory().available
    else:
        free, _ = torch.accelerator.get_memory_info(device)
    return int(free * (1 - RESERVE))


@dataclass(frozen=True)
class _Key:
    identity: str
    part: Part
    patches: tuple[Hashable, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class _Held:
    network: nn.Module
    layers: Mapping[int, int]  # id of a layer, which several networks may share -> bytes
    streamed: bool
    file: str


class Residency:
    """Keeps networks between runs, least recently used out first. Used from one thread, the executor's loop."""

    def __init__(
        self,
        device: torch.device,
        precision: Precision,
        budget: int,
        packing: bool = False,
        is_same: Callable[[Path, str], bool] = lambda path, identity: True,
    ) -> None:
        """budget: bytes that weights and activations may take. packing: pack the weights of our own networks, on the
        CPU. is_same: whether a file still is what a handle calls it."""
        self.device = device
        self.precision = precision
        self._budget = budget
        self._packing = packing
        self._is_same = is_same
        self._resident: OrderedDict[_Key, _Held] = OrderedDict()  # least recently used first
        self._pins: Counter[_Key] = Counter()
        self._reserved = 0

    @contextmanager
    def use(self, handle: ModelHandle[Network], streamed: bool = False) -> Iterator[Network]:
        """The network that `handle` names, on the device, for the length of a `with`.

        streamed: its weights are read at every call of a layer, so that there is room for other things. That is so anyway
        where they do not fit. It gives the same results, to the bit.

        Whoever needs several nests them: if one does not fit, the `with` of the others ends too. Raises
        CheckpointError if its file is damaged or was replaced, OutOfMemory if it cannot fit.
        """
        key = _Key(handle.identity, handle.part, tuple(patch.key for patch in handle.patches), self._kept(handle))
        if streamed and (held := self._resident.get(key)) and not held.streamed and not self._pins[key]:
            del self._resident[key]
        if key not in self._resident:
            self._resident[key] = self._load(handle, streamed)
        self._resident.move_to_end(key)
        self._pins[key] += 1
        try:
            yield self._resident[key].network  # type: ignore[misc]
        except CheckpointError:  # what it, or those it shares layers with, had not read yet cannot be had any more
            for other in list(self._resident):
                if (other.identity, other.part) == (key.identity, key.part):
                    del self._resident[other]
            raise
        finally:
            self._pins[key] -= 1

    @contextmanager
    def room(self, needed: int) -> Iterator[None]:
        """Keep `needed` bytes free of weights for the length of a `with`: for activations. Raises OutOfMemory."""
        self._make_room(needed, "activations")
        self._reserved += needed
        try:
            yield
        finally:
            self._reserved -= needed
            if self.device.type == "cpu":  # on others the next node would only ask for it again
                give_back(self.device)

    def computes(self, handle: ModelHandle[Network]) -> torch.dtype:
        """The format that a network computes in."""
        return computed(self._kept(handle), self.device)

    def has_room(self, needed: int) -> bool:
        """Whether `room` would give that much."""
        return self._taken + needed <= self._budget

    @property
    def resident_bytes(self) -> int:
        """Bytes of the weights held now."""
        return _bytes_of(self._resident.values())

    @property
    def resident_files(self) -> Mapping[str, int]:
        """Bytes of the weights held now by the names of their files; layers that several share count for the first."""
        seen: set[int] = set()
        files: Counter[str] = Counter()
        for held in list(self._resident.values()):
            files[held.file] += sum(size for layer, size in held.layers.items() if layer not in seen)
            seen.update(held.layers)
        return files

    def clear(self) -> None:
        """Drop every network that nobody uses now, and give the memory back to the device."""
        for key in list(self._resident):
            if not self._pins[key]:
                del self._resident[key]
        gc.collect()
        give_back(self.device)

    @property
    def _taken(self) -> int:
        """Bytes that cannot be had now: networks in use, and room that is reserved."""
        return self._reserved + _bytes_of(held for key, held in self._resident.items() if self._pins[key])

    def _load(self, handle: ModelHandle[Network], streamed: bool) -> _Held:
        """Of a handle with patches, the network as the file has it is loaded first, and shares what they do not touch."""
        if not handle.patches:
            return self._read(handle, None, streamed)
        with self.use(replace(handle, patches=()), streamed) as base:
            shapes = handle.weights.shapes(handle.part)
            changes: defaultdict[str, list[Change]] = defaultdict(list)
            for patch in handle.patches:
                for name, change in patch.changes(shapes, handle.part).items():
                    changes[name].append(change)
                for path, identity in patch.sources:
                    self._raise_if_replaced(path, identity)
            return self._read(handle, Variant(base, changes), streamed)

    def _read(self, handle: ModelHandle[Network], variant: Variant | None, streamed: bool) -> _Held:
        kept = self._kept(handle)
        dtype = self.computes(handle)
        shapes = handle.weights.shapes(handle.part)
        sizes = {name: math.prod(shapes[name]) for name in (variant.changes if variant else shapes)}
        layers = {name: kept_bytes(size, kept) for name, size in sizes.items() if _passes(name, shapes[name])}
        others = sum(size for name, size in sizes.items() if name not in layers) * dtype.itemsize
        passing = 2 * max((sizes[name] for name in layers), default=0) * dtype.itemsize
        quantised = {} if variant else _quantised_bytes(handle, layers, kept)
        widens = kept != dtype or bool(quantised)
        whole = others + sum((layers | quantised).values()) + (passing if widens else 0)
        streams = (streamed or not self.has_room(whole)) and _can_stream(handle)
        self._make_room(others + passing if streams else whole, "weights")
        packing = self._packing and handle.part in PACKED and can_pack(dtype)
        network = load_part(
            handle.weights,
            handle.part,
            dtype=dtype,
            device=self.device,
            packed=packing,
            variant=variant,
            streamed=streams,
            kept=kept if kept != dtype else None,
        )
        for path, identity in handle.own_files:
            self._raise_if_replaced(path, identity)
        held = {id(layer): _layer_bytes(layer) for layer in network.modules()}
        held[id(network)] += passing if streams or widens else 0
        return _Held(network, held, streams, handle.weights.path.name)

    def _kept(self, handle: ModelHandle[Network]) -> torch.dtype:
        return handle.dtype or self.precision.of(handle.part)

    def _raise_if_replaced(self, path: Path, identity: str) -> None:
        if not self._is_same(path, identity):
            raise CheckpointError(f"{path.name} was replaced while it was in use; run the workflow again")

    def _make_room(self, needed: int, purpose: str) -> None:
        """Drop networks nobody uses, oldest first, until `needed` more bytes fit; none if they never will."""
        if not self.has_room(needed):
            raise OutOfMemory(
                f"the {purpose} need {in_words(needed)} on {self.device}, where {in_words(self._budget)} "
                f"may be used and {in_words(self._taken)} are in use"
            )
        for key in list(self._resident):
            if self.resident_bytes + self._reserved + needed <= self._budget:
                return
            if not self._pins[key]:
                del self._resident[key]


def network_bytes(network: nn.Module) -> int:
    """Bytes of a network's weights."""
    return _bytes(network.parameters(), network.buffers())


def _can_stream(handle: ModelHandle[nn.Module]) -> bool:
    """Whether the weights can be read one by one: old pickles do not tell where they are."""
    names = handle.weights.names(handle.part).values()
    return handle.part in PACKED and all(handle.weights.tensors[name].offset is not None for name in names)


def _quantised_bytes(handle: ModelHandle[nn.Module], owns: Iterable[str], kept: torch.dtype) -> dict[str, int]:
    """Bytes of the weights among `owns` that are held as their file has them, by name."""
    if handle.part not in PACKED:
        return {}
    sources = handle.weights.names(handle.part)
    return {
        own: handle.weights.tensors[sources[own]].span
        for own in owns
        if handle.weights.file.keeps_packed(sources[own], kept)
    }


def _passes(name: str, shape: Sequence[int]) -> bool:
    """Whether a weight is one that layers read at every call where a network is streamed; tables of vectors are not."""
    return len(shape) > 1 and "embedding." not in name


def _layer_bytes(layer: nn.Module) -> int:
    if isinstance(layer, Packed | Streamed) and layer.streams:
        return layer.held_bytes + (0 if layer.bias is None else _bytes([layer.bias]))
    return _bytes(layer.parameters(False), layer.buffers(False))


def _bytes(*tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in chain(*tensors))


def _bytes_of(networks: Iterable[_Held]) -> int:
    """Bytes of several networks, each layer counted once."""
    layers: dict[int, int] = {}
    for held in networks:
        layers.update(held.layers)
    return sum(layers.values())


def _same(device: torch.device, accelerator: torch.device | None) -> bool:
    return accelerator is not None and device.type == accelerator.type
