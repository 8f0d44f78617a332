"""The prompt language: weights, escapes, embeddings by name, chunks of 77 tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.prompt import CHUNK, Chunk, Token, chunks, embedding_names, parse
from models.tokenizer import BOS, EOS

PARSED: dict[str, list[tuple[str, float]]] = {
    # plain
    "": [],
    "a cat": [("a cat", 1.0)],
    "a:1.3": [("a:1.3", 1.0)],
    "[x]": [("[x]", 1.0)],
    "a BREAK b": [("a BREAK b", 1.0)],
    # brackets multiply by 1.1
    "(a)": [("a", 1.1)],
    "((a))": [("a", 1.21)],
    "(((a)))": [("a", 1.331)],
    "a (b) c": [("a ", 1.0), ("b", 1.1), (" c", 1.0)],
    "(a)(b)": [("a", 1.1), ("b", 1.1)],
    "(a (b) c)": [("a ", 1.1), ("b", 1.21), (" c", 1.1)],
    # a number sets the weight, whatever is around
    "(a:1.3)": [("a", 1.3)],
    "(a:2)": [("a", 2.0)],
    "(a: 1.5 )": [("a", 1.5)],
    "(a:0)": [("a", 0.0)],
    "(a:-1)": [("a", -1.0)],
    "(a:.5)": [("a", 0.5)],
    "(a:1e-1)": [("a", 0.1)],
    "(a (b:2) c)": [("a ", 1.1), ("b", 2.0), (" c", 1.1)],
    "((a:1.3))": [("a", 1.3)],
    "((a) b:2)": [("a", 2.2), (" b", 2.0)],
    "(a:b:1.2)": [("a:b", 1.2)],
    # what only looks like one
    "(:1.2)": [(":1.2", 1.1)],
    "(a:)": [("a:", 1.1)],
    "(x:1.3 on )": [("x:1.3 on ", 1.1)],
    "(x:abc)": [("x:abc", 1.1)],
    "(x:nan)": [("x:nan", 1.1)],
    "(x:inf)": [("x:inf", 1.1)],
    "(x:1e999)": [("x:1e999", 1.1)],
    # nothing inside
    "()": [],
    "(())": [],
    "a () b": [("a ", 1.0), (" b", 1.0)],
    # brackets without their other half
    "(a": [("(a", 1.0)],
    "a (b": [("a (b", 1.0)],
    "a) (b)": [("a) ", 1.0), ("b", 1.1)],
    "a :), (red house:1.5)": [("a :), ", 1.0), ("red house", 1.5)],
    "(a)) of b, (c:1.5)": [("a", 1.1), (") of b, ", 1.0), ("c", 1.5)],
    "a :( b, (c:1.5)": [("a :( b, ", 1.0), ("c", 1.5)],
    "(a :( b:1.5)": [("(a :", 1.0), (" b", 1.5)],  # of two openings the later one has the other half
    ")(": [(")(", 1.0)],
    "))((a))": [("))", 1.0), ("a", 1.21)],
    ")": [(")", 1.0)],
    # a name that is a number is not a weight
    "(embedding:1234)": [("embedding:1234", 1.1)],
    "(a embedding:1234)": [("a embedding:1234", 1.1)],
    "(embedding:1234:1.3)": [("embedding:1234", 1.3)],
    "(my embedding of it:1.3)": [("my embedding of it", 1.3)],
    # escapes are letters
    r"\(a\)": [("(a)", 1.0)],
    r"a \(b\) (c)": [("a (b) ", 1.0), ("c", 1.1)],
    r"(a\):1.5)": [("a)", 1.5)],
    r"(\(a\))": [("(a)", 1.1)],
    r"\\(a\\)": [("\\(a\\)", 1.0)],
    r"a\b": [(r"a\b", 1.0)],
    # letters that a parser might use for itself
    "\0[a\0]": [("\0[a\0]", 1.0)],
    "\0\1a\0\2": [("\0\1a\0\2", 1.0)],
}


@pytest.mark.parametrize("text", PARSED)
def test_parse(text: str) -> None:
    pieces = parse(text)
    assert [piece.text for piece in pieces] == [words for words, _ in PARSED[text]]
    assert [piece.weight for piece in pieces] == pytest.approx([weight for _, weight in PARSED[text]])


ANY_TEXT = st.text(st.one_of(st.sampled_from("()()\\:1.5 ab\n\0[]"), st.characters(codec="utf-8")), max_size=60)


@given(ANY_TEXT)
@example("(((((")
@example(":)")
@example("\\")
@settings(derandomize=True, deadline=None, max_examples=300)
def test_anything_can_be_read(text: str) -> None:
    for piece in parse(text):
        assert piece.text and piece.text in text.replace("\\(", "(").replace("\\)", ")")


@given(st.text(st.characters(codec="utf-8", exclude_characters="()\\"), max_size=60))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_text_without_brackets_is_one_piece_with_every_letter(text: str) -> None:
    assert parse(text) == ([(text, 1.0)] if text else [])


@given(
    st.text(st.one_of(st.sampled_from("()[]\0"), st.characters(codec="utf-8", exclude_characters="\\")), max_size=60)
)
@settings(derandomize=True, deadline=None, max_examples=200)
def test_escaped_text_comes_back_with_every_letter(text: str) -> None:
    escaped = text.replace("(", r"\(").replace(")", r"\)")
    assert parse(escaped) == ([(text, 1.0)] if text else [])


def _nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(
        st.one_of(inner, inner.map("({})".format), inner.map("({}:1.4)".format)), min_size=1, max_size=4
    ).map("".join)


@given(st.recursive(st.text("abc ,", min_size=1, max_size=5), _nested, max_leaves=12))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_balanced_brackets_lose_brackets_and_weights_only(text: str) -> None:
    words = "".join(piece.text for piece in parse(text))
    assert words == text.replace("(", "").replace(":1.4)", "").replace(")", "")


@pytest.mark.parametrize("depth", [50, 2_000])
def test_brackets_may_be_nested_deeply(depth: int) -> None:
    assert parse("(" * depth + "a" + ":2)" + ")" * (depth - 1)) == [("a", 2.0)]
    assert parse("(" * depth) == [("(" * depth, 1.0)]


# --- chunks ---------------------------------------------------------------------------------------------------------


def letters(text: str) -> list[int]:
    """A tokenizer: one token a letter, none for white space."""
    return [ord(letter) for letter in text if not letter.isspace()]


def dealt(text: str) -> list[Chunk]:
    return chunks(text, letters, {})


def inside(chunk: Chunk) -> str:
    """The letters between the marks of a chunk."""
    assert len(chunk) == CHUNK == 77
    assert chunk[0] == Token(BOS) and chunk[-1] == Token(EOS)
    ids = [token.value for token in chunk[1:-1] if token.value != EOS]
    assert chunk[1 + len(ids) :] == [Token(EOS)] * (76 - len(ids)), "padding is EOS of weight 1, and only at the end"
    return "".join(chr(int(value)) for value in ids)


def test_the_empty_prompt_is_one_chunk_of_padding() -> None:
    assert dealt("") == [[Token(BOS)] + [Token(EOS)] * 76]
    assert dealt("()") == dealt("")


@pytest.mark.parametrize(
    ("count", "lengths"), [(1, [1]), (74, [74]), (75, [75]), (76, [75, 1]), (150, [75, 75]), (151, [75, 75, 1])]
)
def test_a_long_segment_is_cut_every_75_tokens(count: int, lengths: list[int]) -> None:
    assert [inside(chunk) for chunk in dealt("a" * count)] == ["a" * n for n in lengths]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (68, 7, [(68, 7)]),  # fits exactly
        (69, 7, [(69, 0), (0, 7)]),  # short, so it moves as a whole
        (75, 1, [(75, 0), (0, 1)]),
        (67, 8, [(67, 8)]),
        (68, 8, [(68, 7), (0, 1)]),  # eight or more are cut where the chunk ends
        (75, 8, [(75, 0), (0, 8)]),
        (1, 80, [(1, 74), (0, 6)]),
    ],
)
def test_short_groups_are_kept_whole(first: int, second: int, expected: list[tuple[int, int]]) -> None:
    found = dealt("a" * first + "(" + "b" * second + ":1.5)")
    assert [inside(chunk) for chunk in found] == ["a" * a + "b" * b for a, b in expected]
    weights = {token.value: token.weight for chunk in found for token in chunk}
    assert (weights[ord("a")], weights[ord("b")], weights[BOS], weights[EOS]) == (1.0, 1.5, 1.0, 1.0)


def test_a_group_is_a_segment_of_one_weight_not_a_word() -> None:
    """Seventy-four letters and a plain word of three: one segment, so the word is cut."""
    assert [inside(chunk) for chunk in dealt("a" * 74 + " bcd")] == ["a" * 74 + "b", "cd"]


@given(st.lists(st.tuples(st.integers(1, 90), st.booleans()), max_size=8))
@settings(derandomize=True, deadline=None, max_examples=100)
def test_chunks_keep_every_token_in_its_order(segments: list[tuple[int, bool]]) -> None:
    words = [chr(ord("a") + i) * n for i, (n, _) in enumerate(segments)]
    text = "".join(f"({word}:1.5)" if weighted else word for word, (_, weighted) in zip(words, segments, strict=True))
    assert "".join(inside(chunk) for chunk in dealt(text)) == "".join(words)


# --- embeddings -----------------------------------------------------------------------------------------------------


def spliced(text: str, **files: int) -> list[str | float]:
    """What becomes of a prompt where `files` are embeddings of so many vectors: letters and vectors."""
    embeddings = {name: [torch.full((4,), float(i)) for i in range(n)] for name, n in files.items()}
    [chunk] = chunks(text, letters, embeddings)
    values = [token.value for token in chunk if isinstance(token.value, torch.Tensor) or token.value not in (BOS, EOS)]
    return [float(v[0]) if isinstance(v, torch.Tensor) else chr(v) for v in values]


@pytest.mark.parametrize(
    "text",
    ["a embedding:foo b", "a embedding:foo, b", "a embedding:foo,, b", "a\nembedding:foo b", "a embedding:foo\nb"],
)
def test_an_embedding_s_vectors_stand_where_its_name_stood(text: str) -> None:
    values = spliced(text, foo=2)
    assert embedding_names(text, {"foo": []}) == ["foo"]
    commas = [","] * text.count(",")
    assert values == ["a", 0.0, 1.0, *commas, "b"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("embedding:foo", ["foo"]),
        ("embedding:foo embedding:bar", ["foo", "bar"]),
        ("embedding:foo\nembedding:bar", ["foo", "bar"]),
        ("embedding:foo\nmore words embedding:bar", ["foo", "bar"]),
        ("embedding:foo\tmore", ["foo"]),
        ("(embedding:foo:1.2)", ["foo"]),
        ("(a, embedding:foo, b:1.2)", ["foo"]),
        ("embedding:,foo,", ["foo"]),
        ("embedding:sub/foo.pt", ["sub/foo.pt"]),
        ("embedding:v1.5-neg", ["v1.5-neg"]),
        ("a,embedding:foo", []),  # neither at the start nor after a space
        ("an embedding: foo", ["foo"]),
        ("ends in embedding:", [""]),
        ("Embedding:foo", []),
    ],
)
def test_which_names_are_asked_for(text: str, names: list[str]) -> None:
    assert embedding_names(text, {}) == names
    assert embedding_names(text, dict.fromkeys(names, ())) == names
    assert embedding_names("(a)" + text, {}) == names


@pytest.mark.parametrize("sign", [",", ".", ";", ":", "!", "\uff0c", "\u3002", "\u3001"])
def test_a_sign_and_a_word_may_follow_a_name_without_a_space(sign: str) -> None:
    assert spliced(f"a embedding:foo{sign}b", foo=2) == spliced(f"a embedding:foo {sign}b", foo=2)
    assert spliced(f"a embedding:gone{sign} b", foo=2)[-1] == "b"


def test_the_longest_name_that_is_there_counts() -> None:
    assert embedding_names("embedding:v1.5,neg", {"v1": [], "v1.5": [], "v1.5,neg": []}) == ["v1.5,neg"]
    assert embedding_names("embedding:v1.5,neg", {"v1": [], "v1.5": []}) == ["v1.5"]
    assert embedding_names("embedding:v1.5,neg", {"v1": []}) == ["v1"]
    assert embedding_names("embedding:v1.5,neg", {}) == ["v1.5"], "what is told as missing"


def test_a_missing_embedding_leaves_the_other_words() -> None:
    assert spliced("a embedding:gone, b") == ["a", ",", "b"]


def test_vectors_carry_the_weight_around_them() -> None:
    [chunk] = chunks("a (embedding:foo:1.4) (embedding:foo)", letters, {"foo": [torch.zeros(4)]})
    assert [token.weight for token in chunk[1:4]] == pytest.approx([1.0, 1.4, 1.1])


@pytest.mark.parametrize(("count", "first"), [(7, 0), (8, 5)])
def test_a_short_embedding_is_kept_whole_and_a_long_one_is_cut(count: int, first: int) -> None:
    vectors = [torch.zeros(4)] * count
    parts = chunks("a" * 70 + " embedding:foo", letters, {"foo": vectors})
    assert [sum(isinstance(token.value, torch.Tensor) for token in chunk) for chunk in parts] == [first, count - first]
