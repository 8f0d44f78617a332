"""What nodes that encode prompts share: each tower of a text encoder reads its text, with the embeddings that it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from graph.errors import InputError
from graph.files import Folders
from models.embeddings import load_embedding
from models.family import Tower
from models.prompt import Chunk, chunks, embedding_names
from models.text import PLAIN, TextRecipe, encode_chunks, encode_text, filled_up, padding_of, side_by_side
from models.types import Clip, Cond, TextTower
from models.weights import CheckpointError
from nodes.services import Context


class Prompt(NamedTuple):
    """A text, and the input that it came by."""

    text: str
    blamed: str


NO_OTHER: Mapping[Tower, Prompt] = MappingProxyType({})


def encoded(
    ctx: Context,
    clip: Clip,
    prompt: Prompt,
    others: Mapping[Tower, Prompt] = NO_OTHER,
    recipe: TextRecipe = PLAIN,
) -> Cond:
    """What a text encoder makes of a prompt. others: what towers read that are to read something else; the shorter text is
    filled up then. recipe: another prompt language, or another meaning of weights. Raises InputError."""
    prompts = [others.get(reading.tower, prompt) for reading in clip.readings]
    _tell_of_absent_embeddings(ctx, prompts)
    conds = [_by_tower(ctx, clip, i, read, recipe) for i, read in enumerate(prompts)]
    if others:
        longest = max(cond.tokens.shape[1] for cond in conds)
        for i, cond in enumerate(conds):
            if cond.tokens.shape[1] < longest:
                conds[i] = filled_up(cond, _by_tower(ctx, clip, i, prompts[i]._replace(text="")), longest)
    return side_by_side(conds)


def chunks_by_tower(ctx: Context, clip: Clip, prompt: Prompt) -> list[list[Chunk]]:
    """A prompt as each tower of a text encoder reads it, in their order: chunks of 77 tokens. Raises InputError."""
    _tell_of_absent_embeddings(ctx, [prompt])
    made = []
    for tower, reading in zip(clip.towers, clip.readings, strict=True):
        width = tower.weights.shapes(tower.part)["text_model.embeddings.token_embedding.weight"][-1]
        files = _EmbeddingFiles(ctx.services.folders, prompt.blamed, width, tower)
        made.append(chunks(prompt.text, ctx.services.tokenizer.encode, files, padding_of(reading)))
    return made


def encoded_chunks(ctx: Context, clip: Clip, by_tower: Sequence[Sequence[Chunk]]) -> Cond:
    """What a text encoder makes of chunks of 77 tokens, those of each tower in their order. Raises InputError."""
    conds = []
    for tower, reading, sequences in zip(clip.towers, clip.readings, by_tower, strict=True):
        with ctx.services.use(tower, "clip") as encoder:
            tokenizer = ctx.services.tokenizer
            conds.append(encode_chunks(encoder, tokenizer, sequences, ctx.check, clip.layer, reading))
    return side_by_side(conds)


def _tell_of_absent_embeddings(ctx: Context, prompts: Sequence[Prompt]) -> None:
    for text, blamed in dict.fromkeys(prompts):
        files = _EmbeddingFiles(ctx.services.folders)
        for name in dict.fromkeys(embedding_names(text, files)):
            if name not in files:
                ctx.warn(
                    f"embedding:{name} is not among the files of models/embeddings; the prompt goes on without it",
                    blamed,
                )


def _by_tower(ctx: Context, clip: Clip, i: int, prompt: Prompt, recipe: TextRecipe = PLAIN) -> Cond:
    """What the i-th tower makes of a text."""
    tower, reading = clip.towers[i], clip.readings[i]
    with ctx.services.use(tower, "clip") as encoder:
        files = _EmbeddingFiles(ctx.services.folders, prompt.blamed, encoder.config.width, tower)
        return encode_text(encoder, ctx.services.tokenizer, prompt.text, files, ctx.check, clip.layer, reading, recipe)


def embedding_files(*texts: str) -> Callable[[str, Mapping[str, object], Folders], object]:
    """What finds the contents of the embeddings that the prompts of the inputs `texts` name: they count for the result.

    Of a prompt that arrives over a link nothing is known yet, so that all there are count.
    """

    def found(node_id: str, inputs: Mapping[str, object], folders: Folders) -> list[list[str]]:
        paths: dict[str, Path] = {}
        for text in (inputs[name] for name in texts):
            if isinstance(text, str):
                named = {
                    name: _find_embedding(folders, name) for name in embedding_names(text, _EmbeddingFiles(folders))
                }
                paths |= {name: path for name, path in named.items() if path is not None}
            else:
                paths |= {name: folders.resolve("embeddings", name) for name in folders.list("embeddings")}
        return [[name, folders.identity(path)] for name, path in paths.items()]

    return found


@dataclass(frozen=True)
class _EmbeddingFiles:
    """The files of models/embeddings as prompts name them. blamed: the prompt's input; width: channels of the text tower
    that reads them."""

    folders: Folders
    blamed: str = "text"
    width: int = 0
    tower: TextTower | None = None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _find_embedding(self.folders, name) is not None

    def __getitem__(self, name: str) -> Iterable[Tensor]:
        path = _find_embedding(self.folders, name)
        if path is None or self.tower is None:
            raise KeyError(name)
        try:
            return torch.unbind(load_embedding(path, self.width, self.tower.tower))
        except CheckpointError as error:
            of = f"the text encoder is that of {self.tower.weights.path.name}"
            raise InputError(self.blamed, f"embedding:{name}: {error}; {of}") from error


def _find_embedding(folders: Folders, name: str) -> Path | None:
    """The file that `embedding:name` means: with or without its ending, and in any folder below, the nearest first."""
    listed = folders.list("embeddings")
    for wanted in (name, *(name + suffix for suffix in (".safetensors", ".pt", ".bin"))):
        found = [file for file in listed if file == wanted or file.endswith(f"/{wanted}")]
        if found:
            return folders.resolve("embeddings", min(found, key=lambda file: file.count("/")))
    return None
