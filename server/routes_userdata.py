"""What the front end keeps for its user: settings, workflows, small files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from graph.whole_files import draft, make_folder
from server.body import object_in, read_body, read_object, read_value, refusing_bad_json
from server.deps import DEPS, SETTINGS, THREADS
from server.listing import Entry, entries
from server.places import below, is_file
from server.refused import Refused, bad_request, not_found
from server.settings import FILE
from server.threads import in_thread

_STYLE = "user.css"
_FILE_BYTES = 50 * 2**20


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [
        web.get("/users", get_users),
        web.post("/users", post_users),
        web.get("/settings", get_settings),
        web.post("/settings", post_settings),
        web.get("/settings/{id}", get_setting),
        web.post("/settings/{id}", post_setting),
        web.get("/userdata", get_files),
        web.get("/v2/userdata", get_tree),
        web.get("/user.css", get_style),
        web.get("/userdata/{file}", get_file),
        web.post("/userdata/{file}", post_file),
        web.delete("/userdata/{file}", delete_file),
        web.post("/userdata/{file}/move/{target}", move_file),
    ]


async def get_users(request: web.Request) -> web.Response:
    """There is one user, whose data the server keeps."""
    return web.json_response({"storage": "server", "migrated": True})


async def post_users(request: web.Request) -> web.Response:
    """More users are not kept apart."""
    raise bad_request("this server keeps the data of one user")


async def get_settings(request: web.Request) -> web.Response:
    """All settings of the front end."""
    return web.json_response(await _settings(request))


async def post_settings(request: web.Request) -> web.Response:
    """Change several settings."""
    await _change(request, await read_object(request))
    return web.Response()


async def get_setting(request: web.Request) -> web.Response:
    """One setting, or null."""
    return web.json_response((await _settings(request)).get(request.match_info["id"]))


async def post_setting(request: web.Request) -> web.Response:
    """Change one setting; the body is its value."""
    await _change(request, {request.match_info["id"]: await read_value(request)})
    return web.Response()


async def get_files(request: web.Request) -> web.Response:
    """The files below `dir`: names, or with `full_info` sizes and times, or with `split` names in parts."""
    query = request.query
    if "dir" not in query:
        raise bad_request("dir: expected the name of a directory")
    root = _home(request)
    name = query["dir"].strip("/")
    place = root if name in ("", ".") else below(root, name, status=403)
    recurse, full = query.get("recurse", "").lower() == "true", query.get("full_info", "").lower() == "true"
    found = await in_thread(request.app[THREADS], entries, place, recurse)
    if found is None:
        return web.Response(status=404, text="Directory not found")
    files = [entry for entry in found if not entry.is_directory and not entry.is_link]
    if full:
        return web.json_response([_told(entry) for entry in files])
    names = [entry.name for entry in files]
    if query.get("split", "").lower() == "true":
        return web.json_response([[name, *name.split("/")] for name in names])
    return web.json_response(names)


async def get_tree(request: web.Request) -> web.Response:
    """Files and directories directly in `path`."""
    root, name = _home(request), request.query.get("path", "").strip("/")
    place = below(root, name, status=403) if name else root
    found = await in_thread(request.app[THREADS], entries, place)
    if found is None:
        raise not_found("Directory not found")
    return web.json_response(
        [
            {
                "name": entry.name,
                "path": f"{name}/{entry.name}" if name else entry.name,
                "type": "directory" if entry.is_directory else "file",
                **({} if entry.is_directory else {"size": entry.size, "modified": entry.modified}),
            }
            for entry in found
        ]
    )


async def get_style(request: web.Request) -> web.StreamResponse:
    """The user's style sheet for the front end; empty if there is none."""
    path = _home(request) / _STYLE
    if not is_file(path):
        return web.Response(content_type="text/css")
    return web.FileResponse(path, headers={"Content-Type": "text/css"})


async def get_file(request: web.Request) -> web.StreamResponse:
    """One file; only JSON is served as what it is."""
    if request.match_info["file"] == _STYLE:
        return await get_style(request)
    path = below(_home(request), request.match_info["file"], status=403)
    if not is_file(path):
        raise not_found("no such file")
    is_json = path.suffix == ".json"
    headers = {"Content-Type": "application/json" if is_json else "application/octet-stream"}
    if not is_json:
        headers["Content-Disposition"] = "attachment"
    return web.FileResponse(path, headers=headers)


async def post_file(request: web.Request) -> web.Response:
    """Store a file; `overwrite=false` keeps one that is there."""
    root, name = _home(request), request.match_info["file"]
    path = below(root, name, status=403)
    overwrite = request.query.get("overwrite", "").lower() != "false"
    content = await read_body(request, _FILE_BYTES)
    try:
        if path == root / FILE and overwrite:
            settings = await in_thread(request.app[THREADS], object_in, content)
            await in_thread(request.app[THREADS], request.app[SETTINGS].replace, settings)
        else:
            await in_thread(request.app[THREADS], _write, path, content, overwrite)
    except FileExistsError:
        return web.Response(status=409, text="File already exists")
    return web.json_response(_described(path, root) if _full(request) else name)


async def delete_file(request: web.Request) -> web.Response:
    """Remove a file."""
    path = below(_home(request), request.match_info["file"], status=403)
    try:
        await in_thread(request.app[THREADS], path.unlink)
    except OSError:
        raise not_found("no such file") from None
    return web.Response(status=204)


async def move_file(request: web.Request) -> web.Response:
    """Give a file another name; `overwrite=false` keeps one that is there."""
    root, name = _home(request), request.match_info["target"]
    source, target = below(root, request.match_info["file"], status=403), below(root, name, status=403)
    if not is_file(source):
        raise not_found("no such file")
    if request.query.get("overwrite", "").lower() == "false" and target.exists():
        return web.Response(status=409, text="File already exists")

    def move() -> None:
        make_folder(target.parent)
        source.replace(target)

    try:
        await in_thread(request.app[THREADS], move)
    except OSError:
        raise Refused(409, "not_moved", "the file cannot get that name") from None
    return web.json_response(_described(target, root) if _full(request) else name)


async def _settings(request: web.Request) -> Mapping[str, object]:
    return await in_thread(request.app[THREADS], request.app[SETTINGS].all)


async def _change(request: web.Request, changes: Mapping[str, object]) -> None:
    with refusing_bad_json():  # writing needs a little more depth than reading
        await in_thread(request.app[THREADS], request.app[SETTINGS].change, changes)


def _home(request: web.Request) -> Path:
    return request.app[DEPS].folders.base / "user" / "default"


def _full(request: web.Request) -> bool:
    return request.query.get("full_info", "").lower() == "true"


def _described(path: Path, root: Path) -> dict[str, object]:
    stat = path.stat()
    name = path.relative_to(root).as_posix()
    return _told(Entry(name, False, False, stat.st_size, stat.st_mtime, stat.st_ctime))


def _told(entry: Entry) -> dict[str, object]:
    modified, created = int(entry.modified * 1000), int(entry.changed * 1000)
    return {"path": entry.name, "size": entry.size, "modified": modified, "created": created}


def _write(path: Path, content: bytes, overwrite: bool) -> None:
    """Raises FileExistsError if it may not overwrite, OSError where the system refuses."""
    with draft(path.parent) as part:
        part.path.write_bytes(content)
        if overwrite:
            part.replace(path)
        elif not part.take(path):
            raise FileExistsError(path)
