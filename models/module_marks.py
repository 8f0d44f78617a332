"""Marks that torch before 1.6 left in a pickle where a module's class stands, which no restricted unpickler reads.

Such a file names the class by a persistent id, ("module", class, path of its source, its source). An embedding of the
first textual-inversion program has one, of nn.ParameterDict.
"""

from __future__ import annotations

import io
import pickletools
from typing import NamedTuple

LEADING_PICKLES = 3  # of a file of that format: a magic number, a version, the system's properties


class _Op(NamedTuple):
    name: str
    value: object
    raw: bytes


def without_module_marks(content: bytes) -> bytes:
    """The same file with the class alone in each such place. content: a file in torch's format before 1.6, whole.

    Nothing of the pickle is run. Raises ValueError for bytes that are no pickle.
    """
    file = io.BytesIO(content)
    for _ in range(LEADING_PICKLES):
        for _ in pickletools.genops(file):
            pass
    start = file.tell()
    ops = _ops(file)
    end = file.tell()
    return content[:start] + b"".join(op.raw for op in _unmarked(ops)) + content[end:]


def _ops(file: io.BytesIO) -> list[_Op]:
    """The operations of the pickle that begins here; the file is left behind it."""
    found = list(pickletools.genops(file))
    after = [pos for _, _, pos in found[1:]] + [file.tell()]
    content = file.getvalue()
    return [
        _Op(op.name, value, content[pos or 0 : next_pos])
        for (op, value, pos), next_pos in zip(found, after, strict=True)
    ]


def _unmarked(ops: list[_Op]) -> list[_Op]:
    kept: list[_Op] = []
    memo: dict[object, object] = {}
    for i, op in enumerate(ops):
        if op.name.endswith("BINPUT"):
            memo[op.value] = ops[i - 1].value
        if op.name == "BINPERSID" and (mark := _mark(kept)) is not None:
            inside = kept[mark + 1 :]
            tuple_at = max(j for j, part in enumerate(inside) if part.name == "TUPLE")
            inside = inside[:tuple_at]
            first = inside[0]
            if (memo.get(first.value) if first.name.endswith("BINGET") else first.value) == "module":
                kept[mark:] = _class_alone(inside)
                continue
        kept.append(op)
    return kept


def _mark(ops: list[_Op]) -> int | None:
    """Where the tuple begins that ends these operations; None if none does."""
    names = [op.name for op in ops]
    if "TUPLE" not in names[-2:]:
        return None
    return len(names) - 1 - names[::-1].index("MARK") if "MARK" in names else None


def _class_alone(inside: list[_Op]) -> list[_Op]:
    """Of four values in a row the second, with what remembers it."""
    starts = [i for i, op in enumerate(inside) if not op.name.endswith("BINPUT")]
    return inside[starts[1] : starts[2]] if len(starts) == 4 else inside
