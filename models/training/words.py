"""The closed vocabulary of the captions, numbered compactly for training and by CLIP's token ids in the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from models.tokenizer import BOS, EOS, WORD_END, vocabulary
from models.training.scenes import COLOURS, SHAPES

LENGTH = 77
CLIP_TOKENS = 49408
START, END, UNKNOWN = 0, 1, 2  # rows of the compact table; `UNKNOWN` stands for every word the captions lack
SIZES = ("small", "large", "big")
PLACES = ("left", "right", "top", "bottom", "centre", "center", "above", "below")
GROUNDS = ("background", "gradient", "striped")
SMALL_WORDS = ("a", "an", "and", "on", "at", "in", "the", "to", "of", ",")
WORDS = (*COLOURS, *SHAPES, *SIZES, *PLACES, *GROUNDS, *SMALL_WORDS)
ROWS = 3 + len(WORDS)
_ROW: Mapping[str, int] = MappingProxyType({word: 3 + i for i, word in enumerate(WORDS)})


def rows_of(caption: str) -> NDArray[np.int64]:
    """The caption as CLIP lays it out: start, one row a word, end as padding. [77]. Raises KeyError on another word."""
    inner = [_ROW[word] for word in caption.replace(",", " ,").split()]
    if len(inner) > LENGTH - 2:
        raise ValueError(f"a caption of {len(inner)} words does not fit {LENGTH} positions: {caption!r}")
    rows = np.full(LENGTH, END, np.int64)
    rows[: 1 + len(inner)] = [START, *inner]
    return rows


def clip_ids(pieces: Mapping[str, int]) -> dict[str, int]:
    """Each word's CLIP token. Raises ValueError on a word that is not exactly one."""
    split = [word for word in WORDS if word + WORD_END not in pieces]
    if split:
        raise ValueError(f"not single CLIP tokens: {', '.join(split)}")
    return {word: pieces[word + WORD_END] for word in WORDS}


def tokens_of(caption: str) -> NDArray[np.int64]:
    """The caption as CLIP token ids, padded. [77]. Raises KeyError on a word that captions lack."""
    return np.array([_tokens()[row] for row in rows_of(caption).tolist()], np.int64)


@cache
def _tokens() -> dict[int, int]:
    """CLIP's token of each compact row that has one."""
    return {START: BOS, END: EOS} | {_ROW[word]: token for word, token in clip_ids(vocabulary()).items()}


def row_of_token() -> NDArray[np.int64]:
    """For each of CLIP's 49,408 tokens the compact row that it is given; tokens of other words all get `UNKNOWN`."""
    rows = np.full(CLIP_TOKENS, UNKNOWN, np.int64)
    for row, token in _tokens().items():
        rows[token] = row
    return rows
