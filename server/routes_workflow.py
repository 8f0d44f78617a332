"""Workflows in the other format, and what they need: `/workflow/convert` and `/workflow/check`. Nothing is queued."""

from __future__ import annotations

from aiohttp import web

from graph.document import as_json
from graph.errors import GraphErrors
from graph.node_shapes import shapes_of
from graph.patient_json import dumps
from graph.unflatten import unflatten
from graph.workflow import Workflow, read_workflow
from server.answers import one, send_json
from server.backend import Engine
from server.body import read_body, refusing_bad_json
from server.carried import NoWorkflow, carried
from server.deps import DEPS, LARGE_BODIES, REDACT, THREADS
from server.messages import top_error
from server.refused import Refused, bad_request
from server.threads import in_thread
from server.workflow_files import checked


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [web.post("/workflow/convert", post_convert), web.post("/workflow/check", post_check)]


async def post_convert(request: web.Request) -> web.StreamResponse:
    """A workflow in the API format, or with `to=editor` as the editor saves it. The body is JSON of either format, or a
    picture or latent that carries it.
    """
    wanted = request.query.get("to", "api")
    if wanted not in ("api", "editor"):
        raise bad_request("to: expected api or editor")
    deps = request.app[DEPS]
    body = await read_body(request, deps.limits.upload)
    engine = await deps.backend.engine()
    function = _to_api if wanted == "api" else _to_editor
    async with request.app[LARGE_BODIES]:
        text = await in_thread(request.app[THREADS], function, body, engine, request.app)
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


def _to_api(body: bytes, engine: Engine, app: web.Application) -> str:
    workflow = _workflow(body, engine, app, drawn=False)
    return dumps(as_json(workflow.document))


def _to_editor(body: bytes, engine: Engine, app: web.Application) -> str:
    workflow = _workflow(body, engine, app, drawn=True)
    if workflow.file is not None:
        return dumps(workflow.file.raw)
    return dumps(unflatten(workflow.document, shapes_of(engine.registry, app[DEPS].folders)))


def _report(body: bytes, engine: Engine, app: web.Application) -> str:
    workflow = _workflow(body, engine, app, drawn=True)
    return dumps(checked(workflow, engine.registry, app[DEPS].folders, engine.rules).as_json())


def _workflow(body: bytes, engine: Engine, app: web.Application, *, drawn: bool) -> Workflow:
    """The workflow of a body; of a picture what the editor drew if `drawn`, else what was run. Raises Refused."""
    deps = app[DEPS]
    if sum(map(body.count, (b",", b"[", b"{"))) > deps.limits.values:
        raise Refused(413, "too_many_values", f"the request holds more than {deps.limits.values} values")
    with refusing_bad_json():
        try:
            found = carried(body)
            raw = found.document() if drawn else found.request()
        except NoWorkflow as error:
            raise bad_request(str(error)) from None
    try:
        workflow = read_workflow(raw, shapes_of(engine.registry, deps.folders), most_nodes=deps.limits.nodes)
        if workflow.document.problems:
            raise GraphErrors(workflow.document.problems)
        return workflow
    except GraphErrors as errors:
        top = top_error(errors.problems, app[REDACT])
        raise Refused(400, str(top["type"]), str(top["message"]), {"error": top, "node_errors": {}}) from None
