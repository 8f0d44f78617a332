"""Workflows in the other format, what they need, and edits that programs make: below `/workflow`. Nothing is queued."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from aiohttp import web

from graph.editing import EMPTY, edit
from graph.edits import EditError, read_edits
from graph.errors import GraphErrors
from graph.node_shapes import shapes_of
from graph.patient_json import dumps
from graph.whole_files import make_folder, write_whole
from graph.workflow import Workflow, read_workflow
from server.answers import one, send_json
from server.backend import Engine
from server.body import object_in, read_body, read_object, refusing_bad_json
from server.carried import NoWorkflow, carried
from server.deps import DEPS, HUB, LARGE_BODIES, REDACT, THREADS
from server.messages import top_error
from server.places import below
from server.refused import Refused, bad_request, not_found
from server.threads import in_thread
from server.transcript import Message
from server.workflow_files import Form, checked, in_form, understand


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [
        web.post("/workflow/convert", post_convert),
        web.post("/workflow/check", post_check),
        web.post("/workflow/edit", post_edit),
    ]


async def post_convert(request: web.Request) -> web.StreamResponse:
    """A workflow in the API format, or with `to=editor` as the editor saves it. The body is JSON of either format, or a
    picture or latent that carries it, or says how another program made it.
    """
    wanted = request.query.get("to", "api")
    if wanted not in get_args(Form):
        raise bad_request("to: expected api or editor")
    form: Form = "editor" if wanted == "editor" else "api"
    deps = request.app[DEPS]
    body = await read_body(request, deps.limits.upload)
    engine = await deps.backend.engine()
    async with request.app[LARGE_BODIES]:
        text = await in_thread(request.app[THREADS], _converted, body, form, engine, request.app)
    return await send_json(request, one(text))


async def post_check(request: web.Request) -> web.StreamResponse:
    """What a workflow needs that is not here: node types and their packs, models and their addresses, each once; and
    what else is wrong with it.
    """
    deps = request.app[DEPS]
    body = await read_body(request, deps.limits.upload)
    engine = await deps.backend.engine()
    async with request.app[LARGE_BODIES]:
        text = await in_thread(request.app[THREADS], _report, body, engine, request.app)
    return await send_json(request, one(text))


async def post_edit(request: web.Request) -> web.StreamResponse:
    """Make `edits` in a file that the user keeps; `create` allows a new one. Tells the ids of added nodes and what is
    wrong with the workflow now, and every open editor that the file was changed, and by whom.
    """
    deps, app = request.app[DEPS], request.app
    asked = await read_object(request)
    name, by = str(asked["file"]), str(asked.get("by") or "")
    path = below(deps.folders.base / "user" / "default", name, status=403)
    if path.suffix != ".json":
        raise bad_request("file: expected a name that ends in .json")
    engine = await deps.backend.engine()
    async with app[LARGE_BODIES]:
        done = await in_thread(app[THREADS], _edited, path, asked, engine, app)
    app[HUB].announce(Message("workflow_edited", {"file": name, "by": by, "modified": done["modified"]}))
    return await send_json(request, one(dumps(done)))


def _edited(path: Path, asked: Mapping[str, object], engine: Engine, app: web.Application) -> Mapping[str, object]:
    """The answer to edits that were made and are on disk. Raises Refused."""
    deps = app[DEPS]
    shapes = shapes_of(engine.registry, deps.folders)
    try:
        before = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise Refused(409, "unreadable", f"the file cannot be read: {error.strerror}") from None
    if before is None and asked.get("create") is not True:
        raise not_found("no such file; with create a new one is begun")
    with refusing_bad_json():
        raw = object_in(before) if before is not None else EMPTY
    try:
        made = edit(raw, read_edits(asked.get("edits", [])), shapes)
        workflow = read_workflow(made.file, shapes, most_nodes=deps.limits.nodes)
    except EditError as error:
        raise bad_request(str(error)) from None
    except GraphErrors as errors:
        raise bad_request(app[REDACT](str(errors.problems[0]))) from None
    make_folder(path.parent)
    write_whole(path, dumps(made.file).encode())
    report = checked(workflow, engine.registry, deps.folders, engine.rules).as_json()
    return {"ids": made.ids, "modified": int(path.stat().st_mtime * 1000), "report": report}


def _converted(body: bytes, form: Form, engine: Engine, app: web.Application) -> str:
    workflow = _workflow(body, engine, app, drawn=form == "editor")
    text = dumps(in_form(workflow, form, shapes_of(engine.registry, app[DEPS].folders)))
    if workflow.file:
        workflow.file.let_go()
    return text


def _report(body: bytes, engine: Engine, app: web.Application) -> str:
    workflow = _workflow(body, engine, app, drawn=True)
    text = dumps(checked(workflow, engine.registry, app[DEPS].folders, engine.rules).as_json())
    if workflow.file:
        workflow.file.let_go()
    return text


def _workflow(body: bytes, engine: Engine, app: web.Application, *, drawn: bool) -> Workflow:
    """The workflow of a body; of a picture what the editor drew if `drawn`, else what was run. Raises Refused."""
    deps = app[DEPS]
    if sum(map(body.count, (b",", b"[", b"{"))) > deps.limits.values:
        raise Refused(413, "too_many_values", f"the request holds more than {deps.limits.values} values")
    shapes = shapes_of(engine.registry, deps.folders)
    try:
        with refusing_bad_json():
            try:
                workflow = understand(carried(body), shapes, deps.folders, deps.limits.nodes, drawn=drawn)
            except NoWorkflow as error:
                raise bad_request(str(error)) from None
        if workflow.document.problems:
            raise GraphErrors(workflow.document.problems)
        return workflow
    except GraphErrors as errors:
        top = top_error(errors.problems, app[REDACT])
        raise Refused(400, str(top["type"]), str(top["message"]), {"error": top, "node_errors": {}}) from None
