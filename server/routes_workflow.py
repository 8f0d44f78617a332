"""Workflows in the other format, and what they need: `/workflow/convert` and `/workflow/check`. Nothing is queued."""

from __future__ import annotations

from typing import get_args

from aiohttp import web

from graph.errors import GraphErrors
from graph.node_shapes import shapes_of
from graph.patient_json import dumps
from graph.workflow import Workflow
from server.answers import one, send_json
from server.backend import Engine
from server.body import read_body, refusing_bad_json
from server.carried import NoWorkflow, carried
from server.deps import DEPS, LARGE_BODIES, REDACT, THREADS
from server.messages import top_error
from server.refused import Refused, bad_request
from server.threads import in_thread
from server.workflow_files import Form, checked, in_form, understand


def routes() -> list[web.RouteDef]:
    """What this file answers."""
    return [web.post("/workflow/convert", post_convert), web.post("/workflow/check", post_check)]


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


def _converted(body: bytes, form: Form, engine: Engine, app: web.Application) -> str:
    workflow = _workflow(body, engine, app, drawn=form == "editor")
    return dumps(in_form(workflow, form, shapes_of(engine.registry, app[DEPS].folders)))


def _report(body: bytes, engine: Engine, app: web.Application) -> str:
    workflow = _workflow(body, engine, app, drawn=True)
    return dumps(checked(workflow, engine.registry, app[DEPS].folders, engine.rules).as_json())


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
