"""A prompt -> what the U-Net's cross-attention reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from models.clip import TextModel
from models.prompt import Chunk, Embeddings, chunks
from models.tokenizer import EOS, ClipTokenizer
from models.types import Cond

NO_EMBEDDINGS: Mapping[str, Iterable[Tensor]] = MappingProxyType({})


def encode_text(
    model: TextModel,
    tokenizer: ClipTokenizer,
    text: str,
    embeddings: Embeddings = NO_EMBEDDINGS,
    tick: Callable[[], None] = lambda: None,
    layer: int = -1,
) -> Cond:
    """Encode a prompt: chunks of 77 tokens in one batch, weighted, joined along the tokens. On the CPU, float32.

    Where a weight is not 1, each position's vector z becomes z0 + weight * (z - z0), z0 being the empty prompt's
    vector at that position. embeddings: what `embedding:name` stands for. layer: which layer's vectors are taken, counted
    from the end; the pooled vector is always the last one's.
    """
    sequences = chunks(text, tokenizer.encode, embeddings)
    weights = torch.tensor([[token.weight for token in chunk] for chunk in sequences])
    weighted = bool((weights != 1).any())
    empty = chunks("", tokenizer.encode, embeddings) if weighted else []
    vectors = torch.stack([_vectors(model, chunk) for chunk in sequences + empty])
    hidden, last = (x.float().cpu() for x in model.encode_until(vectors, layer, tick))
    z = hidden[: len(sequences)]
    end = next(i for i, token in enumerate(sequences[0]) if not isinstance(token.value, Tensor) and token.value == EOS)
    pooled = last[:1, end]
    if weighted:
        z0 = hidden[-1]
        z = z0 + weights[..., None] * (z - z0)
    return Cond(tokens=z.flatten(0, 1)[None], pooled=pooled)


def _vectors(model: TextModel, chunk: Chunk) -> Tensor:
    """The input vectors of one chunk: [77, D], rows of the token table or of embedding files."""
    table = model.text_model.embeddings.token_embedding.weight
    ids = torch.tensor([0 if isinstance(token.value, Tensor) else token.value for token in chunk])
    vectors = model.embed(ids.to(table.device)).clone()
    for i, token in enumerate(chunk):
        if isinstance(token.value, Tensor):
            vectors[i] = token.value.to(vectors)
    return vectors
