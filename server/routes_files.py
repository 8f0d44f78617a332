"""Pictures out and in: `/view`, `/upload/image`, `/upload/mask`, `/view_metadata`."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from graph.errors import ValueRefused
from graph.files import IMAGES
from server.deps import ALONE, DEPS, THREADS
from server.forms import Form, receive
from server.media import SHOWN
from server.pictures import LARGE, as_preview, channel, masked, open_picture, pixels_of
from server.places import annotated, below, directory, is_file
from server.refused import Refused, bad_request, not_found
from server.threads import in_thread
from server.uploads import place

_HEADER_BYTES = 16 * 2**20


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [
        web.get("/view", get_view),
        web.get("/view_metadata/{folder}", get_view_metadata),
        web.post("/upload/image", post_upload_image),
        web.post("/upload/mask", post_upload_mask),
    ]


async def get_view(request: web.Request) -> web.StreamResponse:
    """A file by `filename`, `subfolder` and `type`; `preview=webp;90` and `channel=rgb|a` change its form."""
    path = await in_thread(request.app[THREADS], _wanted, request.query, request.app)
    disposition = (
        f"filename*=UTF-8''{quote(path.name)}" if not path.name.isascii() else f'filename="{_plain(path.name)}"'
    )
    headers = {"Content-Disposition": disposition}
    most = request.app[DEPS].limits.pixels
    if wanted := request.query.get("preview"):
        body, kind = await in_thread(await _pool(request.app, path), as_preview, path, wanted, most)
        return web.Response(body=body, content_type=kind, headers=headers)
    if (name := request.query.get("channel")) in ("rgb", "a"):
        body = await in_thread(await _pool(request.app, path), channel, path, name, most)
        return web.Response(body=body, content_type="image/png", headers=headers)
    kind = SHOWN.get(path.suffix.lower(), "application/octet-stream")
    if kind == "application/octet-stream":
        headers["Content-Disposition"] = f"attachment; {disposition}"
    return web.FileResponse(path, headers={**headers, "Content-Type": kind})


async def _pool(app: web.Application, path: Path) -> ThreadPoolExecutor:
    """Where a picture is decoded: large ones one after the other. Raises Refused for what is none."""
    pixels = await in_thread(app[THREADS], pixels_of, path, app[DEPS].limits.pixels)
    return app[ALONE] if pixels > LARGE else app[THREADS]


async def get_view_metadata(request: web.Request) -> web.Response:
    """The `__metadata__` of a safetensors file."""
    folders, name = request.app[DEPS].folders, request.query.get("filename", "")
    folder = request.match_info["folder"]
    if not name.endswith(".safetensors") or folder not in folders.folders:
        raise not_found("no such file")
    try:
        path = await in_thread(request.app[THREADS], folders.resolve, folder, name)
        metadata = await in_thread(request.app[THREADS], _metadata, path)
    except (ValueRefused, OSError):
        raise not_found("no such file") from None
    if metadata is None:
        raise not_found("the file has no metadata")
    return web.json_response(metadata)


async def post_upload_image(request: web.Request) -> web.Response:
    """Store the picture of field `image`; `type`, `subfolder` and `overwrite` say where and how."""
    app = request.app
    async with receive(request, "image", app[DEPS].limits.upload, app[DEPS].folders.temp_dir) as form:
        _check_name(form)
        await in_thread(app[THREADS], _inspect, form.path, app[DEPS].limits.pixels)
        content = await in_thread(app[THREADS], form.path.read_bytes)
        return await _store(app, form, content)


async def post_upload_mask(request: web.Request) -> web.Response:
    """Store the picture `original_ref` with the transparency of the picture in field `image`."""
    app = request.app
    async with receive(request, "image", app[DEPS].limits.upload, app[DEPS].folders.temp_dir) as form:
        _check_name(form)
        original = await in_thread(app[THREADS], _wanted, _reference(form.fields.get("original_ref", "")), app)
        content = await in_thread(app[ALONE], masked, original, form.path, app[DEPS].limits.pixels)
        return await _store(app, form, content)


def _check_name(form: Form) -> None:
    if not form.filename:
        raise bad_request("expected a file, with a name, in the field `image`")
    if Path(form.filename).suffix.lower() not in IMAGES:
        raise Refused(415, "type_refused", f"only pictures are taken here: {', '.join(sorted(IMAGES))}")


async def _store(app: web.Application, form: Form, content: bytes) -> web.Response:
    kind, subfolder = form.fields.get("type", "input"), form.fields.get("subfolder", "")
    root, overwrite = directory(app[DEPS].folders, kind), form.fields.get("overwrite", "").lower() in ("true", "1")
    stored = await in_thread(app[THREADS], place, root, subfolder, form.filename, content, overwrite)
    return web.json_response({"name": stored.name, "subfolder": stored.subfolder, "type": kind})


def _inspect(path: Path, most_pixels: int) -> None:
    open_picture(path, most_pixels).close()


def _wanted(query: Mapping[str, str], app: web.Application) -> Path:
    """The file that a query names. Raises Refused, with the statuses that clients know."""
    folders = app[DEPS].folders
    name, kind = annotated(query.get("filename", ""), query.get("type", "output"))
    if not name:
        raise not_found("no filename")
    root, subfolder = directory(folders, kind), query.get("subfolder", "")
    below(root, name)
    if subfolder:
        below(root, subfolder, status=403)
        name = f"{subfolder}/{name}"
    path = below(root, name)
    if not is_file(path):
        raise not_found("no such file")
    return path


def _reference(text: str) -> Mapping[str, str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise bad_request('original_ref: expected {"filename", "subfolder", "type"}')
    return {"type": "output", **value}


def _metadata(path: Path) -> object:
    """What the header says about the file, or None."""
    with path.open("rb") as file:
        start = file.read(8)
        size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 0 < size <= _HEADER_BYTES:
            return None
        try:
            header = json.loads(file.read(size))
        except (ValueError, RecursionError):
            return None
    return header.get("__metadata__") if isinstance(header, dict) else None


def _plain(name: str) -> str:
    return name.replace("\\", "").replace('"', "'")
