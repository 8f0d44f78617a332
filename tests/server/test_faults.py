"""What clients do wrong, or break off, has an answer of 4xx on every route, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, make_mocked_request
from PIL import Image
from yarl import URL

from server.deps import PATIENCE, SEARCHES, Limits
from server.desk import Desk
from server.faults import answer_faults
from server.listing import entries
from server.multipart import MOST_PARTS, Damaged, Part, Splitter
from server.operations import OPERATIONS
from server.patience import Patience
from server.reader import Reader
from server.schema import TEXT, WHOLE, fault, members, optional
from server.threads import Closing, in_thread
from tests.server.loop import in_loop
from tests.server.support import Client, chain, deps_of, serving
from tests.server.test_security import picture, upload

FORM = "multipart/form-data; boundary=x"


WRITING = ("POST", "PUT", "PATCH", "DELETE")


def bodied(app: web.Application) -> Iterator[tuple[str, str]]:
    """Method and path of every route that may have a body, placeholders filled."""
    for route in app.router.routes():
        if route.method in WRITING and route.resource is not None:
            yield route.method, route.resource.canonical.replace("{", "").replace("}", "")


@in_loop
async def test_a_damaged_body_is_the_clients_mistake_on_every_route(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        for method, path in bodied(client.app):
            for packing in ("gzip", "deflate"):
                for kind in ("application/json", FORM):
                    headers = {"Content-Encoding": packing, "Content-Type": kind}
                    request = client.session.request(method, client.url + path, data=b"\x1f\x8bnot", headers=headers)
                    async with request as answer:
                        assert answer.status < 500, (method, path, kind, await answer.text())
        assert (await client.post("/prompt", b"\x1f\x8bnot", headers={"Content-Encoding": "gzip"}))[0] == 400


@in_loop
async def test_no_name_is_too_long_for_an_answer(tmp_path: Path) -> None:
    front = tmp_path / "front"
    front.mkdir()
    (front / "index.html").write_text("<!doctype html>")
    async with serving(deps_of(tmp_path / "base", front_end=front)) as client:
        for long in ("x" * 256, "é" * 130, "a/" * 600 + "b", "x" * 4000):
            paths = {route.resource.canonical for route in client.app.router.routes() if route.resource is not None}
            for path in (*paths, "/{file}", "/assets/{file}"):
                filled = path
                for name in ("{file}", "{target}", "{id}", "{prompt_id}", "{folder}", "{type}"):
                    filled = filled.replace(name, long)
                for query in (f"?filename={long}", f"?filename=a&subfolder={long}", f"?dir={long}", f"?path={long}"):
                    async with client.session.get(client.url + filled + query) as answer:
                        assert answer.status < 500, (path, query[:12], answer.status)


@in_loop
async def test_files_in_the_way_are_told(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        (tmp_path / "input" / "taken").write_bytes(b"a file")
        assert (await upload(client, picture(), "x.png", subfolder="taken"))[0] == 409
        assert (await upload(client, picture(), "x.png", subfolder="taken/deeper"))[0] == 409
        (tmp_path / "input" / "folder.png").mkdir()
        assert (await upload(client, picture(), "folder.png", overwrite="true"))[0] == 409
        assert await client.post("/userdata/a.json", "{}") == (200, "a.json")
        assert (await client.post("/userdata/a.json%2Fb.json", "{}"))[0] == 409
        assert (await client.post("/userdata/a.json/move/a.json%2Fb.json", ""))[0] == 409
        for method in ("GET", "DELETE"):
            async with client.session.request(method, f"{client.url}/userdata/a.json%2Fb.json") as answer:
                assert answer.status == 404
        async with client.session.get(f"{client.url}/view?filename=x.png&subfolder=taken&type=input") as answer:
            assert answer.status == 404
        assert not list(tmp_path.rglob("*.part"))


@in_loop
async def test_a_full_disk_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "x")

    async with serving(deps_of(tmp_path)) as client:
        monkeypatch.setattr(Path, "write_bytes", full)
        assert (await client.post("/userdata/a.json", "{}"))[0] == 507
        monkeypatch.setattr(Path, "open", full)
        assert (await upload(client, picture(), "x.png"))[0] == 507


@in_loop
async def test_previews_of_strips_fit_their_format(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        Image.new("RGB", (70_000, 2)).save(tmp_path / "output" / "wide.png")
        for form, widest in (("webp", 16_383), ("jpeg;80", 65_500)):
            async with client.session.get(f"{client.url}/view?filename=wide.png&preview={form}") as answer:
                assert answer.status == 200
                (tmp_path / "seen").write_bytes(await answer.read())
                assert Image.open(tmp_path / "seen").width == widest


@in_loop
async def test_links_that_lead_nowhere_or_round_and_round(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        for folder in ("input", "output", "models/checkpoints", "user/default/workflows"):
            (tmp_path / folder / "dangling.png").symlink_to("nowhere")
            (tmp_path / folder / "round.png").symlink_to("round.png")
            (tmp_path / folder / "round.safetensors").symlink_to("round.safetensors")
        for kind in ("input", "output"):
            for name in ("dangling.png", "round.png", "round.png/x.png"):
                for query in ("", "&preview=webp", "&channel=a"):
                    async with client.session.get(f"{client.url}/view?type={kind}&filename={name}{query}") as answer:
                        assert answer.status == 404, name
        assert (await upload(client, picture(), "round.png"))[1]["name"] == "round (1).png"
        assert (await upload(client, picture(), "dangling.png", subfolder="round.png"))[0] in (400, 404, 409)
        assert await client.get("/models/checkpoints") == []
        assert (await client.get("/object_info"))["Load"]["input"]["required"]["name"][0] == []
        assert await client.get("/userdata?dir=workflows&recurse=true") == []
        assert await client.get("/v2/userdata?path=workflows") == []
        for name in ("workflows%2Fround.png", "workflows%2Fdangling.png"):
            async with client.session.get(URL(f"{client.url}/userdata/{name}", encoded=True)) as answer:
                assert answer.status == 404


def test_a_listing_leaves_out_what_is_removed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    for name in ("a", "b", "gone/c"):
        (tmp_path / name).write_bytes(b"x")
    real = os.scandir

    def racing(path: Path) -> Any:
        listing = real(path)
        found = list(listing)
        (tmp_path / "b").unlink(missing_ok=True)
        (tmp_path / "gone" / "c").unlink(missing_ok=True)
        listing.close()
        return _Listing(found)

    class _Listing(list[Any]):
        def __enter__(self) -> _Listing:
            return self

        def __exit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr("server.listing.os.scandir", racing)
    assert [entry.name for entry in entries(tmp_path, recursive=True) or ()] == ["a", "gone"]
    assert entries(tmp_path / "none") is None


@in_loop
async def test_a_connection_that_is_lost_elsewhere_is_not_the_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a server that stops at that moment a fault."""
    async with serving(deps_of(tmp_path)) as client:
        for error in (BrokenPipeError(errno.EPIPE, "no reader"), ConnectionResetError(), Closing()):

            def fail(*_: object, error: Exception = error) -> None:
                raise error

            monkeypatch.setattr(Reader, "record", fail)
            async with client.session.get(f"{client.url}/api/jobs/x") as answer:
                assert (answer.status, (await answer.json())["error"]["type"]) == (503, "unavailable")


@in_loop
async def test_what_is_asked_of_a_closed_database_is_not_done(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        desk = Desk(Reader, tmp_path / "x.db")
        assert await desk(Reader.remaining) == 0
        desk.close()
        for ask in (desk(Reader.remaining), desk.after(pool, int, lambda _, given: given)):
            with pytest.raises(Closing):
                await ask
    with pytest.raises(Closing):
        await in_thread(pool, int)


@in_loop
async def test_an_answer_that_breaks_off_ends_the_connection_and_is_no_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    left = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        try:
            while request.path == "/gone":  # until the client is
                await response.write(b"more" * 10_000)
                await asyncio.sleep(0.01)
        finally:
            left.set()
        raise ConnectionError("an answer broke off")

    app = web.Application(middlewares=[answer_faults])
    app.router.add_get("/{rest}", handler)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            async with session.get(server.make_url("/off")) as answer:
                await answer.read()
        async with session.get(server.make_url("/gone")) as answer:
            await answer.content.readexactly(4)
            left.clear()
            answer.close()
            await left.wait()
    assert [record.getMessage() for record in caplog.records] == []


class _Marked(bytearray):
    """A body whose end can be seen."""


@in_loop
async def test_what_was_read_of_a_body_goes_with_its_request() -> None:
    seen: list[weakref.ref[_Marked]] = []
    kept: list[Exception] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        content = _Marked(10)
        seen.append(weakref.ref(content))
        failure = errors[len(kept)]
        kept.append(failure)  # as a stream keeps why it broke off
        raise failure

    errors = [ConnectionResetError("gone"), ValueError("odd"), OSError(2, "absent"), web.HTTPNotFound()]
    gc.disable()
    try:
        for error in errors:
            request = make_mocked_request("POST", "/")
            with contextlib.suppress(ConnectionResetError, web.HTTPNotFound):
                await answer_faults(request, handler)
            assert seen[-1]() is None, error
    finally:
        gc.enable()


async def raw(client: Client, text: bytes) -> bytes:
    """The first line that comes back for bytes after which nothing more is sent; nothing if the server hangs up."""
    host, port = client.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(text)
    try:
        async with asyncio.timeout(20):
            return await reader.readline()
    finally:
        writer.close()


@in_loop
async def test_half_a_body_is_not_waited_for(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path, limits=Limits(patience=0.2))) as client:
        for path in (b"/prompt", b"/queue", b"/userdata/x.json"):
            head = b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
            assert (await raw(client, head)).startswith(b"HTTP/1.1 408 "), path
        form = b"POST /upload/image HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\nContent-Type: "
        form += FORM.encode() + b"\r\n\r\n--x\r\nContent-Disposition: form-data; name=image; filename=a.png\r\n\r\nx"
        assert (await raw(client, form)).startswith(b"HTTP/1.1 408 ")
        assert not list(tmp_path.rglob("*.part"))


@in_loop
async def test_half_a_head_is_not_waited_for(tmp_path: Path) -> None:
    patience = Patience(0.05)
    deps = deps_of(tmp_path)
    async with serving(deps) as client:
        server = client.runner.server
        assert server is not None
        watching = asyncio.create_task(patience.watch(server))
        assert await raw(client, b"GET /queue HTTP/1.1\r\nHost: loc") == b""
        assert await raw(client, b"") == b""
        watching.cancel()
        assert await client.get("/queue") == {"queue_running": [], "queue_pending": []}
        client.app[PATIENCE].look(server)  # the session's own connection has spoken
        assert len(server.connections) == 1


@in_loop
async def test_an_upload_of_tiny_parts_is_refused_at_once(tmp_path: Path) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    async with serving(deps_of(tmp_path)) as client:
        for body in (part * 20_000 + b"--x--", b"\r\n" * 100_000 + b"--x--", b"--x\r\n" + b"a: b\r\n" * 50_000):
            status, told = await client.post("/upload/image", body, headers={"Content-Type": FORM})
            assert status == 400 and "damaged" in told["error"]["message"], told


def _split(body: bytes, step: int) -> list[tuple[Part, bytes]]:
    splitter, found = Splitter(FORM), list[tuple[Part, bytes]]()
    for at in range(0, len(body), step):
        for event in splitter.feed(body[at : at + step]):
            if isinstance(event, Part):
                found.append((event, b""))
            else:
                found[-1] = (found[-1][0], found[-1][1] + event)
    splitter.finish()
    return found


def test_parts_are_the_same_however_a_body_is_cut() -> None:
    head = b'Content-Disposition: form-data; name="image"; filename="b\xc3\xa9.png"\r\nContent-Type: image/png'
    body = b"\r\n--x\r\n".join(
        [b"before", head + b"\r\n\r\n\0\r\n--y\r\n", b"content-disposition: form-data; name=e\r\n\r\n"]
    )
    body += b"\r\n--x--\r\nbehind"
    wanted = [(Part("image", "bé.png", "image/png"), b"\0\r\n--y\r\n"), (Part("e", None, "text/plain"), b"")]
    assert all(_split(body, step) == wanted for step in (1, 2, 3, 5, 64, len(body)))
    for damaged in (b"", b"--x", b"--x--"[:4], b"--x\r\n\r\n", b"--x\r\nno colon\r\n\r\n\r\n--x--", body[:-12]):
        with pytest.raises(Damaged):
            _split(damaged, 3)
    with pytest.raises(Damaged):
        _split((b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n") * (MOST_PARTS + 1), 1000)


@in_loop
async def test_a_search_for_words_keeps_no_other_reader_waiting(tmp_path: Path) -> None:
    go_on = threading.Event()
    async with serving(deps_of(tmp_path)) as client:
        await client.run(chain())
        searching = asyncio.create_task(client.app[SEARCHES](lambda _reader: go_on.wait(20)))
        mine = asyncio.create_task(client.get("/api/jobs?text=Steps"))
        assert (await client.get("/api/jobs"))["pagination"]["total"] == 1
        assert await client.get("/history") and not mine.done()
        go_on.set()
        await searching
        assert (await mine)["pagination"]["total"] == 1


@in_loop
async def test_reading_where_one_can_only_write_is_405(tmp_path: Path) -> None:
    front = tmp_path / "front"
    front.mkdir()
    (front / "index.html").write_text("<!doctype html>")
    async with serving(replace(deps_of(tmp_path / "base"), front_end=front)) as client:
        routes = [(r.method, r.resource.canonical) for r in client.app.router.routes() if r.resource]
        reading = {path for method, path in routes if method == "GET"}
        assert {path for method, path in routes if method in WRITING and "{" not in path} <= reading
        for path in ("/free", "/interrupt", "/upload/image", "/api/prompt/check", "/queue/pause", "/jobs/x/cancel"):
            for method in ("GET", "HEAD"):
                async with client.session.request(method, client.url + path) as answer:
                    assert (answer.status, answer.headers["Allow"]) == (405, "POST"), (method, path)
        async with client.session.get(f"{client.url}/nothing-of-that-name") as answer:
            assert answer.status == 404


@in_loop
async def test_what_the_description_forbids_is_refused(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        running = await client.queue(chain(steps=10_000, seconds=0.01))
        for path, body in (
            ("/interrupt", {"prompt_id": {}}),
            ("/interrupt", {"prompt_id": 7}),
            ("/queue", {"clear": "yes"}),
            ("/queue", {"delete": {}}),
            ("/queue", {"delete": [1]}),
            ("/history", {"clear": 1}),
            ("/free", {"free_memory": "true"}),
            ("/prompt", {"prompt": chain(), "front": "yes"}),
            ("/prompt", {"prompt": chain(), "extra_data": False}),
            ("/prompt", {"prompt": chain(), "partial_execution_targets": [True]}),
            ("/jobs/x/priority", {}),
            ("/jobs/x/move", {"place": -1}),
        ):
            status, told = await client.post(path, body)
            assert status == 400 and told["error"]["message"], (path, body)
        for query in ("/history?max_items=", "/jobs?limit=1.5", "/jobs?sort_order=up", "/jobs?after=nan", "/userdata"):
            async with client.session.get(client.url + query) as answer:
                assert answer.status == 400, query
        assert (await client.post("/interrupt", {"prompt_id": None}))[0] == 200
        entry = await client.entry(running)  # none of the bad ones has stopped it
        assert entry["status"]["messages"][-1][0] == "execution_interrupted"


def _words(schema: Any) -> Iterator[str]:
    """The words of JSON Schema in a schema and those within it."""
    for word, value in schema.items():
        yield word
        within = (
            value.values() if word == "properties" else [value] if word in ("items", "additionalProperties") else []
        )
        for each in within:
            if isinstance(each, Mapping):
                yield from _words(each)


def test_the_checker_knows_what_the_descriptions_use() -> None:
    used = {word for it in OPERATIONS.values() for each in (*it.query.values(), it.body or {}) for word in _words(each)}
    known = {
        "type",
        "enum",
        "pattern",
        "minimum",
        "maximum",
        "maxLength",
        "minLength",
        "items",
        "properties",
        "required",
    }
    assert used <= known | {"additionalProperties", "description"}
    shape = members({"a": optional(WHOLE), "b": {"type": "array", "items": TEXT}}, ["a"], closed=True)
    assert fault(shape, {"a": None}) is None and fault(shape, {"a": 2.0, "b": ["x"]}) is None
    for wrong, word in (
        ({}, "a: is missing"),
        ({"a": 1.5}, "a: "),
        ({"a": 1, "b": [1]}, "b[0]"),
        ({"a": 1, "c": 1}, "c: "),
    ):
        assert word in str(fault(shape, wrong))
