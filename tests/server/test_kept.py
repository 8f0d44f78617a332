"""`/object_info` is kept as bytes, and is never out of date by what a directory shows."""

from __future__ import annotations

import gzip
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from graph.folder_state import FolderState
from graph.object_info import object_info
from graph.sockets import Choice
from graph.spec import Registry, node
from server.deps import OBJECT_INFO
from server.kept import Kept
from server.security import Guard
from tests.server.loop import in_loop
from tests.server.stub_nodes import specs
from tests.server.support import Client, deps_of, serving


def rest(base: Path) -> None:
    """As if nothing had been written for a while."""
    for folder, _, _ in os.walk(base):
        os.utime(folder, (1, 1))


@in_loop
async def test_a_file_that_comes_or_goes_is_seen_at_once(tmp_path: Path) -> None:
    async def offered(client: Client) -> list[str]:
        async with client.session.get(f"{client.url}/object_info") as answer:
            return (await answer.json())["Load"]["input"]["required"]["name"][0]

    async with serving(deps_of(tmp_path)) as client:
        made: list[object] = []
        real = client.app[OBJECT_INFO]._make

        def make(*given: Any) -> object:
            made.append(given)
            return real(*given)

        client.app[OBJECT_INFO]._make = make
        checkpoints = tmp_path / "models" / "checkpoints"
        rest(tmp_path)
        assert await offered(client) == await offered(client) == [] and len(made) == 1  # kept
        (checkpoints / "deep").mkdir()
        assert await offered(client) == []
        (checkpoints / "deep" / "a.safetensors").touch()
        assert await offered(client) == ["deep/a.safetensors"]
        (checkpoints / "deep" / "b.safetensors").touch()  # perhaps within the same tick of the clock
        assert await offered(client) == ["deep/a.safetensors", "deep/b.safetensors"]
        rest(tmp_path)
        before = len(made)
        assert await offered(client) == await offered(client) == ["deep/a.safetensors", "deep/b.safetensors"]
        assert len(made) == before + 1
        (checkpoints / "deep" / "a.safetensors").rename(checkpoints / "c.safetensors")
        assert await offered(client) == ["c.safetensors", "deep/b.safetensors"]


@in_loop
async def test_who_has_it_is_told_so(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        async with client.session.get(f"{client.url}/api/object_info") as answer:
            etag, body = answer.headers["ETag"], await answer.read()
            assert answer.headers["Cache-Control"] == "no-cache" and len(body) > 1000
        for known in (etag, f'"x", W/{etag}'):
            async with client.session.get(f"{client.url}/object_info", headers={"If-None-Match": known}) as answer:
                assert answer.status == 304 and await answer.read() == b"" and answer.headers["ETag"] == etag
        (tmp_path / "models" / "checkpoints" / "new.safetensors").touch()
        async with client.session.get(f"{client.url}/object_info", headers={"If-None-Match": etag}) as answer:
            assert answer.status == 200 and answer.headers["ETag"] != etag


@in_loop
@pytest.mark.parametrize(
    ("accepted", "packed"),
    [("gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("identity", False), ("gzip;q=0, *", False), ("", False)],
)
async def test_who_reads_gzip_gets_it_packed_once(tmp_path: Path, accepted: str, packed: bool) -> None:
    async with serving(deps_of(tmp_path)) as client, aiohttp.ClientSession(auto_decompress=False) as session:
        rest(tmp_path)
        async with session.get(f"{client.url}/object_info", headers={"Accept-Encoding": "identity"}) as answer:
            plain, name = await answer.read(), answer.headers["ETag"]
        headers = {"Accept-Encoding": accepted}
        bodies = []
        for _ in range(2):
            async with session.get(f"{client.url}/object_info", headers=headers) as answer:
                bodies.append(await answer.read())
                assert answer.headers.get("Content-Encoding") == ("gzip" if packed else None)
                assert answer.headers["Vary"] == "Accept-Encoding" and (answer.headers["ETag"] == name) != packed
                etag = answer.headers["ETag"]
        assert bodies[0] == bodies[1] and (gzip.decompress(bodies[0]) if packed else bodies[0]) == plain
        assert not packed or len(bodies[0]) < len(plain) / 2
        known = {"If-None-Match": etag, "Accept-Encoding": "identity"}
        async with session.get(f"{client.url}/object_info", headers=known) as answer:
            assert answer.status == 304  # it is the same, whoever unpacks it


@in_loop
async def test_an_answer_for_one_page_and_one_packing_varies_by_both(tmp_path: Path) -> None:
    deps = replace(deps_of(tmp_path), guard=Guard(cors="http://editor.example"))
    async with serving(deps) as client, client.session.get(f"{client.url}/object_info") as answer:
        assert answer.headers.getall("Vary") == ["Accept-Encoding", "Origin"]


def test_what_functions_offer_and_which_nodes_there_are_is_seen(tmp_path: Path) -> None:
    deps = deps_of(tmp_path)
    offered, made = ["one"], []

    @node("Chooses", category="stub")
    def chooses(ctx: Any, *, name: Any = "one") -> int:
        """Chooses."""
        return 1

    dynamic = Choice(lambda: tuple(offered))
    object.__setattr__(chooses.inputs[0], "widget", dynamic)

    def make(registry: Any, folders: Any) -> object:
        made.append(1)
        return object_info(registry, folders) | {"odd": float("inf")}

    registry, kept = Registry([chooses]), Kept(make)
    rest(tmp_path)
    first = kept.answer(registry, deps.folders)
    assert kept.answer(registry, deps.folders) is first and len(made) == 1
    assert b"Infinity" not in first.body
    offered.append("two")
    second = kept.answer(registry, deps.folders)
    assert second.digest != first.digest and b"two" in second.body
    registry.replace([chooses, *specs(deps.folders)])
    assert b"Steps" in kept.answer(registry, deps.folders).body


def test_links_are_looked_behind_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deps, made = deps_of(tmp_path), []
    kept, registry = Kept(lambda *_: made.append(1)), Registry(specs(deps.folders))
    rest(tmp_path)
    kept.answer(registry, deps.folders)
    kept.answer(registry, deps.folders)
    assert len(made) == 1
    monkeypatch.setattr("server.kept.time.monotonic", lambda: 1e12)
    kept.answer(registry, deps.folders)
    assert len(made) == 2


def test_directories_that_lead_back_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    rest(tmp_path)
    state = FolderState([tmp_path, tmp_path / "nowhere"])
    assert state.stands()
    (tmp_path / "nowhere").mkdir()
    assert not state.stands()
