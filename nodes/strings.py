"""Nodes that work on texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from string import Formatter, ascii_lowercase
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from graph.errors import InputError
from graph.sockets import Choice, Int, Text
from graph.spec import Group, Tip, node
from nodes.services import Context

TEXT = Text(multiline=True, tooltip="The text.")
PATTERN = Text(multiline=True, tooltip="A regular expression in Python's syntax.")
IGNORE_CASE = Tip("Whether capital and small letters are the same.")
LINES = Tip("Whether ^ and $ also stand for the begin and end of every line.")
ANYTHING = Tip("Whether a dot also stands for the end of a line.")
CASES: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {"UPPERCASE": str.upper, "lowercase": str.lower, "Capitalize": str.capitalize, "Title Case": str.title}
)
TRIMS: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {"Both": str.strip, "Left": str.lstrip, "Right": str.rstrip}
)
COMPARISONS: Mapping[str, Callable[[str, str], bool]] = MappingProxyType(
    {"Starts With": str.startswith, "Ends With": str.endswith, "Equal": str.__eq__}
)
LETTERS = tuple(ascii_lowercase)
TURNS: Mapping[str, Callable[[object], str]] = MappingProxyType({"r": repr, "s": str, "a": ascii})
EXTRACTS = ("First Match", "All Matches", "First Group", "All Groups")


class Length(NamedTuple):
    """How long a text is."""

    length: Annotated[int, Tip("How many characters.")]


class Contains(NamedTuple):
    """Whether a text is in another."""

    contains: Annotated[bool, Tip("Whether it is there.")]


class Matches(NamedTuple):
    """Whether a pattern is found."""

    matches: Annotated[bool, Tip("Whether it is found.")]


@node("StringConcatenate", category="utils/string", title="Concatenate")
def string_concatenate(
    ctx: Context,
    *,
    string_a: Annotated[str, Text(multiline=True, tooltip="The first text.")],
    string_b: Annotated[str, Text(multiline=True, tooltip="The text that follows.")],
    delimiter: Annotated[str, Text(tooltip="What stands between them.")] = "",
) -> Annotated[str, Tip("Both.")]:
    """Join two texts."""
    return delimiter.join((string_a, string_b))


@node("StringSubstring", category="utils/string", title="Substring")
def string_substring(
    ctx: Context,
    *,
    string: Annotated[str, TEXT],
    start: Annotated[int, Int(tooltip="The first character, counted from 0; below 0 from the end.")],
    end: Annotated[int, Int(tooltip="The character before which it ends; below 0 from the end.")],
) -> Annotated[str, Tip("The part.")]:
    """Take a part of a text."""
    return string[start:end]


@node("StringLength", category="utils/string", title="Length")
def string_length(ctx: Context, *, string: Annotated[str, TEXT]) -> Length:
    """Count the characters of a text."""
    return Length(len(string))


@node("CaseConverter", category="utils/string", title="Case Converter")
def case_converter(
    ctx: Context,
    *,
    string: Annotated[str, TEXT],
    mode: Annotated[str, Choice(tuple(CASES), typed=True, tooltip="Which letters become capitals.")],
) -> Annotated[str, Tip("The text with other letters.")]:
    """Make letters capital or small."""
    return CASES[mode](string)


@node("StringTrim", category="utils/string", title="Trim")
def string_trim(
    ctx: Context,
    *,
    string: Annotated[str, TEXT],
    mode: Annotated[str, Choice(tuple(TRIMS), typed=True, tooltip="On which side.")],
) -> Annotated[str, Tip("The text without it.")]:
    """Take white space off the ends of a text."""
    return TRIMS[mode](string)


@node("StringReplace", category="utils/string", title="Replace")
def string_replace(
    ctx: Context,
    *,
    string: Annotated[str, TEXT],
    find: Annotated[str, Text(multiline=True, tooltip="What is looked for.")],
    replace: Annotated[str, Text(multiline=True, tooltip="What takes its place.")],
) -> Annotated[str, Tip("The new text.")]:
    """Replace words in a text, all of them."""
    return string.replace(find, replace)


@node("StringContains", category="utils/string", title="Contains")
def string_contains(
    ctx: Context,
    *,
    string: Annotated[str, TEXT],
    substring: Annotated[str, Text(multiline=True, tooltip="What is looked for.")],
    case_sensitive: Annotated[bool, Tip("Whether capital and small letters differ.")] = True,
) -> Contains:
    """Say whether a text is in another."""
    string, substring = _cased(case_sensitive, string, substring)
    return Contains(substring in string)


@node("StringCompare", category="utils/string", title="Compare")
def string_compare(
    ctx: Context,
    *,
    string_a: Annotated[str, Text(multiline=True, tooltip="The first text.")],
    string_b: Annotated[str, Text(multiline=True, tooltip="The second text.")],
    mode: Annotated[str, Choice(tuple(COMPARISONS), typed=True, tooltip="What is asked.")],
    case_sensitive: Annotated[bool, Tip("Whether capital and small letters differ.")] = True,
) -> Annotated[bool, Tip("The answer.")]:
    """Compare two texts."""
    return COMPARISONS[mode](*_cased(case_sensitive, string_a, string_b))


@node("RegexMatch", category="utils/string", title="Regex Match")
def regex_match(
    ctx: Context,
    *,
    string: Annotated[str, TEXT],
    regex_pattern: Annotated[str, PATTERN],
    case_insensitive: Annotated[bool, IGNORE_CASE] = True,
    multiline: Annotated[bool, LINES] = False,
    dotall: Annotated[bool, ANYTHING] = False,
) -> Matches:
    """Say whether a pattern is found in a text. A pattern that is none is found nowhere."""
    try:
        pattern = _compiled(regex_pattern, case_insensitive, multiline, dotall)
    except InputError as error:
        ctx.warn(f"{error.message}: it matches nothing", "regex_pattern")
        return Matches(False)
    return Matches(pattern.search(string) is not None)


@node("RegexExtract", category="utils/string", title="Regex Extract")
def regex_extract(
    ctx: Context,
    *,
    string: Annotated[str, TEXT],
    regex_pattern: Annotated[str, PATTERN],
    mode: Annotated[str, Choice(EXTRACTS, typed=True, tooltip="What to take; several are given a line each.")],
    case_insensitive: Annotated[bool, IGNORE_CASE] = True,
    multiline: Annotated[bool, LINES] = False,
    dotall: Annotated[bool, ANYTHING] = False,
    group_index: Annotated[int, Int(0, 100, tooltip="Which group of the pattern; 0 is the whole match.")] = 1,
) -> Annotated[str, Tip("What was found, or nothing.")]:
    """Take what fits a pattern out of a text."""
    try:
        pattern = _compiled(regex_pattern, case_insensitive, multiline, dotall)
    except InputError as error:
        ctx.warn(f"{error.message}: nothing is taken", "regex_pattern")
        return ""
    found = list(pattern.finditer(string))
    if mode.startswith("First"):
        found = found[:1]
    group = group_index if mode.endswith(("Group", "Groups")) else 0
    if group > pattern.groups:
        return ""
    return "\n".join(match[group] or "" for match in found)


@node("RegexReplace", category="utils/string", title="Regex Replace")
def regex_replace(
    ctx: Context,
    *,
    string: Annotated[str, TEXT],
    regex_pattern: Annotated[str, PATTERN],
    replace: Annotated[str, Text(multiline=True, tooltip="What takes its place; \\1 stands for the first group.")],
    case_insensitive: Annotated[bool | None, IGNORE_CASE] = True,
    multiline: Annotated[bool | None, LINES] = False,
    dotall: Annotated[bool | None, ANYTHING] = False,
    count: Annotated[int | None, Int(0, 100, tooltip="How many at most; 0: all.")] = 0,
) -> Annotated[str, Tip("The new text.")]:
    """Replace what fits a pattern in a text."""
    pattern = _compiled(regex_pattern, bool(case_insensitive), bool(multiline), bool(dotall))
    try:
        return pattern.sub(replace, string, count=count or 0)
    except (re.error, IndexError) as error:
        raise InputError("replace", f"does not fit the pattern: {error}") from error


def _cased(sensitive: bool, *texts: str) -> tuple[str, str]:
    first, second = texts if sensitive else (text.lower() for text in texts)
    return first, second


def _compiled(pattern: str, ignore_case: bool, lines: bool, anything: bool) -> re.Pattern[str]:
    """Raises InputError for what is no regular expression."""
    flags = (re.IGNORECASE * ignore_case) | (re.MULTILINE * lines) | (re.DOTALL * anything)
    try:
        return re.compile(pattern, flags)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError("regex_pattern", f"is no regular expression: {error}") from error


@node("StringFormat", category="text", title="Format Text")
def string_format(
    ctx: Context,
    *,
    f_string: Annotated[
        str,
        Text(multiline=True, tooltip="A text with {a}, {b}, … in the places of the values; {a:.2f} has two decimals."),
    ] = "{a}",
    values: Annotated[Mapping[str, Any], Group(names=LETTERS, min=1), Tip("The values.")],
) -> Annotated[str, Tip("The text with the values in it.")]:
    """Put values into a text."""
    try:
        pieces = [_placed(*part, values) for part in Formatter().parse(f_string)]
    except (ValueError, KeyError) as error:
        raise InputError("f_string", f"{f_string!r} cannot be filled in: {error}") from error
    return "".join(pieces)


def _placed(before: str, name: str | None, form: str | None, turn: str | None, values: Mapping[str, Any]) -> str:
    """A piece of text and the value that follows it. Only values are looked up, nothing inside them."""
    if name is None:
        return before
    if name not in values:
        raise KeyError(f"there is no value {name!r}, only {', '.join(values) or 'none'}")
    value = TURNS[turn](values[name]) if turn else values[name]
    if len(digits := re.sub("[^0-9]", "", form or "")) > 4:
        raise ValueError(f"the format {form!r} asks for {digits} places")
    return before + format(value, form or "")
