"""A1111's prompt language, by the examples of its documentation; weights of words by two rules."""

from __future__ import annotations

import pytest
import torch

from models.a1111_language import Part, broken, by_steps, joined_by_and, pieces
from models.weighting import Weighted, by_length, by_mean, from_empty, scaled


def flat(text: str) -> list[tuple[str, object]]:
    return [(piece.text, pytest.approx(piece.weight)) for piece in pieces(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a (b) c", [("a ", 1), ("b", 1.1), (" c", 1)]),
        ("((a))", [("a", 1.21)]),
        ("[a]", [("a", 1 / 1.1)]),
        ("(a:1.5)", [("a", 1.5)]),
        ("(a (b:2) c:1.5)", [("a ", 1.5), ("b", 3), (" c", 1.5)]),
        (r"\(a\) \[b\]", [("(a) [b]", 1)]),
        ("(a", [("a", 1.1)]),
        ("a)", [("a)", 1)]),
        ("[[a]", [("a", 1 / 1.21)]),
        ("a: b, 1:2", [("a: b, 1:2", 1)]),
        ("([a])", [("a", 1)]),
        ("(a:-0.5)", [("a", -0.5)]),
        ("", []),
    ],
)
def test_weights_multiply(text: str, expected: list[tuple[str, float]]) -> None:
    assert flat(text) == expected


def said(text: str, steps: int = 10) -> list[tuple[str, int]]:
    """The texts and the step, from 1, until which each holds."""
    return [(stretch.text, stretch.last + 1) for stretch in by_steps(text, steps)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("test", [("test", 10)]),
        ("a [b:3]", [("a ", 3), ("a b", 10)]),
        ("a [b: 3]", [("a ", 3), ("a b", 10)]),
        ("a [[[b]]:2]", [("a ", 2), ("a [[b]]", 10)]),
        ("[(a:2):3]", [("", 3), ("(a:2)", 10)]),
        ("a [b : c : 1] d", [("a b  d", 1), ("a  c  d", 10)]),
        ("a[b:[c:d:2]:1]e", [("abe", 1), ("ace", 2), ("ade", 10)]),
        ("a [unbalanced", [("a [unbalanced", 10)]),
        ("a [b:.5] c", [("a  c", 5), ("a b c", 10)]),
        ("a [{b|d{:.5] c", [("a [{b|d{:.5] c", 10)]),
        ("((a][:b:c [d:3]", [("((a][:b:c ", 3), ("((a][:b:c d", 10)]),
        ("[a|(b:1.1)]", [("a", 1), ("(b:1.1)", 2), ("a", 3), ("(b:1.1)", 4), ("a", 5), ("(b:1.1)", 6), ("a", 7), ("(b:1.1)", 8), ("a", 9), ("(b:1.1)", 10)]),
        ("[fe|]male", [("female", 1), ("male", 2), ("female", 3), ("male", 4), ("female", 5), ("male", 6), ("female", 7), ("male", 8), ("female", 9), ("male", 10)]),
        ("[a::4] b", [("a b", 4), (" b", 10)]),
        ("[a:b:1.0]", [("a", 10)]),
    ],
)  # fmt: skip
def test_a_text_changes_at_its_steps(text: str, expected: list[tuple[str, int]]) -> None:
    assert said(text) == expected


def test_and_joins_prompts_with_weights() -> None:
    assert joined_by_and("a cat AND a dog:0.5 AND sANDy :2") == [Part("a cat"), Part("a dog", 0.5), Part("sANDy", 2.0)]
    assert joined_by_and("(a:1.2)") == [Part("(a:1.2)")]


def test_break_begins_a_new_part() -> None:
    assert broken("a BREAK b\nBREAK\nc, BREAKFAST") == ["a", "b", "c, BREAKFAST"]


def test_weights_become_vectors_by_two_rules() -> None:
    z, z0 = torch.rand(2, 77, 8) + 1, torch.rand(77, 8)
    weights = torch.ones(2, 77)
    weights[0, 3], weights[1, 5] = 1.5, 0.0
    prompt = Weighted(z, z0, weights, torch.full((2, 77), -1), lambda seen: z)
    ours = from_empty(prompt)
    torch.testing.assert_close(ours[0, 3], z0[3] + 1.5 * (z[0, 3] - z0[3]))
    torch.testing.assert_close(ours[1, 5], z0[5])
    theirs = scaled(prompt)
    torch.testing.assert_close(theirs.mean(dim=(1, 2)), z.mean(dim=(1, 2)))
    torch.testing.assert_close(theirs[0, 3] / theirs[0, 4], 1.5 * z[0, 3] / z[0, 4])


def test_weights_by_length_and_by_mean() -> None:
    assert by_length([(1.5, 3), (0.4, 4), (1.0, 9)]) == pytest.approx([1.288675, 0.7, 1.0])
    moved = by_mean([(2.0, 1), (1.0, 3)])
    assert moved == pytest.approx([1.75, 0.75])
    assert by_mean([]) == []
