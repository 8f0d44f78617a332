"""Nodes that make and combine conditioning."""

from __future__ import annotations

import logging
from typing import Annotated

import torch
from torch import Tensor

from graph.errors import ValueRefused
from graph.sockets import Text
from graph.spec import Tip, node
from models.embeddings import load_embedding
from models.text import encode_text
from models.types import Clip, Conditioning
from nodes.services import Context

_log = logging.getLogger(__name__)


@node("CLIPTextEncode", category="conditioning", title="CLIP Text Encode (Prompt)")
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
    with ctx.services.residency.use(clip) as encoder:
        width = encoder.config.width
        cond = encode_text(encoder, ctx.services.tokenizer, text, lambda name: _embedding(ctx, name, width), ctx.check)
    return Conditioning((cond,))


def _embedding(ctx: Context, name: str, width: int) -> list[Tensor]:
    """The vectors of an embedding file; none, and a warning, when there is no such file."""
    for candidate in (name, *(name + suffix for suffix in (".safetensors", ".pt", ".bin"))):
        try:
            path = ctx.services.folders.resolve("embeddings", candidate)
        except ValueRefused:
            continue
        return list(torch.unbind(load_embedding(path, width)))
    _log.warning("embedding:%s is not among the files of models/embeddings; the prompt goes on without it", name)
    return []
