"""Weight files that nodes open: the header alone, and what is wrong with a file is said of the input that named it."""

from __future__ import annotations

from threading import Thread

from graph.errors import InputError
from graph.files import FileRef
from models.checkpoint import CheckpointError, Part, Weights, read_header
from nodes.services import Context


def header(file: FileRef, blamed: str) -> Weights:
    """What a file holds. Raises InputError on `blamed` if it cannot be used."""
    try:
        return read_header(file.path)
    except CheckpointError as error:
        raise InputError(blamed, str(error)) from error


def opened(ctx: Context, file: FileRef, blamed: str, part: Part, lacking: str) -> tuple[Weights, str]:
    """The header of a file that holds `part`, and the file's identity. lacking: what is said of one that does not.

    Raises InputError on `blamed`.
    """
    weights = header(file, blamed)
    if part not in weights.parts():
        raise InputError(blamed, f"{file.name} {lacking}")
    tell_unused(ctx, weights, blamed)
    return weights, ctx.services.folders.identity(file.path)


def tell_unused(ctx: Context, weights: Weights, blamed: str) -> None:
    """Warn of tensors that nothing here reads."""
    if unused := weights.unused():
        tensors = "1 tensor" if len(unused) == 1 else f"{len(unused)} tensors"
        shown = ", ".join(name[:80] for name in unused[:3]) + (", …" if len(unused) > 3 else "")
        ctx.warn(f"{tensors} of {weights.path.name} are not used: {shown}", blamed)


def read_soon(weights: Weights, *parts: Part) -> None:
    """Have the disk bring these parts into the system's cache meanwhile."""
    Thread(target=weights.read_ahead, args=parts, name="read-ahead", daemon=True).start()
