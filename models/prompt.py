"""The prompt language: `(words:1.3)` weights, `embedding:name`, and chunks of 77 tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from torch import Tensor

from models.tokenizer import BOS, EOS
from models.weighting import Normalization, as_they_are

CHUNK = 77  # tokens a chunk: BOS, up to 75, EOS, padding
KEEP_WHOLE = 8  # a group shorter than this is not cut by the end of a chunk
EMBEDDING = "embedding:"


class Piece(NamedTuple):
    """Text with one weight."""

    text: str
    weight: float


class Token(NamedTuple):
    """One position of the text encoder: a token id, or a vector [D] from an embedding file. word: the number of what it
    is a part of that has one weight; -1 for a mark."""

    value: int | Tensor
    weight: float = 1.0
    word: int = -1


Chunk = list[Token]


class Embeddings(Protocol):
    """Embedding files by the names that prompts use, such as a dict: name -> vectors [D]."""

    def __contains__(self, name: object, /) -> bool: ...

    def __getitem__(self, name: str, /) -> Iterable[Tensor]: ...


def parse(text: str) -> list[Piece]:
    """Cut a prompt into pieces of one weight.

    `(words)` multiplies the weight of its inside by 1.1, `(words:1.3)` sets it, whatever is around; `\\(` and `\\)`
    are letters, and so is a bracket without its other half.
    """
    hidden = _without_single(text.replace(r"\(", _OPEN).replace(r"\)", _CLOSE))
    return [Piece(p.text.replace(_OPEN, "(").replace(_CLOSE, ")"), p.weight) for p in _weighted(hidden)]


_OPEN, _CLOSE = "\udc28", "\udc29"  # halves of surrogate pairs, which no text contains, stand for brackets as letters


def _without_single(text: str) -> str:
    """Brackets that have no other half become letters: in `:) (a)` the first, in `:( (a)` too."""
    letters, opened = list(text), list[int]()
    for i, letter in enumerate(text):
        if letter == "(":
            opened.append(i)
        elif letter == ")" and opened:
            opened.pop()
        elif letter == ")":
            letters[i] = _CLOSE
    for i in opened:
        letters[i] = _OPEN
    return "".join(letters)


def _weighted(text: str) -> Iterator[Piece]:
    pending = [Piece(part, 1.0) for part in _groups(text)][::-1]  # a stack, since brackets may be nested deeply
    while pending:
        part, weight = piece = pending.pop()
        if len(part) < 2 or part[0] != "(" or part[-1] != ")":
            yield piece
            continue
        inside, inner_weight = part[1:-1], weight * 1.1
        words, colon, number = inside.rpartition(":")
        if words and colon and (given := _number(number)) is not None and not _ASKS.search(words):
            inside, inner_weight = words, given
        pending += [Piece(part, inner_weight) for part in _groups(inside)][::-1]


_ASKS = re.compile(rf"(^|[ \n]){EMBEDDING.removesuffix(':')}$")
"""How words end that a name of an embedding follows, which may be a number."""


def _groups(text: str) -> Iterator[str]:
    """Cut text before each outermost `(` and after the `)` that closes it; all brackets have their other half."""
    depth = start = 0
    for i, letter in enumerate(text):
        if letter == "(":
            if depth == 0 and i > start:
                yield text[start:i]
                start = i
            depth += 1
        elif letter == ")":
            depth -= 1
            if depth == 0:
                yield text[start : i + 1]
                start = i + 1
    if start < len(text):
        yield text[start:]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def embedding_names(text: str, embeddings: Embeddings) -> list[str]:
    """The names that a prompt asks for by `embedding:name`, those that are there and those that are not."""
    return [part.name for piece in parse(text) for part in _cut(piece.text, embeddings) if isinstance(part, _Named)]


class _Named(NamedTuple):
    name: str


_SIGNS = ",.;:!?|\u3001\u3002\uff0c\uff1a\uff1b\uff01\uff1f"
"""What may follow a name without a space, and may also be a part of one: the longest name that is there counts."""

_NO_NAME = re.compile("[,;:!?|\u3001\u3002\uff0c\uff1a\uff1b\uff01\uff1f]")
"""Where a name that is not there is taken to end."""


def _cut(text: str, embeddings: Embeddings) -> Iterator[str | _Named]:
    """Cut a piece at each `embedding:name` that begins it or follows a space or a new line."""
    first, *others = re.split(rf"[ \n](?={EMBEDDING})", text)
    if not first.startswith(EMBEDDING):
        if first:
            yield first
    else:
        others.insert(0, first)
    for part in others:
        word, rest = (*part.removeprefix(EMBEDDING).split(maxsplit=1), "", "")[:2]
        word = word.lstrip(",")
        name = _name(word, embeddings)
        yield _Named(name)
        if after := word[len(name) :] + (f" {rest}" if rest else ""):
            yield after


def _name(word: str, embeddings: Embeddings) -> str:
    """The embedding that a word begins with: the longest that is there, else what the word is up to a sign."""
    ends = [i for i, letter in enumerate(word) if letter in _SIGNS and i > 0]
    names = [word, *(word[:i] for i in reversed(ends))]
    return next((name for name in names if name in embeddings), _NO_NAME.split(word, maxsplit=1)[0])


def chunks(text: str, tokenize: Callable[[str], list[int]], embeddings: Embeddings, padding: int = EOS) -> list[Chunk]:
    """A prompt as chunks of 77 tokens each; the empty prompt is one chunk. Of an embedding that is not there nothing
    comes in. padding: the token that fills up a chunk.
    """
    return chunks_of(parse(text), tokenize, embeddings, padding)


def chunks_of(
    pieces: Iterable[Piece],
    tokenize: Callable[[str], list[int]],
    embeddings: Embeddings,
    padding: int = EOS,
    normalize: Normalization = as_they_are,
) -> list[Chunk]:
    """As `chunks`, of a prompt that is cut already. normalize: what is done to weights, by the words they belong to."""
    groups: list[list[Token]] = []
    for piece in pieces:
        for part in _cut(piece.text, embeddings):
            if not isinstance(part, _Named):
                groups.append([Token(value, piece.weight) for value in tokenize(part)])
            elif part.name in embeddings:
                groups.append([Token(vector, piece.weight) for vector in embeddings[part.name]])
    weights = normalize([(group[0].weight, len(group)) if group else (1.0, 0) for group in groups])
    weighted = [
        [token._replace(weight=weight, word=i) for token in group]
        for i, (group, weight) in enumerate(zip(groups, weights, strict=True))
    ]
    return [_framed(tokens, padding) for tokens in _filled(weighted)]


def _filled(groups: list[list[Token]]) -> list[list[Token]]:
    """Deal groups of tokens into chunks of at most 75, keeping short groups whole."""
    room = CHUNK - 2
    dealt: list[list[Token]] = [[]]
    for group in groups:
        if len(group) < KEEP_WHOLE and len(dealt[-1]) + len(group) > room:
            dealt.append([])
        while group:
            if len(dealt[-1]) == room:
                dealt.append([])
            fits = room - len(dealt[-1])
            dealt[-1] += group[:fits]
            group = group[fits:]
    return dealt


def _framed(tokens: list[Token], padding: int) -> Chunk:
    return [Token(BOS), *tokens, Token(EOS), *(Token(padding) for _ in range(CHUNK - 2 - len(tokens)))]
