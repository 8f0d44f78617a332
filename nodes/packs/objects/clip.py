"""A CLIP as packs hold it, and its tokens: for each tower chunks of (token or vector, weight)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor

from models.family import Tower
from models.prompt import Token
from models.types import Clip, Cond
from nodes.packs.objects.handles import Handle
from nodes.packs.objects.lora import LoadedLora, on_clip
from nodes.text_encoding import Prompt, chunks_by_tower, encoded_chunks

KEYS: Mapping[Tower, str] = MappingProxyType({"clip": "l", "clip_h": "h", "clip_g": "g"})
"""What packs call the towers."""

Tokens: TypeAlias = dict[str, list[list[tuple[Any, ...]]]]
"""By tower chunks of 77, each position (token or vector [D], weight), or with the number of its word behind that."""


class PackClip(Handle[Clip]):
    """A CLIP. What changes it changes the object."""

    def tokenize(self, text: str, return_word_ids: bool = False, **_: object) -> Tokens:
        """A prompt in chunks. return_word_ids: with the number of the word that a position belongs to, 0 for marks."""

        def told(token: Token) -> tuple[Any, ...]:
            short = (token.value, token.weight)
            return (*short, token.word + 1) if return_word_ids else short

        found = chunks_by_tower(self._host.context, self._own, Prompt(text, "text"))
        return {
            KEYS[reading.tower]: [[told(token) for token in chunk] for chunk in chunks]
            for reading, chunks in zip(self._own.readings, found, strict=True)
        }

    def encode_from_tokens_scheduled(
        self, tokens: Tokens, unprojected: bool = False, add_dict: Mapping[str, Any] | None = None, **_: object
    ) -> list[list[Any]]:
        """CONDITIONING of the text; `add_dict` goes with every entry."""
        cond, pooled = self.encode_from_tokens(tokens, return_pooled="unprojected" if unprojected else True)
        return [[cond, {"pooled_output": pooled, **(add_dict or {})}]]

    def encode_from_tokens(self, tokens: Tokens, return_pooled: object = False, return_dict: bool = False) -> Any:
        """The text's vectors [1, T, D], with the pooled one [1, P] if it is wanted."""
        if return_pooled == "unprojected":
            self._missed("encode_from_tokens(return_pooled='unprojected')")
        made = self._encoded(tokens)
        cond, pooled = made.tokens.clone(), made.pooled.clone()
        if return_dict:
            return {"cond": cond, "pooled_output": pooled}
        return (cond, pooled) if return_pooled else cond

    def encode(self, text: str) -> Tensor:
        """The text's vectors."""
        vectors: Tensor = self.encode_from_tokens(self.tokenize(text))
        return vectors

    def clip_layer(self, layer_idx: int) -> None:
        """Have the vectors of another layer, counted from the end."""
        self._own = replace(self._own, layer=int(layer_idx))

    def add_patches(
        self, patches: Mapping[Any, Any], strength_patch: float = 1.0, strength_model: float = 1.0
    ) -> list[Any]:
        """Change weights by what `comfy.lora.load_lora` made of a file. Returns what of it was heeded. Raises
        AttributeError for patches that were made otherwise, or if the weights themselves are to count less."""
        if not isinstance(patches, LoadedLora):
            self._missed(f"add_patches({type(patches).__name__})")
        if strength_model != 1.0:
            self._missed("add_patches(strength_model)")
        self._own = on_clip(self._host.context, patches, self._own, strength_patch)
        return list(patches)

    @property
    def patcher(self) -> PackClip:
        """The object itself: there is none besides."""
        return self

    def load_model(self) -> PackClip:
        """Nothing: its weights are loaded when it is asked."""
        return self

    def _encoded(self, tokens: Tokens) -> Cond:
        towers = [KEYS[reading.tower] for reading in self._own.readings]
        if missing := [key for key in towers if key not in tokens]:
            raise KeyError(f"tokens for {', '.join(towers)} are needed, those for {', '.join(missing)} are not there")
        by_tower = [[list(_tokens(chunk)) for chunk in tokens[key]] for key in towers]
        return encoded_chunks(self._host.context, self._own, by_tower)


def _tokens(chunk: Sequence[tuple[Any, ...]]) -> Iterator[Token]:
    for value, weight, *word in chunk:
        vector = value.float().cpu() if isinstance(value, torch.Tensor) else int(value)
        yield Token(vector, float(weight), word[0] - 1 if word else -1)
