"""The compact vocabulary is CLIP's, renumbered."""

from __future__ import annotations

import pytest

from models.tokenizer import BOS, EOS, ClipTokenizer
from models.training.captions import caption
from models.training.scenes import Split, scene
from models.training.words import END, LENGTH, ROWS, START, UNKNOWN, known, row_of_token, rows_of, tokens_of


def test_the_table_has_room_for_every_known_token() -> None:
    assert sorted(known().values()) == [START, END, *range(UNKNOWN + 1, UNKNOWN + len(known()) - 1)]
    assert max(known().values()) < ROWS


def test_captions_are_tokenized_as_clip_does_and_fit() -> None:
    tokenizer = ClipTokenizer()
    for index in range(200):
        text = caption(scene(3, index))
        ids = tokenizer.encode(text)
        assert tokens_of(text).tolist() == [BOS, *ids, *[EOS] * (LENGTH - 1 - len(ids))], text


def test_hardly_a_caption_has_a_strange_token() -> None:
    rows = [rows_of(caption(scene(4, index, Split.HELD_OUT))) for index in range(300)]
    assert sum(UNKNOWN in row for row in rows) <= 6
    assert UNKNOWN in rows_of("a red elephant")


def test_the_table_covers_clips_vocabulary_and_strange_words_share_a_row() -> None:
    rows = row_of_token()
    assert len(rows) == 49408
    assert (rows[BOS], rows[EOS]) == (START, END)
    assert (rows == UNKNOWN).sum() == 49408 - len(known())


def test_a_text_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        tokens_of("a red boat " * 30)
