"""Pictures that are asked for in another form: large ones one at a time, and in bounded memory."""

from __future__ import annotations

import asyncio
import io
import threading
from pathlib import Path

import pytest
from PIL import Image

from server import routes_files
from server.deps import ALONE
from server.pictures import LARGE, as_preview, channel
from tests.server.loop import in_loop
from tests.server.support import deps_of, serving


def blank(path: Path, width: int, height: int) -> Path:
    Image.new("1", (width, height)).save(path)
    return path


def test_a_preview_of_a_huge_picture_is_smaller_than_it(tmp_path: Path) -> None:
    body, kind = as_preview(blank(tmp_path / "a.png", 8000, 4000), "webp;90", 10**8)
    width, height = Image.open(io.BytesIO(body)).size
    assert kind == "image/webp" and 15 * 2**20 < width * height <= 2**24 and width == 2 * height


def test_a_channel_keeps_the_size_and_tells_what_is_transparent(tmp_path: Path) -> None:
    picture = Image.new("LA", (3, 2), (7, 50))
    picture.save(tmp_path / "la.png")
    assert Image.open(io.BytesIO(channel(tmp_path / "la.png", "a", 100))).getpixel((0, 0)) == (0, 0, 0, 50)
    opaque = Image.open(io.BytesIO(channel(blank(tmp_path / "b.png", 5, 4), "a", 100)))
    assert opaque.size == (5, 4) and opaque.getpixel((0, 0)) == (0, 0, 0, 255)


@in_loop
async def test_large_pictures_are_worked_on_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def told(path: Path, wanted: str, most_pixels: int) -> tuple[bytes, str]:
        threads.append((path.name, threading.current_thread().name))
        return b"", "image/webp"

    monkeypatch.setattr(routes_files, "as_preview", told)
    async with serving(deps_of(tmp_path)) as client:
        blank(tmp_path / "output" / "large.png", LARGE // 1000 + 1, 1000)
        blank(tmp_path / "output" / "small.png", 100, 100)

        async def view(name: str) -> None:
            async with client.session.get(f"{client.url}/view?filename={name}&preview=webp") as answer:
                assert answer.status == 200

        await asyncio.gather(*(view(name) for name in ["large.png", "small.png"] * 4))
        assert client.app[ALONE]._max_workers == 1
    assert {name for name, thread in threads if thread == "large_0"} == {"large.png"}
    assert {name for name, thread in threads if thread != "large_0"} == {"small.png"}
