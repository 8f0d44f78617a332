"""The tokenizer against transformers' own, given our vocabulary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.tokenizer import BOS, EOS, ClipTokenizer, merges, vocabulary

TRICKY = [
    "",
    " ",
    "a photo of a cat",
    "  A   PHOTO\tof\n\na Cat  ",
    "it's they're I'll we've I'm he'd don't 'tis rock'n'roll 's",
    "It’s “quoted” — dashed – text…",
    "1girl, 2024, 3.14159, 10,000, v1-5",
    "ÀÉÎõü ß ŒUVRE naïve café",
    "cafe\u0301 (combining) \u212b ﬁ",
    "İSTANBUL ΣΊΣΥΦΟΣ",
    "日本語のテキスト 中文字符 한국어",
    "привет мир שלום مرحبا नमस्ते",
    "👍 🙂🙃 👨‍👩‍👧‍👦 🇫🇷 ❤️",
    "x\u0000y\u0007z\u200b\u200d\ufeff\u00ad\u2028q",
    "\u00a0non\u3000breaking\u00a0spaces\u2003",
    "!!!??? ... ,,, ;;; -- __ ~~ ##",
    "(masterpiece:1.2), [deblurred], {a|b}, <lora:x:1>",
    "artstation.com/user_name?id=42&x=%20 a@b.co C:\\path",
    "<|startoftext|> and <|endoftext|> in a prompt",
    "<|ENDOFTEXT|> <|endoftext |>",
    "½ ² Ⅷ ① ٣ 𝟘",
    "\ud7ff\ue000\ufffd\U0010ffff",
    "supercalifragilisticexpialidocious antidisestablishmentarianism " * 5,
    "a" * 1000,
]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import CLIPTokenizer

    folder: Path = tmp_path_factory.mktemp("clip")
    (folder / "vocab.json").write_text(json.dumps(vocabulary()), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges()), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def ours() -> ClipTokenizer:
    return ClipTokenizer()


def test_the_vocabulary_is_clips() -> None:
    ids = vocabulary()
    assert len(ids) == 49408
    assert sorted(ids.values()) == list(range(49408))
    assert (ids["<|startoftext|>"], ids["<|endoftext|>"]) == (BOS, EOS) == (49406, 49407)
    assert (ids["!"], ids["a</w>"], ids["the</w>"], ids["cat</w>"]) == (0, 320, 518, 2368)
    assert len(merges()) == 49408 - 2 * 256 - 2


def test_a_sentence(ours: ClipTokenizer) -> None:
    assert ours.encode("a photo of a cat") == [320, 1125, 539, 320, 2368]


@pytest.mark.parametrize("text", TRICKY)
def test_tricky_texts(ours: ClipTokenizer, theirs: Any, text: str) -> None:
    assert ours.encode(text) == theirs(text, add_special_tokens=False).input_ids


@settings(derandomize=True, deadline=None, max_examples=300)
@given(text=st.text(max_size=60) | st.text(alphabet="abc'stremvld 1!<|>\t\né.", max_size=40))
@example(text="'S 'LL")
def test_any_text(ours: ClipTokenizer, theirs: Any, text: str) -> None:
    assert ours.encode(text) == theirs(text, add_special_tokens=False).input_ids


def test_half_a_surrogate_pair_is_a_replacement_character(ours: ClipTokenizer) -> None:
    assert ours.encode("cat \ud83d") == ours.encode("cat \ufffd")
    assert ours.encode("\ud83d\ude42") == ours.encode("🙂")
