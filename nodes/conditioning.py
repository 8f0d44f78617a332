"""Nodes that make and combine conditioning."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from graph.errors import InputError
from graph.files import Folders
from graph.sockets import Text
from graph.spec import Tip, node
from models.embeddings import load_embedding
from models.prompt import embedding_names
from models.text import encode_text
from models.types import Clip, Conditioning
from models.weights import CheckpointError
from nodes.services import Context

_log = logging.getLogger(__name__)


def _embedding_files(node_id: str, inputs: Mapping[str, object], folders: Folders) -> list[list[str]]:
    """The contents of the embeddings that a prompt names, which count for what it is encoded to.

    Of a prompt that arrives over a link nothing is known yet, so that all there are count.
    """
    text = inputs["text"]
    if isinstance(text, str):
        found = {name: _find_embedding(folders, name) for name in embedding_names(text)}
        paths = {name: path for name, path in found.items() if path is not None}
    else:
        paths = {name: folders.resolve("embeddings", name) for name in folders.list("embeddings")}
    return [[name, folders.identity(path)] for name, path in paths.items()]


@node("CLIPTextEncode", category="conditioning", title="CLIP Text Encode (Prompt)", freshness=_embedding_files)
def clip_text_encode(
    ctx: Context,
    *,
    text: Annotated[
        str,
        Text(
            multiline=True,
            dynamic_prompts=True,
            tooltip="The prompt. (word:1.2) weighs a word, embedding:name adds one.",
        ),
    ],
    clip: Annotated[Clip, Tip("The text encoder of the checkpoint that will sample.")],
) -> Annotated[Conditioning, Tip("The prompt as the U-Net reads it.")]:
    """Encode a prompt with a CLIP text encoder, for a sampler to steer by."""
    with ctx.services.use(clip, "clip") as encoder:
        width = encoder.config.width
        cond = encode_text(encoder, ctx.services.tokenizer, text, lambda name: _embedding(ctx, name, width), ctx.check)
    return Conditioning((cond,))


def _embedding(ctx: Context, name: str, width: int) -> list[Tensor]:
    """The vectors of an embedding file; none, and a warning, when there is no such file."""
    path = _find_embedding(ctx.services.folders, name)
    if path is None:
        _log.warning("embedding:%s is not among the files of models/embeddings; the prompt goes on without it", name)
        return []
    try:
        return list(torch.unbind(load_embedding(path, width)))
    except CheckpointError as error:
        raise InputError("text", f"embedding:{name}: {error}") from error


def _find_embedding(folders: Folders, name: str) -> Path | None:
    """The file that `embedding:name` means: with or without its ending, and in any folder below, the nearest first."""
    listed = folders.list("embeddings")
    for wanted in (name, *(name + suffix for suffix in (".safetensors", ".pt", ".bin"))):
        found = [file for file in listed if file == wanted or file.endswith(f"/{wanted}")]
        if found:
            return folders.resolve("embeddings", min(found, key=lambda file: file.count("/")))
    return None
