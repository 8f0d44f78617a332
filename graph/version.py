"""The version of a node function: the digest of what it was compiled to, wherever it stands in its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from types import CodeType


def version_of(function: Callable[..., object]) -> str:
    """16 hexadecimal digits; nothing for what is no Python function. What it calls in other places does not count, nor
    do remarks and line numbers.
    """
    code = getattr(function, "__code__", None)
    return sha256("\n".join(_compiled(code)).encode()).hexdigest()[:16] if isinstance(code, CodeType) else ""


def _compiled(code: CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield " ".join(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _compiled(constant)
        elif isinstance(constant, frozenset):
            yield repr(sorted(map(repr, constant)))
        else:
            yield repr(constant)
