"""Comfy API v2: `/api/v2/assets`, files by id and by content."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from mimetypes import guess_type
from urllib.parse import quote

from aiohttp import web

from server.api_v2 import asset_json, made_id, origin_of
from server.assets import TEXTS, Asset, Assets, Taken
from server.blobs import PREFIX, Blobs, Place, blake3_of
from server.body import read_object
from server.deps import ASSETS, BLOBS, DEPS, LOOKING, THREADS
from server.forms import receive
from server.media import SHOWN
from server.refused import Refused, bad_request, not_found
from server.threads import in_thread

_HASH = re.compile(rf"{PREFIX}[0-9a-f]{{64}}")
_SECONDS = range(60, 604_801)
_TAGS = 64


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [
        web.post("/v2/assets", post_asset),
        web.post("/v2/assets/from-hash", post_from_hash),
        web.get("/v2/assets/by-hash/{hash}", get_by_hash),
        web.get("/v2/assets/{id}", get_asset),
        web.get("/v2/assets/{id}/content", get_content),
        web.delete("/v2/assets/{id}", delete_asset),
    ]


async def post_asset(request: web.Request) -> web.Response:
    """Store the file of field `file` at `file_path`; 201, or 200 if its content was known."""
    app = request.app
    id_ = new_id(request)
    if await app[ASSETS](Assets.get, id_):
        raise reused()
    async with receive(request, "file", app[DEPS].limits.upload, app[DEPS].folders.temp_dir) as form:
        hash_ = await in_thread(app[THREADS], blake3_of, form.path)
        expected = form.fields.get("expected_hash")
        if expected is not None and expected != hash_:
            raise Refused(409, "hash_mismatch", f"the content is {hash_}, expected {expected[:80]}")
        wanted = app[BLOBS].wanted(form.fields.get("file_path") or form.filename)
        known = await app[BLOBS].find(hash_)
        place, made = await app[BLOBS].keep(form.path, wanted, hash_)
        asset = Asset(
            id=id_,
            kind=place.kind,
            name=place.name,
            content_type=form.fields.get("content_type") or form.content_type,
            size=form.size,
            created=time.time(),
            hash=hash_,
            expires=_expires(_seconds(form.fields.get("expires_in"))),
            uploaded=made,
            tags=_tags(form.all("tags")),
        )
    return await _created(request, asset, created_new=known is None)


async def post_from_hash(request: web.Request) -> web.Response:
    """A new asset over a content that the server has."""
    wanted = await read_object(request)
    blobs, hash_ = request.app[BLOBS], str(wanted["hash"])
    known = await blobs.find(hash_)
    if known is None:
        raise Refused(404, "blob_not_found", "no file of that content is known here")
    path = await in_thread(request.app[THREADS], blobs.path, known)
    file_path = wanted.get("file_path")
    place, made = known, False
    if file_path is not None:
        place, made = await blobs.keep(path, blobs.wanted(str(file_path)), hash_)
    tags, seconds = wanted.get("tags") or [], wanted.get("expires_in")
    assert isinstance(tags, list)
    asset = Asset(
        id=new_id(request),
        kind=place.kind,
        name=place.name,
        content_type=guess_type(place.name)[0] or "application/octet-stream",
        size=(await in_thread(request.app[THREADS], path.stat)).st_size,
        created=time.time(),
        hash=hash_,
        expires=_expires(int(seconds) if isinstance(seconds, int | float) else None),
        uploaded=made,
        tags=_tags(tags),
    )
    return await _created(request, asset, created_new=False)


async def get_by_hash(request: web.Request) -> web.Response:
    """200 if a file of that content is known, else 404; then the folders are looked through for the next time."""
    place = await request.app[BLOBS].find(request.match_info["hash"])
    if place is None:
        look_through(request.app)
        raise not_found("no file of that content is known here")
    return web.json_response({"hash": request.match_info["hash"]})


async def get_asset(request: web.Request) -> web.Response:
    """What an asset is; its hash is found out now, if that was not done yet."""
    asset = await living(request)
    if asset.kind != TEXTS:
        place = Place(asset.kind, asset.name)
        path = await in_thread(request.app[THREADS], request.app[BLOBS].path, place)
        size = (await in_thread(request.app[THREADS], path.stat)).st_size
        hash_ = asset.hash or await request.app[BLOBS].digest(place)
        if asset.hash is None:
            await request.app[ASSETS].lightly(Assets.set_hash, asset.id, hash_)
        asset = replace(asset, size=size, hash=hash_)
    return web.json_response(asset_json(asset, origin_of(request)))


async def get_content(request: web.Request) -> web.StreamResponse:
    """The bytes, or a range of them."""
    asset = await living(request)
    if asset.content is not None:
        return web.Response(text=asset.content, content_type="text/plain")
    path = await in_thread(request.app[THREADS], request.app[BLOBS].path, Place(asset.kind, asset.name))
    kind = SHOWN.get(path.suffix.lower(), "application/octet-stream")  # what a browser may show cannot run anything
    shown = "inline" if kind != "application/octet-stream" else "attachment"
    headers = {"Content-Type": kind, "Content-Disposition": f"{shown}; filename*=UTF-8''{quote(path.name)}"}
    return web.FileResponse(path, headers=headers)


async def delete_asset(request: web.Request) -> web.Response:
    """Remove an asset, and its file if it was uploaded and no other asset stands for it."""
    asset = await living(request)
    if await request.app[ASSETS](Assets.is_in_use, asset.id):
        raise Refused(409, "asset_in_use", "a job that waits or runs needs it")
    await remove(request.app, asset)
    return web.Response(status=204)


async def remove(app: web.Application, asset: Asset) -> None:
    """Forget an asset, and delete its file if that is nobody's any more."""
    if await app[ASSETS](Assets.forget, asset.id):
        with suppress(Refused, OSError):  # it is gone already
            await app[BLOBS].remove(Place(asset.kind, asset.name))


async def living(request: web.Request) -> Asset:
    """The asset that the path names. Raises Refused."""
    asset = await request.app[ASSETS](Assets.get, request.match_info["id"])
    if asset is None or (asset.expires is not None and asset.expires < time.time()):
        raise not_found("there is no such asset")
    return asset


def new_id(request: web.Request) -> str:
    """A new id; with an `Idempotency-Key` the one that this key gives, so that it is new only once. Raises Refused."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return str(uuid.uuid4())
    if not 0 < len(key) <= 255 or not key.isascii() or not key.isprintable():
        raise bad_request("Idempotency-Key: expected 1 to 255 printable ASCII characters")
    return made_id("asset", key)


def reused() -> Refused:
    """An Idempotency-Key that has done its work."""
    return Refused(422, "idempotency_key_reuse", "that Idempotency-Key was used before; nothing was done")


def look_through(app: web.Application) -> None:
    """Begin to find out what the folders contain, unless that is being done."""
    looking: set[asyncio.Task[None]] = app[LOOKING]
    if not looking:
        task = asyncio.create_task(Blobs.look_through(app[BLOBS]))
        looking.add(task)
        task.add_done_callback(looking.discard)


async def _created(request: web.Request, asset: Asset, created_new: bool) -> web.Response:
    try:
        await request.app[ASSETS](Assets.add, asset)
    except Taken:
        raise reused() from None
    shown = asset_json(asset, origin_of(request), created_new)
    return web.json_response(shown, status=201 if created_new else 200)


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 7 or int(text) not in _SECONDS:
        raise bad_request(f"expires_in: expected {_SECONDS[0]} to {_SECONDS[-1]} seconds")
    return int(text)


def _expires(seconds: int | None) -> float | None:
    return None if seconds is None else time.time() + seconds


def _tags(tags: list[str]) -> tuple[str, ...]:
    if len(tags) > _TAGS or any(len(tag) > 200 for tag in tags):
        raise bad_request(f"tags: expected at most {_TAGS} of at most 200 characters")
    return tuple(tags)
