"""The front end's settings: what was answered is kept, whatever the file has come to."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import pytest

from server.settings import FILE, Settings
from tests.server.loop import in_loop
from tests.server.support import deps_of, serving


@in_loop
async def test_forty_settings_at_once_are_all_kept(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        answers = await asyncio.gather(*(client.post(f"/settings/my.{i}", i) for i in range(40)))
        answers += await asyncio.gather(*(client.post("/settings", {f"more.{i}": i}) for i in range(40)))
        assert {status for status, _ in answers} == {200}
        expected = {f"{name}.{i}": i for name in ("my", "more") for i in range(40)}
        assert await client.get("/settings") == expected
    assert json.loads((tmp_path / "user" / "default" / FILE).read_text()) == expected


def test_settings_of_many_threads_are_all_kept(tmp_path: Path) -> None:
    settings = Settings(tmp_path)

    def change(name: int) -> None:
        for i in range(10):
            settings.change({f"{name}.{i}": i})

    threads = [threading.Thread(target=change, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(settings.all()) == 40


@pytest.mark.parametrize("damage", [b"[" * 100_000, b'{"a": 1', b"", b"\xff\xfe", b"[1]", b'{"a": {"b": ' * 50_000])
@in_loop
async def test_a_damaged_file_is_kept_aside(tmp_path: Path, damage: bytes) -> None:
    home = tmp_path / "user" / "default"
    home.mkdir(parents=True)
    (home / FILE).write_bytes(damage)
    async with serving(deps_of(tmp_path)) as client:
        assert await client.get("/settings") == {}
        assert (await client.post("/settings/colour", '"red"'))[0] == 200
        assert await client.get("/settings/colour") == "red"
        (home / FILE).write_bytes(b"damaged again")
        assert (await client.post("/settings/colour", '"blue"'))[0] == 200
        assert await client.get("/settings") == {"colour": "blue"}
    assert [(home / f"{FILE}.damaged-{i}").read_bytes() for i in (1, 2)] == [damage, b"damaged again"]


@in_loop
async def test_settings_that_are_none_do_not_come_in_as_a_file(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        await client.post("/settings/colour", '"red"')
        for content in (b"[" * 100_000, b"[1]", b"{", b"\xff"):
            assert (await client.post(f"/userdata/{FILE}", content))[0] == 400
        assert await client.get("/settings") == {"colour": "red"}
        assert (await client.post(f"/userdata/{FILE}", {"size": 3}))[0] == 200
        assert await client.get("/settings") == await client.get(f"/userdata/{FILE}") == {"size": 3}


@in_loop
async def test_values_that_cannot_be_written_change_nothing(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        await client.post("/settings/colour", '"red"')
        for depth in (300, 900, 5000):
            status, _ = await client.post("/settings/deep", "[" * depth + "]" * depth)
            assert status in (200, 400)
        assert status == 400
        assert await client.get("/settings/colour") == "red"


@in_loop
async def test_a_file_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "user" / "default" / FILE).mkdir(parents=True)
    async with serving(deps_of(tmp_path)) as client:
        async with client.session.get(f"{client.url}/settings") as answer:
            assert 400 <= answer.status < 500
        assert 400 <= (await client.post("/settings/colour", '"red"'))[0] < 500


def test_a_file_is_read_when_it_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, reads = Settings(tmp_path), [0]
    read = Path.read_bytes

    def counted(path: Path) -> bytes:
        reads[0] += 1
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", counted)
    assert settings.all() == {}
    settings.change({"colour": "red"})
    for _ in range(3):
        assert settings.all() == {"colour": "red"}
    assert reads == [1]
    (tmp_path / FILE).write_text('{"colour": "pink"}')  # by hand
    assert settings.all() == {"colour": "pink"}
    (tmp_path / FILE).unlink()
    assert settings.all() == {}
