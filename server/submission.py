"""`POST /prompt`: bytes -> a submission, or every reason against it."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType

from graph.build import Graph, build
from graph.document import Document, as_json, json_object
from graph.errors import GraphError, GraphErrors
from graph.files import Folders
from graph.labels import ASKED
from graph.node_shapes import shapes_of
from graph.patient_json import Reader, dumps
from graph.queue_time import resolve_texts
from graph.replacements import RENAMED
from graph.workflow import Workflow, read_workflow
from server.about import about
from server.backend import Engine
from server.body import decoder, is_text, refusing_bad_json
from server.carried import Carried, NoWorkflow, carried, is_json
from server.job import ID_LENGTH, LARGEST, PRIORITIES, Submission
from server.messages import NodeErrors, refusal, top_error
from server.operations import BESIDES_PROMPT
from server.recent import Given, is_kept
from server.redact import Redactor
from server.refused import Refused, bad_request
from server.schema import fault
from server.workflow_files import understand

LABELS: Mapping[str, str] = MappingProxyType(
    {"Darkroom.Labels.Provenance": "provenance", "Darkroom.Labels.Parameters": "parameters"}
)
"""The user's settings that say what files of pictures tell, and which label each is about."""
MEMBERS = 1000
"""What a body may have besides those that mean something."""

_WHOLE_PROMPT = frozenset({"missing_node_type", "invalid_prompt"})
"""Problems for which other servers refuse a workflow even if some of it could run."""


@dataclass(frozen=True, slots=True)
class Request:
    """A body that has the right shape. `prompt` is the JSON of the workflow as it was sent, `workflow` what it says.

    A picture has no `prompt`, and `workflow` is then what it carries.
    """

    prompt: str
    workflow: object
    id: str
    client_id: str | None
    extra: Mapping[str, object]
    number: float | None
    front: bool
    priority: int
    targets: tuple[str, ...] | None

    def labelled(self, settings: Mapping[str, object]) -> Request:
        """The same with the labels on its files that the user's settings ask for, unless the request says which."""
        chosen = {name: value for key, name in LABELS.items() if isinstance(value := settings.get(key), bool)}
        if not chosen:
            return self
        given = self.extra.get(ASKED)
        labels = {**chosen, **(given if isinstance(given, dict) else {})}
        return replace(self, extra={**self.extra, ASKED: labels})

    @property
    def body(self) -> bytes:
        """The same as `POST /prompt` takes it, of one that has not come so and says nothing of its place."""
        besides = dumps({"prompt_id": self.id, "extra_data": dict(self.extra)})
        return f'{{"prompt": {self.prompt}, {besides[1:]}'.encode()

    def place(self, number: int) -> int | float:
        """Where it stands in the queue, if `number` is the next one."""
        if self.number is not None:
            return self.number
        return -number if self.front else number


@dataclass(frozen=True, slots=True)
class Checked:
    """A workflow of which at least one output can run, and what is wrong with the rest, as JSON.

    `warnings` tell what is lost of a file of the editor. `graph` is what can run.
    """

    submission: Submission
    given: Given
    graph: Graph
    node_errors: str
    warnings: str


def read(body: bytes, most_values: int) -> Request:
    """Take a body apart: a request, a workflow alone, or a picture or latent that carries one. Raises Refused."""
    if not is_json(body):
        return _alone("", _carried(body))
    if sum(map(body.count, (b",", b"[", b"{"))) > most_values:
        raise Refused(413, "too_many_values", f"the request holds more than {most_values} values")
    value, prompt = _taken_apart(body)
    if value.get("prompt") is None and _is_workflow(value):
        return _alone(dumps(value), value)
    if value.get("prompt") is None:
        raise Refused(400, "no_prompt", "", refusal("no_prompt", "No prompt provided", "No prompt provided"))
    if wrong := fault(BESIDES_PROMPT, value):
        raise bad_request(wrong)
    extra = value.get("extra_data") or {}
    assert isinstance(extra, dict)
    client_id = value.get("client_id", extra.get("client_id"))
    return Request(
        prompt=prompt,
        workflow=value["prompt"],
        id=_id(value.get("prompt_id"), "prompt_id") or str(uuid.uuid4()),
        client_id=_id(client_id, "client_id"),
        extra=extra,
        number=_number(value.get("number")),
        front=value.get("front") is True,
        priority=priority_of(value.get("priority", extra.get("priority", 0))),
        targets=_targets(value.get("partial_execution_targets")),
    )


def amended(asked: Request, body: bytes, engine: Engine, most_values: int) -> Request:
    """The request that came as `body`, as packs want it: they get one that has the right shape. Raises Refused."""
    made = engine.foreign.amended(body)
    return asked if made is body else read(made, most_values)


def _carried(body: bytes) -> Carried:
    try:
        return carried(body)
    except NoWorkflow as error:
        raise bad_request(str(error)) from None


def _alone(prompt: str, workflow: object) -> Request:
    """A request that says nothing but what is to be run."""
    return Request(prompt, workflow, str(uuid.uuid4()), None, {}, None, False, 0, None)


def _is_workflow(value: Mapping[str, object]) -> bool:
    """Whether an object is a workflow of either format, and no request."""
    entries = value.values()
    return isinstance(value.get("nodes"), list) or (
        bool(value) and all(isinstance(entry, dict) and "class_type" in entry for entry in entries)
    )


def check(
    request: Request, number: int, engine: Engine, folders: Folders, most_nodes: int, redact: Redactor
) -> Checked:
    """Build the workflow, and let go of a large request's. Raises Refused with all that is wrong, if nothing can run."""
    try:
        workflow = _understood(request, engine, folders, most_nodes)
    except GraphErrors as errors:
        raise _refused(top_error(errors.problems, redact), {}) from None
    if len(workflow.document.nodes) > most_nodes:
        raise Refused(
            400, "too_many_nodes", f"the workflow has {len(workflow.document.nodes)} nodes, at most {most_nodes} may be"
        )
    checked = None
    try:
        checked = _checked(request, number, workflow, engine, folders, redact)
        return checked
    finally:
        if workflow.file is not None and not (checked and is_kept(checked.submission)):
            workflow.file.let_go()


def _checked(
    request: Request, number: int, workflow: Workflow, engine: Engine, folders: Folders, redact: Redactor
) -> Checked:
    document = workflow.document
    graph = build(document, engine.registry, folders, request.targets, engine.rules)
    refused = not graph.targets or _is_refused_whole(document, graph)
    unknown = [problem for problem in graph.problems if refused and problem.code in _WHOLE_PROMPT]
    shown = graph.problems if unknown else graph.errors
    node_errors = NodeErrors(document, engine.registry, folders, redact).write(shown, graph.blocked)
    if refused:
        nothing = [] if graph.errors else [GraphError("prompt_no_outputs", "nothing to do")]
        raise _refused(top_error(unknown or graph.errors or nothing, redact), node_errors)
    warnings = dumps([warning.as_json() for warning in workflow.warnings])
    given = Given(document, _extra(request, workflow), None if graph.problems else graph)
    return Checked(_submission(request, number, graph, workflow, given), given, graph, dumps(node_errors), warnings)


def _understood(request: Request, engine: Engine, folders: Folders, most_nodes: int) -> Workflow:
    """The workflow, with its texts as editors queue them if `extra_data` says `"resolve": true`."""
    shapes = shapes_of(engine.registry, folders)
    replaced = {**engine.foreign.replacements(), **RENAMED}
    given = request.workflow
    if isinstance(given, Carried):
        with refusing_bad_json():
            try:
                workflow = understand(given, shapes, folders, most_nodes, drawn=False, replacements=replaced)
            except NoWorkflow as error:
                raise bad_request(str(error)) from None
    else:
        workflow = read_workflow(given, shapes, replaced, most_nodes)
    if request.extra.get("resolve") is not True:
        return workflow
    resolved = resolve_texts(workflow.document, shapes, random.Random(), datetime.now())
    return replace(workflow, document=resolved, is_as_sent=False)


def _extra(request: Request, workflow: Workflow) -> Mapping[str, object]:
    """What goes with the job besides its workflow."""
    extra = dict(request.extra)
    if workflow.file is not None:
        pnginfo = extra.get("extra_pnginfo")
        extra["extra_pnginfo"] = {"workflow": workflow.file.raw, **(pnginfo if isinstance(pnginfo, dict) else {})}
    if request.client_id is not None:
        extra["client_id"] = request.client_id
    return extra


def _submission(request: Request, number: int, graph: Graph, workflow: Workflow, given: Given) -> Submission:
    with refusing_bad_json():  # writing needs a little more depth than reading
        written = dumps(given.extra)
    return Submission(
        id=request.id,
        number=request.place(number),
        prompt=request.prompt if request.prompt and workflow.is_as_sent else dumps(as_json(workflow.document)),
        extra=written,
        targets=graph.targets,
        client_id=request.client_id,
        priority=request.priority,
        types=frozenset(node.spec.type for node in graph.nodes.values()),
        about=dumps(about(graph, request.extra)),
    )


def _is_refused_whole(document: Document, graph: Graph) -> bool:
    return any(problem.code in _WHOLE_PROMPT and problem.node_id in document.nodes for problem in graph.problems)


def _refused(top: Mapping[str, object], node_errors: Mapping[str, object]) -> Refused:
    return Refused(400, str(top["type"]), str(top["message"]), {"error": top, "node_errors": node_errors})


def _taken_apart(body: bytes) -> tuple[Mapping[str, object], str]:
    """The members of the body, none if it is no object, and the JSON of its prompt exactly as it was sent."""
    with refusing_bad_json():
        text = body.decode("utf-8-sig")
        reader = Reader(text, decoder(json_object))
        start = reader.skip(0)
        if not text.startswith("{", start):
            reader.finish(reader.value(start)[1])
            return {}, ""
        members, end = reader.members(start, MEMBERS)
        reader.finish(end)
    prompt = next((text[member.start : member.end] for member in reversed(members) if member.key == "prompt"), "")
    return {member.key: member.value for member in members}, prompt


def _id(value: object, name: str) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > ID_LENGTH or not is_text(value) or not value.isprintable():
        raise bad_request(f"{name}: expected a text of at most {ID_LENGTH} printable characters")
    return value


def _number(value: object) -> float | None:
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= LARGEST:
        raise bad_request(f"number: expected a number from -{LARGEST} to {LARGEST}")
    return number


def priority_of(value: object) -> int:
    """A priority that jobs may have. Raises Refused."""
    if isinstance(value, bool) or not isinstance(value, int) or value not in PRIORITIES:
        raise bad_request(f"priority: expected a whole number from {PRIORITIES[0]} to {PRIORITIES[-1]}")
    return value


def _targets(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str | int) for item in value):
        raise bad_request("partial_execution_targets: expected a list of node ids")
    return tuple(dict.fromkeys(str(item) for item in value))
