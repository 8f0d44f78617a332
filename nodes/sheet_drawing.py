"""Drawing a contact sheet: pictures in rows and columns, with the values they were made with at the edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import PIL.Image
from PIL import ImageDraw

from nodes.lettering import font_for, lines_of

PAPER, INK, FAINT = "#ffffff", "#222222", "#777777"
GAP = 8  # pixels around each cell
LINES = 4  # of one label at most
WIDEST = 16_384
"""Pixels of a side of a sheet; longer ones hardly any program opens."""

Picture: TypeAlias = PIL.Image.Image


@dataclass(frozen=True, slots=True)
class Page:
    """One sheet. `cells` row by row, None where there is no picture; `captions`, if any, stand below the cells.

    `x` and `y` are the names of the axes, empty where there is none, with a label for each column and row.
    """

    title: str
    x: str
    y: str
    columns: Sequence[str]
    rows: Sequence[str]
    cells: Sequence[Sequence[Picture | None]]
    captions: Sequence[Sequence[str]] = ()


class TooLargeError(ValueError):
    """The sheet would be longer than WIDEST on a side."""


class Drawing:
    """Draws pages of one size: the cells of all of them are as large as the largest picture."""

    def __init__(self, pages: Sequence[Page]) -> None:
        """Raises TooLargeError."""
        pictures = [cell for page in pages for row in page.cells for cell in row if cell is not None]
        self._cell = max(picture.width for picture in pictures), max(picture.height for picture in pictures)
        self._type = max(11, min(28, self._cell[0] // 14))
        texts = [text for page in pages for text in (page.title, page.x, page.y, *page.columns, *page.rows)]
        texts += [caption for page in pages for row in page.captions for caption in row]
        self._font = font_for(self._type, "".join(texts))
        width = self._cell[0]
        self._left = 0
        if any(page.rows for page in pages):
            labels = [text for page in pages for text in (*page.rows, page.y)]
            self._left = GAP + min(round(self._widest(labels)), max(width, 8 * self._type))
        whole = GAP + max(len(page.columns) for page in pages) * (width + GAP)
        self._whole = self._left + whole
        self._title = self._height([page.title for page in pages], self._whole - 2 * GAP)
        header = [text for page in pages for text in page.columns]
        self._top = self._title + self._height([page.x for page in pages], whole) + self._height(header, width)
        captions = [caption for page in pages for row in page.captions for caption in row]
        self._row = self._cell[1] + self._height(captions, width) + GAP
        self._tall = self._top + GAP + max(len(page.cells) for page in pages) * self._row
        if max(self._whole, self._tall) > WIDEST:
            raise TooLargeError(f"the sheet would be {self._whole}x{self._tall}, and at most {WIDEST} a side may be")

    def draw(self, page: Page) -> Picture:
        """The page as a picture."""
        sheet = PIL.Image.new("RGB", (self._whole, self._tall), PAPER)
        pen = ImageDraw.Draw(sheet)
        width, height = self._cell
        self._write(pen, page.title, (GAP, GAP), self._whole - 2 * GAP, INK, centred=False)
        lower = self._title
        if page.x:
            self._write(
                pen, page.x, (self._left + GAP, lower + GAP // 2), self._whole - self._left, FAINT, centred=False
            )
            lower += self._height([page.x], self._whole)
        if page.y:
            self._write(pen, page.y, (GAP, self._top - self._line), self._left, FAINT, centred=False)
        for i, label in enumerate(page.columns):
            self._write(pen, label, (self._left + GAP + i * (width + GAP), lower + GAP // 2), width, INK)
        for j, row in enumerate(page.cells):
            top = self._top + GAP + j * self._row
            if page.rows:
                lines = self._wrapped(page.rows[j], self._left - GAP)
                middle = top + (height - len(lines) * self._line) // 2
                self._write(pen, page.rows[j], (GAP, middle), self._left - GAP, INK, centred=False)
            for i, picture in enumerate(row):
                if picture is None:
                    continue
                left = self._left + GAP + i * (width + GAP)
                sheet.paste(picture, (left + (width - picture.width) // 2, top + (height - picture.height) // 2))
                if page.captions:
                    self._write(pen, page.captions[j][i], (left, top + height + GAP // 2), width, INK)
        return sheet

    @property
    def _line(self) -> int:
        return round(self._type * 1.3)

    def _widest(self, texts: Sequence[str]) -> float:
        return max((self._font.getlength(line) for text in texts for line in text.splitlines()), default=0.0)

    def _height(self, texts: Sequence[str], width: int) -> int:
        """Of the label that takes most lines; nothing where there is none."""
        lines = max((len(self._wrapped(text, width)) for text in texts if text), default=0)
        return GAP + lines * self._line if lines else 0

    def _write(
        self, pen: ImageDraw.ImageDraw, text: str, at: tuple[int, int], width: int, ink: str, *, centred: bool = True
    ) -> None:
        for i, line in enumerate(self._wrapped(text, width)):
            left = at[0] + (int(width - self._font.getlength(line)) // 2 if centred else 0)
            pen.text((left, at[1] + i * self._line), line, ink, self._font)

    def _wrapped(self, text: str, width: int) -> list[str]:
        """The lines of a label; the last ends in … where more does not fit."""
        lines = list(lines_of(text, self._font, width))
        if len(lines) > LINES:
            lines = [*lines[: LINES - 1], self._cut(lines[LINES - 1] + "…", width)]
        return lines

    def _cut(self, text: str, width: int) -> str:
        while len(text) > 1 and self._font.getlength(text) > width:
            text = text[:-2] + "…"
        return text
