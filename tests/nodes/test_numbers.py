"""Formulas, texts with values in them, and logic."""

from __future__ import annotations

import pytest

from graph.errors import InputError
from nodes import logic, numbers, primitives, strings
from nodes.numbers import evaluated
from tests.nodes.conftest import Workplace

AB = {"a": 7, "b": 2.5}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b", 9.5), ("a // 2 * 8", 24), ("max(5, round(a * 24)) + (5 - (max(5, round(a * 24)) % 17)) % 17", 175),
        ("-a ** 2", -49), ("a if b > 3 else -1", -1), ("1 < a <= 7 and not b == 2", True), ("sum(values)", 9.5),
        ("sqrt(16) + log10(1000) + pow(2, 10)", 1031), ("min([a, b, 1])", 1), ("int(b) + float(1)", 3), ("a or 0", True),
    ],
)  # fmt: skip
def test_a_formula_is_computed(text: str, expected: float) -> None:
    assert evaluated(text, AB) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "a +", "c", "__import__('os')", "a.real", "(lambda: 1)()", "[x for x in values]", "'text'", "1 / 0",
        "9 ** 9 ** 9", "2 ** 99999", "10.0 ** 999", "sqrt(-1)", "(-8) ** 0.5", "values", "round(a, b)", "max()", "a" * 6000,
        "(" * 300 + "a" + ")" * 300, "float('nan')", "1e308 * 10", "a; b", "open", "int(1e999)", "pow(2, 3, 4)",
    ],
)  # fmt: skip
def test_what_is_no_arithmetic_is_told_and_never_run(place: Workplace, text: str) -> None:
    with pytest.raises(InputError) as caught:
        numbers.math_expression(place.ctx(), expression=text, values=AB)
    assert caught.value.input_name == "expression"


def test_a_result_has_three_forms(place: Workplace) -> None:
    found = numbers.math_expression(place.ctx(), expression="a / b", values=AB)
    assert found == (pytest.approx(2.8), 2, True)
    assert numbers.math_expression(place.ctx(), expression="a > 8", values=AB) == (0.0, 0, False)


@pytest.mark.parametrize(
    ("value", "expected"), [(3, (3.0, 3)), (" -2.9 ", (-2.9, -2)), (True, (1.0, 1)), (2**53 + 1, (2.0**53, 2**53 + 1))]
)
def test_numbers_of_anything(place: Workplace, value: object, expected: tuple[float, int]) -> None:
    assert numbers.number_convert(place.ctx(), value=value) == expected


@pytest.mark.parametrize("value", ["", "three", "inf", "nan"])
def test_what_is_no_number_is_told(place: Workplace, value: str) -> None:
    with pytest.raises(InputError, match="no"):
        numbers.number_convert(place.ctx(), value=value)


def test_values_are_put_into_a_text(place: Workplace) -> None:
    fill = strings.string_format
    values = {"a": 3, "b": "x", "c": 2.0}
    assert fill(place.ctx(), f_string="{a:03}: {b!r}, {c:.2f} {{}}", values=values) == "003: 'x', 2.00 {}"
    for text in ("{z}", "{a", "{a.__class__}", "{a:999999}", "{a!q}", "{}"):
        with pytest.raises(InputError) as caught:
            fill(place.ctx(), f_string=text, values=values)
        assert caught.value.input_name == "f_string"


def test_logic(place: Workplace) -> None:
    assert logic.and_node(place.ctx(), values={"value_0": 1, "value_1": "x"}) is True
    assert logic.and_node(place.ctx(), values={"value_0": 1, "value_1": ""}) is False
    assert logic.or_node(place.ctx(), values={"value_0": 0, "value_1": [1]}) is True
    assert logic.or_node(place.ctx(), values={"value_0": 0}) is False
    assert logic.not_node(place.ctx(), value=[]) is True


def test_a_choice_of_one_s_own(place: Workplace) -> None:
    assert primitives.custom_combo(place.ctx(), choice="Default", index=1) == ("Default", 1)
    assert primitives.seed_node(place.ctx(), seed=42) == 42
