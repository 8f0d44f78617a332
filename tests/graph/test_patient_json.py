"""Read and written in bites, JSON means what it means to `json`."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph import patient_json
from graph.patient_json import BITE, TooLarge, _pieces, dumps, let_go, loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)
WRONG = [
    *("", " ", "[", "[1", "[1,", "[1,]", "[1 2]", "[,1]", "]", "{", '{"a"', '{"a":', '{"a": 1', '{"a": 1,', '{"a": 1,}'),
    *('{a: 1}', '{"a" 1}', '{"a": 1 "b": 2}', '{"a": }', "[1] 2", '"ab', '"\\x"', '"\t"', "tru", "-", "1.", "{1: 2}"),
    *('["abcdefghijklmnop", "\\u12"]', '{"abcdefghijklmnop": [1, 2, {"x": tru}]}', "[[[[1, 2], 3], 4], nul]"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def small_bites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_json, "BITE", 8)
    monkeypatch.setattr(patient_json, "NIBBLE", 4)
    monkeypatch.setattr(patient_json, "_SMALL", 3)


@settings(max_examples=300, deadline=None)
@given(VALUES, st.sampled_from([None, 1]))
def test_equal_to_json(value: object, indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    assert loads(text) == value
    assert loads(json.dumps(value, ensure_ascii=False)) == value
    assert dumps(value) == json.dumps(value)


@pytest.mark.parametrize("text", WRONG)
def test_errors_are_those_of_json(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(text)
    with pytest.raises(json.JSONDecodeError) as error:
        loads(text)
    assert (error.value.msg, error.value.pos) == (expected.value.msg, expected.value.pos)


@settings(max_examples=300, deadline=None)
@given(VALUES, st.integers(0, 200), st.text(max_size=2))
def test_damaged_texts_are_judged_alike(value: object, at: int, patch: str) -> None:
    text = json.dumps(value)
    text = text[:at] + patch + text[at + 1 :]
    try:
        expected: object = json.loads(text)
    except json.JSONDecodeError:
        with pytest.raises(json.JSONDecodeError):
            loads(text)
    else:
        assert repr(loads(text)) == repr(expected)


@pytest.mark.parametrize(
    "value",
    [
        list(range(100)),
        [[number] for number in range(100)],
        [{"a": number, "b": [number]} for number in range(100)],
        [f"a,{number}" for number in range(100)],
        {f"k{number}": number for number in range(100)},
        {f"k{number}": {"a": [1, 2]} for number in range(100)},
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_small_is_read_many_at_once(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_json, "BITE", 400)
    tries: list[str] = []
    text = json.dumps(value)
    reader = patient_json.Reader(text)
    scan, overheard = reader._scan, reader._scan_overheard
    reader._scan = lambda text, place: (tries.append(text), scan(text, place))[1]  # type: ignore[func-returns-value]
    reader._scan_overheard = lambda text, place: (tries.append(text), overheard(text, place))[1]  # type: ignore[func-returns-value]
    assert reader.value(0) == (value, len(text))
    assert len(tries) < 40


def test_a_key_given_twice_far_apart_is_seen() -> None:
    text = "{" + ", ".join(f'"k{number % 90}": {number}' for number in range(100)) + "}"
    assert loads(text) == json.loads(text)
    decoder = json.JSONDecoder(object_pairs_hook=list)
    assert loads(text, decoder) == decoder.decode(text)


def test_a_number_is_not_cut_where_a_bite_ends() -> None:
    assert loads("[1234567.5, 123456e5, 12345e+5, 1]") == [1234567.5, 123456e5, 12345e5, 1]


def test_hooks_are_called() -> None:
    decoder = json.JSONDecoder(object_pairs_hook=tuple, parse_float=str)
    text = '{"aaaaaaaa": {"bbbbbbbb": 1.50, "cccccccc": [1.25]}, "aaaaaaaa": 1}'
    assert loads(text, decoder) == decoder.decode(text)


def test_the_length_of_a_list_or_object_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_json, "MAX_ELEMENTS", 50)
    for many in (list(range(51)), {str(number): [number] for number in range(51)}, [[[1, 2, 3]] * 60]):
        with pytest.raises(TooLarge, match="more than 50 elements"):
            loads(json.dumps(many))
    assert loads(json.dumps([[1] * 50] * 50)) == [[1] * 50] * 50


def test_depth_is_bounded() -> None:
    for text in ("[" * 10_000, '{"aaaaaaaaaa": ' * 10_000):
        with pytest.raises(RecursionError):
            loads(text)


def test_numbers_that_json_does_not_know_are_not_written() -> None:
    for value in (float("nan"), [1, 2, 3, [float("inf")]]):
        with pytest.raises(ValueError, match="JSON"):
            dumps(value)


def test_no_piece_of_what_is_written_is_long() -> None:
    many = [{"id": number, "values": [1, 2, "three"], "about": {"x": "y"}} for number in range(5000)]
    for value in (
        many,
        {"nodes": many},
        {"a": {"b": many}},
        [[many]],
        {str(key): each for key, each in enumerate(many)},
    ):
        pieces = list(_pieces(value))
        assert "".join(pieces) == json.dumps(value)
        assert max(map(len, pieces)) < 3 * BITE


def test_what_is_let_go_is_empty() -> None:
    inner = [1, 2]
    held = {"nodes": [inner] * 1000, "links": inner, "version": 0.4}
    let_go(held)
    assert held == {}
    assert inner == []
