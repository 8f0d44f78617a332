"""CLIP_VISION, what it says of pictures, and STYLE_MODEL, as packs hold them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from models.types import ClipVision, ClipVisionOutput, StyleModel
from models.vision import Seen
from nodes.packs.objects.handles import Handle
from nodes.vision import looked_at


class Output:
    """What a vision tower says of pictures: attributes, which may be had and set as items too.

    image_embeds: [B, P]; last_hidden_state and penultimate_hidden_states: [B, 1 + patches, D].
    """

    image_embeds: Tensor
    last_hidden_state: Tensor
    penultimate_hidden_states: Tensor
    of_tower = "a pack"

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)

    def __setitem__(self, key: str, item: Any) -> None:
        setattr(self, key, item)

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self))


def seen_by_pack(own: ClipVisionOutput) -> Output:
    """Ours as packs know it."""
    made = Output()
    made.image_embeds, made.last_hidden_state, made.penultimate_hidden_states = (part.clone() for part in own.seen)
    made.of_tower = own.tower
    return made


def seen_by_us(given: Any) -> ClipVisionOutput:
    """A pack's as ours. Raises TypeError for one that lacks something."""
    names = ("image_embeds", "last_hidden_state", "penultimate_hidden_states")
    parts = [getattr(given, name, None) for name in names]
    if lacking := [name for name, part in zip(names, parts, strict=True) if not isinstance(part, Tensor)]:
        raise TypeError(f"a CLIP_VISION_OUTPUT of type {type(given).__name__} lacks {', '.join(lacking)}")
    seen = Seen(*(part.detach().float().cpu() for part in parts if isinstance(part, Tensor)))
    return ClipVisionOutput(seen, str(getattr(given, "of_tower", "a pack")))


class PackClipVision(Handle[ClipVision]):
    """A CLIP_VISION."""

    def encode_image(self, image: Tensor, crop: bool = True) -> Output:
        """What it sees in pictures [B, H, W, C] in 0..1. crop: the middle is looked at, else all, squeezed to a square."""
        pixels = image.detach().float().cpu()
        return seen_by_pack(looked_at(self._host.context, self._own, pixels, crop, "clip_vision"))

    @property
    def load_device(self) -> torch.device:
        """Where it computes."""
        return self._host.context.services.residency.device


class PackStyle(Handle[StyleModel]):
    """A STYLE_MODEL."""

    def get_cond(self, input: Any) -> Tensor:  # noqa: A002
        """What a vision tower says -> words, [B, T, D]."""
        with self._host.context.services.use(self._own, "style_model") as network:
            words: Tensor = network(input.last_hidden_state.to(network.proj))
        return words.float().cpu()
