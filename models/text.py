"""A prompt -> what the U-Net's cross-attention reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor

from models.clip import TextModel
from models.family import SD1, TowerReading
from models.prompt import Chunk, Embeddings, Piece, chunks, chunks_of, parse
from models.tokenizer import EOS, ClipTokenizer
from models.types import Cond
from models.weighting import Normalization, Weighted, Weighting, as_they_are, from_empty


@dataclass(frozen=True)
class TextRecipe:
    """How a text becomes words with weights, and these vectors."""

    cut: Callable[[str], list[Piece]] = parse
    weigh: Weighting = from_empty
    normalize: Normalization = as_they_are


PLAIN = TextRecipe()
NO_EMBEDDINGS: Mapping[str, Iterable[Tensor]] = MappingProxyType({})


def encode_text(
    model: TextModel,
    tokenizer: ClipTokenizer,
    text: str,
    embeddings: Embeddings = NO_EMBEDDINGS,
    tick: Callable[[], None] = lambda: None,
    layer: int | None = None,
    reading: TowerReading = SD1.text[0],
    recipe: TextRecipe = PLAIN,
) -> Cond:
    """Encode a prompt with one tower: chunks of 77 tokens in one batch, weighted, joined along the tokens. On the CPU,
    float32.

    Where a weight is not 1, each position's vector z becomes z0 + weight * (z - z0), z0 being the empty prompt's
    vector at that position. embeddings: what `embedding:name` stands for. layer: which layer's vectors are taken, counted
    from the end, if not the one that the tower is read at; the pooled vector is always the last one's. recipe: another
    prompt language, or another meaning of weights.
    """
    padding = padding_of(reading)
    sequences = chunks_of(recipe.cut(text), tokenizer.encode, embeddings, padding, recipe.normalize)
    return encode_chunks(model, tokenizer, sequences, tick, layer, reading, recipe)


def padding_of(reading: TowerReading) -> int:
    """The token that fills up a chunk."""
    return EOS if reading.padding is None else reading.padding


def encode_chunks(
    model: TextModel,
    tokenizer: ClipTokenizer,
    sequences: Sequence[Chunk],
    tick: Callable[[], None] = lambda: None,
    layer: int | None = None,
    reading: TowerReading = SD1.text[0],
    recipe: TextRecipe = PLAIN,
) -> Cond:
    """As `encode_text`, of a prompt that is chunks of 77 tokens already."""
    weights = torch.tensor([[token.weight for token in chunk] for chunk in sequences])
    weighted = bool((weights != 1).any())
    empty = chunks("", tokenizer.encode, NO_EMBEDDINGS, padding_of(reading)) if weighted else []
    vectors = torch.stack([_vectors(model, chunk) for chunk in [*sequences, *empty]])
    at = _layer(model, reading.layer if layer is None else layer, reading)
    hidden, last = model.encode_until(vectors, at, tick, reading.normed)
    end = next(i for i, token in enumerate(sequences[0]) if not isinstance(token.value, Tensor) and token.value == EOS)
    pooled = model.project(last[:1, end]).float().cpu()
    hidden = hidden.float().cpu()
    z = hidden[: len(sequences)]
    if weighted:

        def encode(seen: Tensor) -> Tensor:
            mask = seen.to(vectors.device)
            return model.encode_until(vectors[: len(z)], at, tick, reading.normed, mask)[0].float().cpu()

        words = torch.tensor([[token.word for token in chunk] for chunk in sequences])
        z = recipe.weigh(Weighted(z, hidden[-1], weights, words, encode))
    return Cond(tokens=z.flatten(0, 1)[None], pooled=pooled)


def side_by_side(conds: Sequence[Cond]) -> Cond:
    """A text as several towers read it: their vectors beside each other, as many as the shortest has; the last's pooled."""
    length = min(cond.tokens.shape[1] for cond in conds)
    return Cond(torch.cat([cond.tokens[:, :length] for cond in conds], dim=-1), conds[-1].pooled)


def filled_up(cond: Cond, empty: Cond, length: int) -> Cond:
    """A text of `length` vectors, a multiple of 77, whose end are those of the empty prompt."""
    missing = (length - cond.tokens.shape[1]) // empty.tokens.shape[1]
    return replace(cond, tokens=torch.cat([cond.tokens, *[empty.tokens] * missing], dim=1))


def _layer(model: TextModel, layer: int, reading: TowerReading) -> int:
    """The layer of this tower, counted from its end, where the last one may have been left out of the file."""
    left_out = max(0, reading.layers - model.config.layers)
    return min(-1, layer + left_out) if left_out == 1 else layer


def _vectors(model: TextModel, chunk: Chunk) -> Tensor:
    """The input vectors of one chunk: [77, D], rows of the token table or of embedding files."""
    table = model.text_model.embeddings.token_embedding.weight
    ids = torch.tensor([0 if isinstance(token.value, Tensor) else token.value for token in chunk])
    vectors = model.embed(ids.to(table.device)).clone()
    for i, token in enumerate(chunk):
        if isinstance(token.value, Tensor):
            vectors[i] = token.value.to(vectors)
    return vectors
