"""What programs that draw can do here, over a client: find node types, build, check and run workflows, look at pictures."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote

from PIL import Image

from server.client import Client, Job, RefusedError, sweep
from server.fixes import fix

Json: TypeAlias = dict[str, Any]
WorkflowOrName: TypeAlias = str | Json

CHOICES = 12
"""Names of a list that are told; `list_models` and `node_help` tell all."""
PICTURES = 4
SIDE = 768
"""Pixels of a side of pictures that are shown."""
FOLDER = "workflows"


class CannotError(Exception):
    """What was asked cannot be done; the message says why and what would."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to be looked at: its bytes, and what they are (`jpeg`)."""

    name: str
    content: bytes
    format: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool tells, as JSON, with pictures to look at."""

    told: Any
    pictures: tuple[Picture, ...] = ()


class Tools:
    """Each method is a tool, and its docstring what programs read of it."""

    def __init__(self, client: Client, program: str) -> None:
        """program: who it is, for the queue and the editor."""
        self._client = client
        self._program = program

    async def search_nodes(self, query: str, limit: int = 8) -> Result:
        """Find node types by name, by what they do, or by what they take and give: "inpaint", "upscale model", "MASK".

        Gives each with its inputs and outputs, best first.
        """
        types = await self._types()
        words = query.lower().split()
        scores = {name: _score(words, name, entry) for name, entry in types.items()}
        best = sorted((name for name, score in scores.items() if score), key=lambda name: (-scores[name], name))
        return Result([_described(name, types[name], brief=True) for name in best[: max(1, min(limit, 40))]])

    async def node_help(self, node_type: str) -> Result:
        """All there is to know of a node type: every input with its range or choices, outputs, and its help text."""
        types = await self._types()
        if node_type not in types:
            unknown = {"code": "missing_node_type", "node_type": node_type}
            raise CannotError(f"there is no node type {node_type!r}; {fix(unknown, {}, types)}")
        told = _described(node_type, types[node_type], brief=False)
        try:
            page = await self._client.get_bytes(f"/docs/{quote(node_type, safe='')}/en.md")
        except RefusedError:
            return Result(told)
        return Result(told | {"help": page.decode("utf-8", "replace")})

    async def list_models(self, folder: str = "") -> Result:
        """Names of model files in a folder such as checkpoints, loras, vae, controlnet, embeddings; without one, the
        folders that hold any.
        """
        if folder:
            return Result(await self._client.get(f"/models/{quote(folder, safe='')}"))
        folders = await self._client.get("/models")
        held = await asyncio.gather(*(self._client.get(f"/models/{quote(name, safe='')}") for name in folders))
        return Result({name: len(names) for name, names in zip(folders, held, strict=True) if names})

    async def list_workflows(self) -> Result:
        """The user's workflow files, and the examples that come with the program, with what each shows."""
        try:
            files = await self._client.get(f"/userdata?dir={FOLDER}&recurse=true")
        except RefusedError:
            files = []
        examples = await self._client.get("/examples")
        shown = {f"example:{each['name']}": each["description"].get("en", "") for each in examples}
        return Result({"files": [name for name in files if name.endswith(".json")], "examples": shown})

    async def read_workflow(self, name: str) -> Result:
        """A workflow file as a graph: its nodes by id, each with its type and inputs; a wire is [node, output]."""
        return Result(await self._graph(name))

    async def edit_workflow(self, name: str, edits: list[Json], create: bool = False) -> Result:
        """Change a workflow file of the user; an editor that has it open shows it at once. `create` begins a new one.

        edits, in order:
        {"add": "KSampler", "name": "draw", "inputs": {"steps": 20, "model": ["loader", "MODEL"]}}: a new node; inputs that
        are not given have their defaults; a wire is [node, output], with the output's number or name; `name` is what later
        edits of this call know the node by.
        {"set": "draw", "inputs": {"cfg": 6.5, "positive": ["7", 0]}}: values and wires; null takes one away.
        {"remove": "7"}: a node and its wires.
        Gives the ids of new nodes by their names, and all that is wrong with the workflow now: "valid" means it will run.
        """
        file = _file(name)
        body = {"file": f"{FOLDER}/{file}", "edits": edits, "create": create, "by": self._program}
        done = await self._client.post("/workflow/edit", body)
        return Result({"file": file, "ids": done["ids"], **await self._verdict(done["report"], file)})

    async def write_workflow(self, name: str, workflow: Json, overwrite: bool = False) -> Result:
        """Keep a whole workflow, JSON of the API or the editor's format, as a file of the user, laid out for the editor."""
        file = _file(name)
        document = workflow if "nodes" in workflow else await self._client.post("/workflow/convert?to=editor", workflow)
        path = quote(f"{FOLDER}/{file}", safe="")
        await self._client.post(f"/userdata/{path}?overwrite={'true' if overwrite else 'false'}", document)
        return await self.check_workflow(file)

    async def check_workflow(self, workflow: WorkflowOrName) -> Result:
        """Everything that is wrong with a workflow, a file's name or JSON of either format, with what would mend it.

        "valid" means that the server will run it.
        """
        given = workflow if isinstance(workflow, dict) else await self._document(workflow)
        return Result(await self._verdict(await self._client.post("/workflow/check", given), given))

    async def run_workflow(
        self,
        workflow: WorkflowOrName,
        values: Json | None = None,
        sweep_values: Json | None = None,
        wait_seconds: float = 60.0,
    ) -> Result:
        """Run a workflow, a file's name or JSON of either format, and look at what it made.

        values: {"3.seed": 7} gives inputs other values for this run. sweep_values: {"3.cfg": [2, 4, 8]} runs every
        combination as one job. wait_seconds: how long to wait; wait_for_job goes on waiting after that.
        """
        graph = await self._graph(workflow)
        for target, value in (values or {}).items():
            graph = _with_value(graph, target, value)
        if sweep_values:
            graph = sweep(graph, sweep_values)
        named = {"workflow_name": workflow.removesuffix(".json")} if isinstance(workflow, str) else {}
        try:
            accepted = await self._client.submit(graph, extra={"program": self._program, **named})
        except RefusedError as error:
            verdict = await self._verdict(await self._client.post("/workflow/check", graph), graph)
            raise CannotError("\n".join(verdict["problems"]) or "\n".join(error.problems)) from None
        ended = await self.wait_for_job(accepted.id, wait_seconds)
        return Result({**ended.told, "left_out": list(accepted.problems)}, ended.pictures)

    async def wait_for_job(self, job: str, seconds: float = 60.0) -> Result:
        """Wait until a job has ended, at most so long; gives its state, its files, warnings, and some of its pictures."""
        found = await self._client.job(job)
        try:
            async with asyncio.timeout(max(0.0, min(seconds, 3600.0))):
                found = await self._client.wait(job)
        except TimeoutError:
            return Result({"job": job, "status": found.status, "hint": "wait_for_job waits on"})
        return Result(_ended(found), await self._pictures(found, PICTURES) if found.files else ())

    async def look_at(self, job: str, most: int = PICTURES) -> Result:
        """See the pictures that a job has made, small."""
        found = await self._client.job(job)
        return Result(_ended(found), await self._pictures(found, most))

    async def explain_job(self, job: str) -> Result:
        """Of each node of a job that has ended: whether it ran or its result was at hand, why, and how long it took."""
        return Result(await self._client.explain(job))

    async def cancel_job(self, job: str) -> Result:
        """Stop a job that runs or waits. What it has made is kept."""
        return Result({"cancelled": await self._client.cancel(job)})

    async def list_jobs(self, limit: int = 10) -> Result:
        """The newest jobs, with their state and what they are."""
        answer = await self._client.get(f"/api/jobs?limit={max(1, min(limit, 100))}&sort_order=desc")
        return Result([_listed(each) for each in answer["jobs"]])

    async def upload_picture(self, name: str, content_base64: str) -> Result:
        """Send a picture to the input folder; gives the name that LoadImage knows it by."""
        try:
            content = base64.b64decode(content_base64, validate=True)
        except (binascii.Error, ValueError):
            raise CannotError("content_base64: expected the bytes of a picture in base64") from None
        return Result(await self._client.upload(content, name))

    async def _types(self) -> Json:
        found: Json = await self._client.get("/object_info")
        return found

    async def _graph(self, workflow: WorkflowOrName) -> Json:
        """A workflow in the API format. Raises RefusedError for what is none."""
        given = workflow if isinstance(workflow, dict) else await self._document(workflow)
        graph: Json = await self._client.post("/workflow/convert", given)
        return graph

    async def _document(self, name: str) -> Json:
        """The JSON of a workflow file of the user, or of an example."""
        if name.startswith("example:"):
            path = f"/examples/{quote(name.removeprefix('example:').removesuffix('.json'), safe='')}.json"
        else:
            path = f"/userdata/{quote(f'{FOLDER}/{_file(name)}', safe='')}"
        try:
            found: Json = await self._client.get(path)
        except RefusedError as error:
            raise CannotError(f"there is no workflow {name!r}; list_workflows tells which there are") from error
        return found

    async def _verdict(self, report: Mapping[str, Any], workflow: WorkflowOrName) -> Json:
        """A report of `/workflow/check` in lines, each with what would mend it."""
        lines = [f"node type {each['type']} is unknown (node {', '.join(each['nodes'])})" for each in report["types"]]
        lines += [f"model {each['name']} is not in {each['folder'] or 'any folder'}" for each in report["models"]]
        if report["errors"] or report["types"]:
            types, graph = await self._types(), await self._graph(workflow)
            lines += [_line(each, graph, types) for each in report["errors"]]
        warnings = [_line(each, {}, {}) for each in report["warnings"]]
        return {"valid": not lines, "problems": lines, **({"warnings": warnings} if warnings else {})}

    async def _pictures(self, job: Job, most: int) -> tuple[Picture, ...]:
        shown = [file for file in job.files if file.name.lower().endswith((".png", ".jpg", ".jpeg", ".webp", ".avif"))]
        seen = []
        for file in shown[: max(0, min(most, 16))]:
            content = await self._client.fetch(file, preview="jpeg;85")
            seen.append(Picture(file.name, await asyncio.to_thread(_small, content), "jpeg"))
        return tuple(seen)


def _small(content: bytes) -> bytes:
    """A JPEG of at most SIDE pixels a side."""
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as picture:
        if max(picture.size) <= SIDE:
            return content
        picture.thumbnail((SIDE, SIDE))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=85)
        return buffer.getvalue()


def _listed(job: Mapping[str, Any]) -> Json:
    about = {key: value for key, value in (job.get("about") or {}).items() if value is not None}
    return {"job": job["id"], "status": job["status"], "about": about}


def _file(name: str) -> str:
    return name if name.endswith(".json") else f"{name}.json"


def _with_value(graph: Json, target: str, value: object) -> Json:
    node_id, dot, name = target.rpartition(".")
    if not dot or node_id not in graph:
        raise CannotError(
            f"values: {target!r}: the workflow has no node {node_id!r}; expected NODE.INPUT, such as 3.seed"
        )
    node = graph[node_id]
    return {**graph, node_id: {**node, "inputs": {**node["inputs"], name: value}}}


def _ended(job: Job) -> Json:
    files = [
        {"node": file.node, "name": file.name, "subfolder": file.subfolder, "type": file.kind} for file in job.files
    ]
    told: Json = {"job": job.id, "status": job.status, "files": files}
    warnings = job.record.get("warnings")
    return told | ({"error": job.error} if job.error else {}) | ({"warnings": warnings} if warnings else {})


def _line(problem: Mapping[str, Any], nodes: Mapping[str, Any], types: Mapping[str, Any]) -> str:
    place = f"node {problem['node_id']} ({problem['node_type']})" if problem.get("node_id") else ""
    about = ", ".join(filter(None, [place, f"input {problem['input_name']}" if problem.get("input_name") else ""]))
    mend = fix(problem, nodes, types)
    return (f"{about}: " if about else "") + problem["message"] + (f"; {mend}" if mend else "")


def _score(words: list[str], name: str, entry: Mapping[str, Any]) -> int:
    """How well a node type fits: every word has to stand somewhere, and its name counts most."""
    title = f"{name} {entry.get('display_name', '')}".lower()
    about = f"{entry.get('category', '')} {' '.join(entry.get('search_aliases', ()))}".lower()
    sockets = [
        *(str(given).lower() for given in entry.get("output", ())),
        *(kind.lower() for _, kind, _, _ in _inputs(entry)),
    ]
    text = f"{entry.get('description', '')} {' '.join(name for name, *_ in _inputs(entry))}".lower()
    total = 0
    for word in words:
        found = 8 * (word in title) + 4 * (word in about) + 3 * (word in sockets) + (word in text)
        if not found:
            return 0
        total += found
    return total


def _inputs(entry: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any], bool]]:
    """Name, type, options and whether it must be given, of each input."""
    for group in ("required", "optional"):
        for name, declared in entry.get("input", {}).get(group, {}).items():
            options = declared[1] if len(declared) > 1 else {}
            if isinstance(declared[0], list):
                yield name, "COMBO", {**options, "options": declared[0]}, group == "required"
            else:
                yield name, declared[0], options, group == "required"


def _described(name: str, entry: Mapping[str, Any], *, brief: bool) -> Json:
    inputs = {each: _input(kind, options, needed, brief) for each, kind, options, needed in _inputs(entry)}
    given = zip(entry.get("output_name", ()), entry.get("output", ()), strict=False)
    outputs = [f"{at}: {kind}" + (f" ({label})" if label != kind else "") for at, (label, kind) in enumerate(given)]
    told: Json = {"type": name, "title": entry.get("display_name", name), "about": entry.get("description", "")}
    if not brief:
        told["category"] = entry.get("category", "")
    return told | {"inputs": inputs, "outputs": outputs}


def _input(kind: str, options: Mapping[str, Any], needed: bool, brief: bool) -> str:
    choices = options.get("options")
    if isinstance(choices, list):
        names = [str(each.get("key")) if isinstance(each, dict) else str(each) for each in choices]
        more = f", … ({len(names)} in all)" if brief and len(names) > CHOICES else ""
        kind = f"one of {', '.join(names[:CHOICES] if brief else names)}{more}"
    bounds = (
        f" from {options['min']} to {options['max']}" if "min" in options and "max" in options and not brief else ""
    )
    default = f", default {options['default']!r}" if "default" in options and options["default"] != "" else ""
    tip = f". {options['tooltip']}" if not brief and options.get("tooltip") else ""
    return f"{kind}{bounds}{default}{'' if needed else ', may be left out'}{tip}"
