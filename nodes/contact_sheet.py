"""A node that draws the pictures of all cells of a sweep as labelled sheets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Annotated

import numpy as np
import PIL.Image
import torch

from graph.errors import InputError, suggestion
from graph.sockets import Int, Text
from graph.spec import Each, Tip, node
from graph.sweep import Gathered
from models.types import Image
from nodes import sheet_cell
from nodes.services import Context
from nodes.sheet_cell import Thumbnail
from nodes.sheet_drawing import Drawing, Page, Picture, TooLargeError

MOST_IN_A_ROW = 10
"""Cells of a sweep along one axis that stand in one row; of more a square is made."""


@node("ContactSheet", category="image", title="Contact Sheet")
def contact_sheet(
    ctx: Context,
    *,
    images: Annotated[Gathered[Thumbnail], Each(sheet_cell.contact_sheet_cell)],
    cell_size: Annotated[int, Int(32, 2048, step=8, tooltip="The longer side of a cell, in pixels.")] = 256,
    x_axis: Annotated[
        str | None, Text(tooltip="The axis from left to right; nothing: the one that varies fastest.")
    ] = "",
    y_axis: Annotated[
        str | None, Text(tooltip="The axis from top to bottom; nothing: the next. Others make pages.")
    ] = "",
) -> Annotated[Image, Tip("A page for each combination of the other axes.")]:
    """Draw the pictures of all cells of a sweep in one labelled grid: what varies fastest from left to right, the next
    axis from top to bottom, and a page for each combination of the others.
    """
    pages = list(_pages(images, *_axes(images, x_axis or "", y_axis or "")))
    try:
        drawing = Drawing(pages)
    except TooLargeError as error:
        raise InputError("cell_size", f"got {cell_size}: {error}") from error
    drawn = []
    for page in pages:
        ctx.check()
        drawn.append(torch.from_numpy(np.array(drawing.draw(page))))
    return Image(torch.stack(drawn).float().div_(255))


def _axes(sweep: Gathered[Thumbnail], x_axis: str, y_axis: str) -> tuple[int | None, int | None]:
    """The numbers of the axes for columns and rows. Raises InputError for one that there is not."""
    names = [name for name, _ in sweep.axes]
    for given, name in ((x_axis, "x_axis"), (y_axis, "y_axis")):
        if given and given not in names:
            there = f"the axes are {', '.join(map(repr, names))}" if names else "there is no sweep"
            raise InputError(name, f"there is no axis {given!r}: {there}{suggestion(given, names)}")
    if x_axis and x_axis == y_axis:
        raise InputError("y_axis", f"got {y_axis!r}, which runs from left to right already")
    free = [i for i, name in enumerate(names) if name not in (x_axis, y_axis)]
    x = names.index(x_axis) if x_axis else free.pop() if free else None
    y = names.index(y_axis) if y_axis else free.pop() if free else None
    return x, y


def _pages(sweep: Gathered[Thumbnail], x: int | None, y: int | None) -> Iterator[Page]:
    pictures = {
        place: PIL.Image.fromarray(thumbnail.pixels.numpy())
        for place, thumbnail in zip(sweep.places, sweep.values, strict=True)
    }
    others = [i for i in range(len(sweep.axes)) if i not in (x, y)]
    for chosen in product(*(range(len(sweep.axes[i][1])) for i in others)):
        title = ", ".join(f"{sweep.axes[i][0]} {sweep.axes[i][1][k]}" for i, k in zip(others, chosen, strict=True))
        fixed = dict(zip(others, chosen, strict=True))
        yield _page(title, sweep, pictures, fixed, x, y)


def _page(
    title: str,
    sweep: Gathered[Thumbnail],
    pictures: dict[tuple[int, ...], Picture],
    fixed: dict[int, int],
    x: int | None,
    y: int | None,
) -> Page:
    def at(i: int, j: int) -> Picture:
        own = {**fixed, **({} if x is None else {x: i}), **({} if y is None else {y: j})}
        return pictures[tuple(own[axis] for axis in range(len(sweep.axes)))]

    x_name, columns = ("", [""]) if x is None else sweep.axes[x]
    y_name, rows = ("", []) if y is None else sweep.axes[y]
    if y is None and len(columns) > MOST_IN_A_ROW:
        return _square(title, x_name, columns, [at(i, 0) for i in range(len(columns))])
    cells = [[at(i, j) for i in range(len(columns))] for j in range(max(1, len(rows)))]
    return Page(title, x_name, y_name, columns if x is not None else [""], rows, cells)


def _square(title: str, name: str, labels: Sequence[str], pictures: Sequence[Picture]) -> Page:
    """Many cells along one axis: in rows, each with its label below."""
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = range(math.ceil(len(pictures) / columns))
    cells = [[*pictures[j * columns : (j + 1) * columns]] for j in rows]
    captions = [[*labels[j * columns : (j + 1) * columns]] for j in rows]
    return Page(title, name, "", [""] * columns, [], cells, captions)
