"""The tokens that captions use, numbered compactly for training and by CLIP's token ids in the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.tokenizer import BOS, EOS, ClipTokenizer
from models.training.captions import caption
from models.training.scenes import scene

LENGTH = 77
CLIP_TOKENS = 49408
START, END, UNKNOWN = 0, 1, 2  # rows of the compact table; `UNKNOWN` stands for every token the captions lack
ROWS = 192  # of the compact table, some to spare
SAMPLE = 1000  # scenes whose captions are looked through
WORLD = 2026  # that they are from


def tokens_of(text: str) -> NDArray[np.int64]:
    """The text as CLIP lays it out: start, tokens, end as padding. [77]. Raises ValueError on one too long."""
    inner = _tokenizer().encode(text)
    if len(inner) > LENGTH - 2:
        raise ValueError(f"{len(inner)} tokens do not fit {LENGTH} positions: {text!r}")
    tokens = np.full(LENGTH, EOS, np.int64)
    tokens[: 1 + len(inner)] = [BOS, *inner]
    return tokens


def rows_of(text: str) -> NDArray[np.int64]:
    """The text in rows of the compact table. [77]. Raises ValueError on one too long."""
    return row_of_token()[tokens_of(text)]


@cache
def row_of_token() -> NDArray[np.int64]:
    """For each of CLIP's 49,408 tokens the compact row that it is given; tokens of other words all get `UNKNOWN`."""
    rows = np.full(CLIP_TOKENS, UNKNOWN, np.int64)
    for token, row in known().items():
        rows[token] = row
    return rows


@cache
def known() -> Mapping[int, int]:
    """Token -> row of the tokens that captions use, in the order of CLIP's numbers."""
    seen = {token for index in range(SAMPLE) for token in _tokenizer().encode(caption(scene(WORLD, index)))}
    return {BOS: START, EOS: END} | {token: UNKNOWN + 1 + i for i, token in enumerate(sorted(seen))}


@cache
def _tokenizer() -> ClipTokenizer:
    return ClipTokenizer()
