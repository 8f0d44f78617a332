"""Patches of packs in a network: in its attention, at its blocks, and of its embeddings.

The names and what each function is given are those of the public interface that packs are written for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor

from models.attention import Inner, Site
from models.reading import Reading


def read_with(reading: Reading, told: Mapping[str, Any]) -> Reading:
    """What the network reads, with the patches that `transformer_options` name."""
    patches, replaced = told.get("patches", {}), told.get("patches_replace", {})
    if not any(patches.values()) and not any(replaced.values()):
        return reading
    if patches.get("emb_patch"):
        reading = replace(reading, timed=partial(_timed, reading, patches["emb_patch"], told))
    if patches.get("middle_patch"):
        reading = replace(reading, settled=partial(_settled, reading, patches["middle_patch"], told))
    numbers: dict[object, int] = {}
    inside = _Inside(reading, told, patches, replaced, numbers)
    return replace(reading, attend=inside.attend, around=inside.around, join=inside.join, passed=inside.passed)


def _timed(reading: Reading, patches: Sequence[Callable[..., Any]], told: Mapping[str, Any], emb: Tensor) -> Tensor:
    emb = reading.timed(emb)
    for patch in patches:
        emb = patch(emb, emb.shape[-1] // 4, told)  # the embedding is four times as wide as the first block
    return emb


def _settled(reading: Reading, patches: Sequence[Callable[..., Any]], told: Mapping[str, Any], h: Tensor) -> Tensor:
    h = reading.settled(h)
    for patch in patches:
        h = patch(h, {**told, "block": ("middle", 0)})
    return h


@dataclass(frozen=True, eq=False)
class _Inside:
    """Patches in a network, around what was done there before. numbers: of the transformers, as they are met."""

    reading: Reading
    told: Mapping[str, Any]
    patches: Mapping[str, Sequence[Callable[..., Any]]]
    replaced: Mapping[str, Mapping[tuple[Any, ...], Callable[..., Any]]]
    numbers: dict[object, int]

    def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        block = (site.place.side, site.place.block)
        known = self.replaced.get(_name(site), {})
        function = known.get((*block, site.depth), known.get(block))
        if function is None:
            return self.reading.attend(site, q, k, v)
        made: Tensor = function(q, k, v, self._at(site, q.shape[-1]))
        return made

    def around(self, site: Site, x: Tensor, keys: Tensor, values: Tensor, inner: Inner) -> Tensor:
        name, at = _name(site), self._at(site, x.shape[-1])
        for patch in self.patches.get(f"{name}_patch", ()):
            x, keys, values = patch(x, keys, values, at)
        out = self.reading.around(site, x, keys, values, inner)
        for patch in self.patches.get(f"{name}_output_patch", ()):
            out = patch(out, at)
        return out

    def join(self, block: int, h: Tensor, skip: Tensor) -> Tensor:
        for patch in self.patches.get("output_block_patch", ()):
            h, skip = patch(h, skip, {**self.told, "block": ("output", block)})
        return self.reading.join(block, h, skip)

    def passed(self, block: int, h: Tensor) -> tuple[Tensor, Tensor]:
        at = {**self.told, "block": ("input", block)}
        for patch in self.patches.get("input_block_patch", ()):
            h = patch(h, at)
        skip, h = self.reading.passed(block, h)
        for patch in self.patches.get("input_block_patch_after_skip", ()):
            h = patch(h, at)
        return skip, h

    def _at(self, site: Site, channels: int) -> dict[str, Any]:
        place = site.place
        number = self.numbers.setdefault((place, site.depth), len(self.numbers))
        return {
            **self.told,
            "block": (place.side, place.block),
            "block_index": site.depth,
            "transformer_index": number,
            "n_heads": site.heads,
            "dim_head": channels // site.heads,
        }


def _name(site: Site) -> str:
    return "attn2" if site.text else "attn1"
