"""Nodes of texts and of single values."""

from __future__ import annotations

import pytest
import torch

from graph.errors import InputError
from models.types import Image
from nodes.primitives import preview_any, primitive_boolean, primitive_float, primitive_int, primitive_string
from nodes.strings import (
    case_converter,
    regex_extract,
    regex_match,
    regex_replace,
    string_compare,
    string_concatenate,
    string_contains,
    string_length,
    string_replace,
    string_substring,
    string_trim,
)
from tests.nodes.conftest import Workplace

TEXT = "A cat, a Cat\nand 12 cats"


def test_texts_are_joined_cut_counted_and_trimmed(place: Workplace) -> None:
    ctx = place.ctx()
    assert string_concatenate(ctx, string_a="a", string_b="b", delimiter=", ") == "a, b"
    assert string_substring(ctx, string="sunset", start=-3, end=6) == "set"
    assert string_length(ctx, string="café").length == 4
    assert [string_trim(ctx, string=" a ", mode=mode) for mode in ("Both", "Left", "Right")] == ["a", "a ", " a"]
    assert string_replace(ctx, string=TEXT, find="cat", replace="dog") == "A dog, a Cat\nand 12 dogs"
    modes = ("UPPERCASE", "lowercase", "Capitalize", "Title Case")
    assert [case_converter(ctx, string="a Cat", mode=mode) for mode in modes] == ["A CAT", "a cat", "A cat", "A Cat"]


@pytest.mark.parametrize(
    ("mode", "other", "sensitive", "answer"),
    [
        ("Starts With", "a cat", True, False),
        ("Starts With", "a cat", False, True),
        ("Ends With", "cats", True, True),
        ("Equal", TEXT.upper(), False, True),
        ("Equal", TEXT.upper(), True, False),
    ],
)
def test_texts_are_compared(place: Workplace, mode: str, other: str, sensitive: bool, answer: bool) -> None:
    assert string_compare(place.ctx(), string_a=TEXT, string_b=other, mode=mode, case_sensitive=sensitive) is answer
    if mode == "Ends With":
        assert string_contains(place.ctx(), string=TEXT, substring=other, case_sensitive=sensitive).contains


@pytest.mark.parametrize(
    ("mode", "group", "found"),
    [
        ("First Match", 1, "cat"),
        ("All Matches", 1, "cat\nCat\ncat"),
        ("First Group", 1, "c"),
        ("All Groups", 2, "at\nat\nat"),
        ("All Groups", 0, "cat\nCat\ncat"),
        ("First Group", 7, ""),
    ],
)
def test_what_fits_a_pattern_is_taken_out(place: Workplace, mode: str, group: int, found: str) -> None:
    given = {"string": TEXT, "regex_pattern": "(c)(at)", "mode": mode, "group_index": group}
    assert regex_extract(place.ctx(), **given) == found


def test_patterns_match_and_replace(place: Workplace) -> None:
    ctx = place.ctx()
    assert regex_match(ctx, string=TEXT, regex_pattern="^and", multiline=True).matches
    assert not regex_match(ctx, string=TEXT, regex_pattern="^and", multiline=False).matches
    assert not regex_match(ctx, string=TEXT, regex_pattern="CAT", case_insensitive=False).matches
    assert regex_match(ctx, string=TEXT, regex_pattern="Cat.and", dotall=True).matches
    assert (
        regex_replace(ctx, string=TEXT, regex_pattern=r"(\w)at", replace=r"<\1>", count=2)
        == "A <c>, a <C>\nand 12 cats"
    )


def test_a_pattern_that_is_none_is_told(place: Workplace) -> None:
    ctx = place.ctx()
    assert regex_match(ctx, string=TEXT, regex_pattern="(").matches is False
    assert regex_extract(ctx, string=TEXT, regex_pattern="(", mode="First Match") == ""
    assert {warning.input_name for warning in ctx.warnings} == {"regex_pattern"} and len(ctx.warnings) == 2
    with pytest.raises(InputError, match="no regular expression") as caught:
        regex_replace(ctx, string=TEXT, regex_pattern="(", replace="")
    assert caught.value.input_name == "regex_pattern"
    with pytest.raises(InputError, match="does not fit the pattern"):
        regex_replace(ctx, string=TEXT, regex_pattern="a", replace=r"\7")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        (3, "3"),
        (0.5, "0.5"),
        (True, "true"),
        (None, "null"),
        ([1, "é"], '[\n    1,\n    "é"\n]'),
        (Image(torch.zeros(1, 2, 3, 3)), "Image(pixels=Tensor[1, 2, 3, 3])"),
    ],
)
def test_any_value_is_shown(place: Workplace, value: object, text: str) -> None:
    assert preview_any(place.ctx(), source=value).ui == {"text": [text]}


def test_single_values_are_handed_on(place: Workplace) -> None:
    ctx = place.ctx()
    assert primitive_int(ctx, value=-5) == -5 and primitive_float(ctx, value=0.5) == 0.5
    assert primitive_string(ctx, value="a") == "a" and primitive_boolean(ctx, value=False) is False
