"""The closed vocabulary is CLIP's, one token a word."""

from __future__ import annotations

import pytest

from models.tokenizer import BOS, EOS, ClipTokenizer, vocabulary
from models.training.scenes import scene
from models.training.words import END, LENGTH, ROWS, START, UNKNOWN, clip_ids, row_of_token, rows_of, tokens_of


def test_every_word_is_one_token_of_its_own() -> None:
    tokens = clip_ids(vocabulary())
    assert len(set(tokens.values())) == len(tokens) == ROWS - 3


def test_a_word_of_two_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="red"):
        clip_ids({"re": 0, "d</w>": 1})


def test_captions_are_tokenized_as_clip_does() -> None:
    tokenizer = ClipTokenizer()
    for index in range(50):
        caption = scene(3, index).caption
        ids = tokenizer.encode(caption)
        assert tokens_of(caption).tolist() == [BOS, *ids, *[EOS] * (LENGTH - 1 - len(ids))]


def test_compact_rows_are_the_tokens_renumbered() -> None:
    caption = "a red circle, an orange star"
    assert row_of_token()[tokens_of(caption)].tolist() == rows_of(caption).tolist()


def test_the_table_covers_clips_vocabulary_and_strange_words_share_a_row() -> None:
    rows = row_of_token()
    assert len(rows) == 49408
    assert (rows[BOS], rows[EOS]) == (START, END)
    assert (rows == UNKNOWN).sum() == 49408 - (ROWS - 1)


def test_a_word_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(KeyError, match="elephant"):
        rows_of("a red elephant")
