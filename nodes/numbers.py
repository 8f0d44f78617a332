"""Nodes that compute with numbers."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from graph.errors import InputError
from graph.sockets import Text
from graph.spec import Group, Tip, node
from nodes.services import Context

Number = int | float
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
MOST_POWER, MOST_LENGTH = 10_000, 5_000


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, int) and abs(exponent) * max(abs(base).bit_length(), 1) > MOST_POWER:
        raise ValueError("the power is too large")
    result = base**exponent
    if isinstance(result, complex):
        raise ValueError("the root of a negative number is none")
    return result


BINARY: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = MappingProxyType(
    {
        ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
        ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: _power,
    }
)  # fmt: skip
UNARY: Mapping[type[ast.unaryop], Callable[[Any], Any]] = MappingProxyType(
    {ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Not: operator.not_}
)
COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = MappingProxyType(
    {
        ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
        ast.GtE: operator.ge,
    }
)  # fmt: skip
FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "sum": sum, "min": min, "max": max, "abs": abs, "round": round, "pow": _power, "sqrt": math.sqrt,
        "ceil": math.ceil, "floor": math.floor, "log": math.log, "log2": math.log2, "log10": math.log10,
        "sin": math.sin, "cos": math.cos, "tan": math.tan, "int": int, "float": float,
    }
)  # fmt: skip


class Numbers(NamedTuple):
    """A number in two forms."""

    FLOAT: Annotated[float, Tip("The number.")]
    INT: Annotated[int, Tip("Its whole part.")]


class Result(NamedTuple):
    """A number in three forms."""

    FLOAT: Annotated[float, Tip("The number.")]
    INT: Annotated[int, Tip("Its whole part.")]
    BOOL: Annotated[bool, Tip("Whether it is not 0.")]


@node("ComfyMathExpression", category="logic", title="Math Expression")
def math_expression(
    ctx: Context,
    *,
    expression: Annotated[
        str, Text(multiline=True, tooltip="A formula, such as (a + b) / 2 or max(5, round(a * 24)).")
    ] = "a + b",
    values: Annotated[
        Mapping[str, Annotated[int | float | bool, Tip("A number of the formula.")]],
        Group(names=LETTERS, min=1),
        Tip("The numbers that the formula calls a, b, c …"),
    ],
) -> Result:
    """Compute a formula."""
    known = {name: value for name, value in values.items() if value is not None}
    try:
        number = evaluated(expression, known)
    except (ArithmeticError, ValueError, TypeError, SyntaxError, RecursionError) as error:
        raise InputError("expression", f"{expression!r} cannot be computed: {_reason(error)}") from error
    if not math.isfinite(number):
        raise InputError("expression", f"{expression!r} comes to {number}, which is no finite number")
    return Result(float(number), int(number), bool(number))


def _reason(error: Exception) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)


def evaluated(text: str, values: Mapping[str, object]) -> Number:
    """What a formula comes to. It knows numbers, arithmetic, comparisons, `a if b else c`, and a few functions.

    Raises ValueError for anything else, and what arithmetic raises.
    """
    if len(text) > MOST_LENGTH:
        raise ValueError(f"a formula may have {MOST_LENGTH} letters, and this has {len(text)}")
    if not text.strip():
        raise ValueError("it is empty")
    number = _value(ast.parse(text.strip(), mode="eval").body, values)
    if not isinstance(number, int | float):
        raise ValueError(f"it comes to {type(number).__name__}, which is no number")
    float(number)  # too large a number raises
    return number


def _value(part: ast.expr, values: Mapping[str, object]) -> Any:
    match part:
        case ast.Constant(value=bool() | int() | float() as number):
            return number
        case ast.Name(id="values"):
            return list(values.values())
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.BinOp(left, op, right) if type(op) in BINARY:
            return BINARY[type(op)](_value(left, values), _value(right, values))
        case ast.UnaryOp(op, operand) if type(op) in UNARY:
            return UNARY[type(op)](_value(operand, values))
        case ast.Compare(left, ops, comparators) if all(type(op) in COMPARE for op in ops):
            sides = [_value(side, values) for side in (left, *comparators)]
            return all(COMPARE[type(op)](*pair) for op, pair in zip(ops, pairwise(sides), strict=True))
        case ast.BoolOp(op, parts):
            found = [_value(each, values) for each in parts]
            return all(found) if isinstance(op, ast.And) else any(found)
        case ast.IfExp(test, body, orelse):
            return _value(body if _value(test, values) else orelse, values)
        case ast.List(elts) | ast.Tuple(elts):
            return [_value(each, values) for each in elts]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_value(each, values) for each in arguments))
        case ast.Name(id=name) | ast.Call(func=ast.Name(id=name)):
            raise ValueError(f"it knows no {name!r}; it knows {', '.join([*values, *FUNCTIONS])}")
        case _:
            raise ValueError(f"{ast.unparse(part)} is no arithmetic")


@node("ComfyNumberConvert", category="logic", title="Convert Number")
def number_convert(
    ctx: Context,
    *,
    value: Annotated[int | float | str | bool, Tip("A number, a text that is one, or yes and no for 1 and 0.")],
) -> Numbers:
    """Make numbers of numbers, texts, and yes or no."""
    try:
        number = float(value.strip()) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError) as error:
        raise InputError("value", f"got {value!r}, which is no number") from error
    if not math.isfinite(number):
        raise InputError("value", f"got {value!r}, which is no finite number")
    return Numbers(number, value if isinstance(value, int) else int(number))
