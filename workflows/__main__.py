"""`python -m workflows [NAME …]`: runs the example workflows for their thumbnails, and draws the README's opening sheet."""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

import main

HERE = Path(__file__).parent
THUMBNAIL = 256  # pixels a side
MOST_BYTES = 15_000  # of a thumbnail
CELL, GAP, LINES, TYPE_SIZE = 192, 12, 3, 13  # of the sheet: pixels, pixels, lines of a caption, pixels
COLUMNS, CARD_SIZE = 4, 48  # CARD_SIZE: pixels of a card's title
SWEEP, WIDEST = "sweep", 996  # the example whose sheet the README shows whole, and pixels of its longer side
PAPER, INK = "#ffffff", "#3d3d3d"


def make(names: Sequence[str]) -> int:
    """Write all of them beside the workflows, or only the thumbnails of `names`. Of one that needs a model that does not come
    with the program the thumbnail says which.

    Returns the first exit status of a run that failed, or 0.
    """
    listed = {entry["name"]: entry for entry in json.loads((HERE / "index.json").read_text("utf-8"))}
    with tempfile.TemporaryDirectory() as folder:
        for name in names or listed:
            if needs := listed[name].get("needs"):
                card = draw_card(listed[name]["title"]["en"], [file for files in needs.values() for file in files])
                write_thumbnail(HERE / f"{name}.webp", [card])
                continue
            status, pictures = _run(HERE / f"{name}.json", Path(folder))
            if status:
                return status
            write_thumbnail(HERE / f"{name}.webp", pictures)
            if name == SWEEP:
                shown = ImageOps.contain(pictures[0], (WIDEST, WIDEST), Image.Resampling.LANCZOS)
                shown.save(HERE / f"{name}_sheet.webp", quality=82, method=6)
        if names:
            return 0
        captioned = []
        for number, prompt in enumerate((HERE / "prompts.txt").read_text("utf-8").splitlines()):
            status, pictures = _run(
                HERE / "text_to_image.json", Path(folder), "--set", f"6.text={prompt}", "--seed", str(number)
            )
            if status:
                return status
            captioned.append((pictures[0], prompt))
    draw_sheet(captioned).save(HERE / "sheet.webp", quality=90, method=6)
    return 0


def write_thumbnail(path: Path, pictures: Sequence[Image.Image]) -> None:
    """One picture; of two the second with the first as an inset; of more a square of them. MOST_BYTES at most."""
    canvas = Image.new("RGB", (THUMBNAIL, THUMBNAIL), PAPER)
    if len(pictures) > 2:
        columns = math.ceil(math.sqrt(len(pictures)))
        side = THUMBNAIL // columns
        for i, picture in enumerate(pictures):
            canvas.paste(_scaled(picture, side), (i % columns * side, i // columns * side))
    else:
        canvas.paste(_scaled(pictures[-1], THUMBNAIL))
        if len(pictures) == 2:
            side, edge = THUMBNAIL // 3, 3
            canvas.paste(PAPER, (edge, THUMBNAIL - side - 3 * edge, side + 3 * edge, THUMBNAIL - edge))
            canvas.paste(_scaled(pictures[0], side), (2 * edge, THUMBNAIL - side - 2 * edge))
    for quality in range(90, 0, -10):
        buffer = io.BytesIO()
        canvas.save(buffer, "WEBP", quality=quality, method=6)
        if buffer.tell() <= MOST_BYTES:
            break
    path.write_bytes(buffer.getvalue())


def draw_sheet(captioned: Sequence[tuple[Image.Image, str]]) -> Image.Image:
    """Pictures in rows, each with its prompt below."""
    font = ImageFont.load_default(TYPE_SIZE)
    across, down = CELL + GAP, CELL + GAP + LINES * (TYPE_SIZE + 3)
    rows = math.ceil(len(captioned) / COLUMNS)
    sheet = Image.new("RGB", (GAP + COLUMNS * across, GAP + rows * down), PAPER)
    pen = ImageDraw.Draw(sheet)
    for i, (picture, caption) in enumerate(captioned):
        left, top = GAP + i % COLUMNS * across, GAP + i // COLUMNS * down
        sheet.paste(_scaled(picture, CELL), (left, top))
        pen.multiline_text((left, top + CELL + 5), "\n".join(_wrapped(caption, font)), INK, font, spacing=3)
    return sheet


def draw_card(title: str, files: Sequence[str]) -> Image.Image:
    """A title, and below it the files that its workflow needs."""
    card = Image.new("RGB", (THUMBNAIL, THUMBNAIL), PAPER)
    pen, middle = ImageDraw.Draw(card), THUMBNAIL / 2
    pen.rounded_rectangle((GAP, GAP, THUMBNAIL - GAP, THUMBNAIL - GAP), GAP, outline=INK, width=2)
    pen.text((middle, middle), title, INK, ImageFont.load_default(CARD_SIZE), anchor="mm")
    for i, file in enumerate(files):
        at = middle + CARD_SIZE + i * (TYPE_SIZE + 3)
        pen.text((middle, at), file, INK, ImageFont.load_default(TYPE_SIZE), anchor="mm")
    return card


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Iterator[str]:
    """The lines of a caption, none wider than a cell."""
    line = ""
    for word in text.split():
        if line and font.getlength(f"{line} {word}") > CELL:
            yield line
            line = ""
        line = f"{line} {word}".strip()
    yield line


def _scaled(picture: Image.Image, side: int) -> Image.Image:
    """In a square, on paper where its shape is another."""
    return ImageOps.pad(picture, (side, side), Image.Resampling.LANCZOS, PAPER)


def _run(workflow: Path, folder: Path, *options: str) -> tuple[int, list[Image.Image]]:
    """The exit status of `main.py run`, and the pictures it wrote."""
    print(workflow.name, *options, file=sys.stderr)
    places = ["--base-directory", str(folder), "--output-directory", str(folder / "output")]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        status = main.main(["run", str(workflow), "--json", *places, *options])
    return status, [_opened(Path(file)) for file in json.loads(printed.getvalue())["files"]]


def _opened(file: Path) -> Image.Image:
    with Image.open(file) as picture:
        return picture.convert("RGB")


if __name__ == "__main__":
    sys.exit(make(sys.argv[1:]))
