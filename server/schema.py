"""The part of JSON Schema that the description of our routes uses: what it says is what is checked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

TEXT: Schema = MappingProxyType({"type": "string"})
WHOLE: Schema = MappingProxyType({"type": "integer"})
NUMBER: Schema = MappingProxyType({"type": "number"})
TRUTH: Schema = MappingProxyType({"type": "boolean"})
ANYTHING: Schema = MappingProxyType({})
OBJECT: Schema = MappingProxyType({"type": "object"})
NAMES: Schema = MappingProxyType({"type": "array", "items": {"type": "string"}})

_TYPES: Mapping[str, Callable[[object], bool]] = MappingProxyType(
    {
        "string": lambda value: isinstance(value, str),
        "integer": lambda value: (
            not isinstance(value, bool)
            and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
        ),
        "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
        "boolean": lambda value: isinstance(value, bool),
        "object": lambda value: isinstance(value, Mapping),
        "array": lambda value: isinstance(value, list),
        "null": lambda value: value is None,
    }
)
_WHOLE = re.compile(r"-?[0-9]{1,15}")
_NUMBER = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,3})?")
_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "string": "a text",
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "object": "an object",
        "array": "a list",
        "null": "null",
    }
)


def members(properties: Mapping[str, Schema], required: Sequence[str] = (), closed: bool = False) -> Schema:
    """The schema of an object. `closed`: it may have no other members."""
    shape: dict[str, Any] = {"type": "object", "properties": {name: dict(it) for name, it in properties.items()}}
    if required:
        shape["required"] = sorted(required)
    if closed:
        shape["additionalProperties"] = False
    return shape


def optional(schema: Schema) -> Schema:
    """The same, or null."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*kinds, "null"]}


def fault(schema: Schema, value: object, name: str = "") -> str | None:
    """What is wrong with a value, in words that name it; None if nothing is."""
    place = f"{name}: " if name else ""
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_TYPES[kind](value) for kind in kinds):
        return f"{place}expected {' or '.join(_WORDS[kind] for kind in kinds)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{place}expected one of {', '.join(map(str, schema['enum']))}"
    if isinstance(value, str):
        return _text_fault(schema, value, place)
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        return None if low <= value <= high else f"{place}expected a number from {low} to {high}"
    if isinstance(value, Mapping):
        return _member_fault(schema, value, name)
    if isinstance(value, list) and "items" in schema:
        faults = (fault(schema["items"], item, f"{name}[{at}]") for at, item in enumerate(value))
        return next((found for found in faults if found), None)
    return None


def read_query(schema: Schema, text: str) -> object:
    """A value of a query as JSON has it: a number where the schema wants one, and is able to be one."""
    wanted = schema.get("type")
    if wanted == "integer" and _WHOLE.fullmatch(text):
        return int(text)
    if wanted == "number" and _NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text


def _text_fault(schema: Schema, value: str, place: str) -> str | None:
    low, high = schema.get("minLength", 0), schema.get("maxLength", len(value))
    if not low <= len(value) <= high:
        return f"{place}expected a text of {low} to {high} characters"
    if "pattern" in schema and not re.search(schema["pattern"].replace("$", r"\Z"), value):  # ECMA 262 ends there
        return f"{place}expected a text of the form {schema['pattern']}"
    return None


def _member_fault(schema: Schema, value: Mapping[str, object], name: str) -> str | None:
    dot = f"{name}." if name else ""
    properties = schema.get("properties", {})
    for key in schema.get("required", ()):
        if key not in value:
            return f"{dot}{key}: is missing"
    if schema.get("additionalProperties") is False and (more := [key for key in value if key not in properties]):
        return f"{dot}{more[0][:50]}: is not known"
    named = {key: properties.get(key, schema.get("additionalProperties")) for key in value}
    faults = (fault(each, value[key], f"{dot}{key}") for key, each in named.items() if isinstance(each, Mapping))
    return next((found for found in faults if found), None)
