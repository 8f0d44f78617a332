"""A client for Darkroom's server, asynchronous and blocking, in one file that needs only aiohttp and may be copied.

async with Client("http://127.0.0.1:8188") as client:
    workflow = sweep(json.load(open("workflow.json")), {"3.cfg": [2, 4, 6]})
    job = await client.wait((await client.submit(workflow)).id)
    for file in job.files:
        Path(file.name).write_bytes(await client.fetch(file))

with BlockingClient() as client:
    name = client.upload("photo.png")
    for message in client.stream(client.submit(workflow).id):
        print(message.type, message.data)
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp

T = TypeVar("T")

ADDRESS = "http://127.0.0.1:8188"
POLL_SECONDS = 0.2
PATIENCE_SECONDS = 60.0
ENDED = frozenset({"completed", "failed", "cancelled"})


class Unreachable(Exception):
    """The server does not answer, or not as it should; the message says how."""


class RefusedError(Exception):
    """The server refused a request. `node_errors` says what is wrong with which node of a workflow."""

    def __init__(self, status: int, message: str, node_errors: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        self.node_errors = node_errors

    @property
    def problems(self) -> list[str]:
        """The message, and a line for each problem of a node."""
        return [str(self), *_lines(self.node_errors)]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job in the queue. `problems`: a line for each fault that keeps some of its outputs from being made."""

    id: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """A file that a node of a job wrote. `cell` is its place on the axes of a sweep, slowest first."""

    node: str
    name: str
    subfolder: str = ""
    kind: str = "output"
    cell: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the server has it. `status`: pending, in_progress, completed, failed or cancelled; `error` says why it
    failed; `record` is all that `GET /api/jobs/{id}` answers.
    """

    id: str
    status: str
    files: tuple[File, ...]
    error: str
    record: Mapping[str, Any]

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class Message:
    """What a run tells: a type with its data, or a preview, whose `data` are the bytes of a binary frame."""

    type: str
    data: Any


def sweep(workflow: Mapping[str, Any], values: Mapping[str, Sequence[object]], *, axis: str = "") -> dict[str, Any]:
    """The workflow (API format) with several values in some inputs: `{"3.cfg": [2, 4, 6], "3.seed": range(8)}`.

    Every combination becomes a cell of one job; inputs that share the `axis` are taken in step. Raises ValueError for a
    node that is not there.
    """
    swept = {node_id: dict(node) for node_id, node in workflow.items()}
    for target, several in values.items():
        node_id, dot, name = target.rpartition(".")
        if not dot or node_id not in swept:
            raise ValueError(f"the workflow has no node {node_id!r}; expected NODE.INPUT, such as 3.cfg")
        given = {"__sweep__": list(several), **({"axis": axis} if axis else {})}
        swept[node_id]["inputs"] = {**swept[node_id].get("inputs", {}), name: given}
    return swept


class Client:
    """Speaks to one server, for the length of an `async with`. Methods raise Unreachable and RefusedError."""

    def __init__(self, address: str = ADDRESS, token: str | None = None, *, trust: bool = False) -> None:
        """token: what a server that others can reach asks for; by default the environment's DARKROOM_TOKEN.

        trust: whatever certificate the server has is its own.
        """
        self._trust = trust
        self._address = address.rstrip("/")
        self._token = os.environ.get("DARKROOM_TOKEN") if token is None else token
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        connector = aiohttp.TCPConnector(ssl=not self._trust)
        self._session = aiohttp.ClientSession(
            headers=headers, connector=connector, timeout=aiohttp.ClientTimeout(PATIENCE_SECONDS)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def submit(
        self,
        workflow: Mapping[str, Any],
        *,
        job: str | None = None,
        extra: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> Accepted:
        """Queue a workflow; gives the job's id once it is on the server's disk, and what of it cannot run. Called again with the same `job` and
        workflow, it is the same job. extra: `extra_data`, such as `{"webhook": "https://…"}`.
        """
        body = {"prompt": workflow, "prompt_id": job or str(uuid.uuid4()), "priority": priority}
        answer = await self.post("/prompt", body | ({"extra_data": extra} if extra else {}))
        return Accepted(str(answer["prompt_id"]), tuple(_lines(answer.get("node_errors") or {})))

    async def job(self, job: str) -> Job:
        """A job as it is now."""
        record = await self.get(f"/api/jobs/{quote(job, safe='')}")
        error = record.get("execution_error") or {}
        place = f"node {error['node_id']} ({error['node_type']}): " if error.get("node_id") else ""
        message = f"{place}{error['exception_message']}" if error else ""
        return Job(job, record["status"], tuple(_files(record["outputs"])), message, record)

    async def wait(self, job: str, *, poll: float = POLL_SECONDS) -> Job:
        """The job, once it has ended. poll: seconds between looks."""
        while not (found := await self.job(job)).has_ended:
            await asyncio.sleep(poll)
        return found

    async def stream(self, job: str) -> AsyncIterator[Message]:
        """What a job tells, from its beginning to its end, whoever submitted it; of one that has ended what is kept."""
        address = f"{self._address}/ws?clientId={uuid.uuid4()}&watch={quote(job, safe='')}"
        try:
            async with self._open.ws_connect(address, timeout=aiohttp.ClientWSTimeout(ws_close=1.0)) as socket:
                if (found := await self.job(job)).has_ended:
                    for type_, data in found.record["execution_status"]["messages"]:
                        yield Message(type_, data)
                    return
                async for frame in socket:
                    if frame.type is aiohttp.WSMsgType.BINARY:
                        yield Message("preview", frame.data)
                        continue
                    said = json.loads(frame.data)
                    data = said.get("data", {})
                    if data.get("prompt_id") == job:
                        yield Message(said["type"], data)
                        if said["type"] == "executing" and data.get("node") is None:
                            return
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(f"{self._address} does not answer: {error}") from error
        raise Unreachable(f"{self._address} closed the connection before the job had ended")

    async def cancel(self, job: str) -> bool:
        """Take a waiting job out of the queue, or stop a running one; whether it did either. What it has made is kept."""
        answer = await self.post(f"/api/jobs/{quote(job, safe='')}/cancel")
        return bool(answer["cancelled"])

    async def explain(self, job: str) -> list[dict[str, Any]]:
        """What each node of a job that has ended did, and why."""
        answer = await self.get(f"/api/jobs/{quote(job, safe='')}/explain")
        return list(answer["nodes"])

    async def upload(self, picture: str | Path | bytes, name: str = "", *, overwrite: bool = False) -> str:
        """Send a picture to the input directory; gives the name that LoadImage knows it by.

        picture: a file, or its content, which then needs a `name`.
        """
        content = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
        form = aiohttp.FormData()
        form.add_field(
            "image", content, filename=name or ("upload.png" if isinstance(picture, bytes) else Path(picture).name)
        )
        form.add_field("overwrite", "true" if overwrite else "false")
        stored = await self._json("POST", "/upload/image", form)
        return f"{stored['subfolder']}/{stored['name']}" if stored["subfolder"] else str(stored["name"])

    async def fetch(self, file: File, *, preview: str = "") -> bytes:
        """The content of a file that a job wrote; of a picture also in another form, such as `webp;90`."""
        query = {"filename": file.name, "subfolder": file.subfolder, "type": file.kind}
        return await self._call("GET", "/view", None, query | ({"preview": preview} if preview else {}))

    def address_of(self, file: File) -> str:
        """Where a browser finds it."""
        query = "&".join(
            f"{key}={quote(value, safe='')}"
            for key, value in (("filename", file.name), ("subfolder", file.subfolder), ("type", file.kind))
        )
        return f"{self._address}/view?{query}"

    async def get(self, path: str) -> Any:
        """The JSON that any route answers."""
        return await self._json("GET", path, None)

    async def get_bytes(self, path: str) -> bytes:
        """What any route answers, as it is."""
        return await self._call("GET", path, None, {})

    async def post(self, path: str, body: object = None) -> Any:
        """Send JSON, or bytes as they are, to any route; its JSON, None for an empty answer."""
        return await self._json("POST", path, body if body is None or isinstance(body, bytes) else json.dumps(body))

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("a client is used within `async with`")
        return self._session

    async def _json(self, method: str, path: str, body: str | bytes | aiohttp.FormData | None) -> Any:
        content = await self._call(method, path, body, {})
        try:
            return json.loads(content) if content else None
        except ValueError as error:
            raise Unreachable(f"{self._address} answers with something that is no JSON") from error

    async def _call(
        self, method: str, path: str, body: str | bytes | aiohttp.FormData | None, query: Mapping[str, str]
    ) -> bytes:
        headers = {"Content-Type": "application/json"} if isinstance(body, str | bytes) else {}
        try:
            async with self._open.request(
                method, self._address + path, data=body, headers=headers, params=query
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise Unreachable(f"{self._address} does not answer: {error}") from error
        if answer.status >= 400:
            raise _refused(answer.status, answer.reason or "", content)
        return content


class BlockingClient:
    """The same for programs that are not asynchronous, for the length of a `with`; see Client for what each does."""

    def __init__(self, address: str = ADDRESS, token: str | None = None) -> None:
        self._client = Client(address, token)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._do(self._client.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._client.__aexit__(kind, error, trace))
        self._runner.close()

    def submit(
        self,
        workflow: Mapping[str, Any],
        *,
        job: str | None = None,
        extra: Mapping[str, Any] | None = None,
        priority: int = 0,
    ) -> Accepted:
        return self._do(self._client.submit(workflow, job=job, extra=extra, priority=priority))

    def job(self, job: str) -> Job:
        return self._do(self._client.job(job))

    def wait(self, job: str, *, poll: float = POLL_SECONDS) -> Job:
        return self._do(self._client.wait(job, poll=poll))

    def stream(self, job: str) -> Iterator[Message]:
        messages = self._client.stream(job)
        while (message := self._do(_next(messages))) is not None:
            yield message

    def cancel(self, job: str) -> bool:
        return self._do(self._client.cancel(job))

    def explain(self, job: str) -> list[dict[str, Any]]:
        return self._do(self._client.explain(job))

    def upload(self, picture: str | Path | bytes, name: str = "", *, overwrite: bool = False) -> str:
        return self._do(self._client.upload(picture, name, overwrite=overwrite))

    def fetch(self, file: File, *, preview: str = "") -> bytes:
        return self._do(self._client.fetch(file, preview=preview))

    def address_of(self, file: File) -> str:
        return self._client.address_of(file)

    def get(self, path: str) -> Any:
        return self._do(self._client.get(path))

    def get_bytes(self, path: str) -> bytes:
        return self._do(self._client.get_bytes(path))

    def post(self, path: str, body: object = None) -> Any:
        return self._do(self._client.post(path, body))

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)


async def _next(messages: AsyncIterator[Message]) -> Message | None:
    return await anext(messages, None)


def _lines(node_errors: Mapping[str, Any]) -> Iterator[str]:
    for node_id, entry in node_errors.items():
        for problem in entry.get("errors", ()):
            yield f"node {node_id} ({entry.get('class_type')}): {problem.get('details', '')}"


def _refused(status: int, reason: str, content: bytes) -> RefusedError | Unreachable:
    try:
        answer = json.loads(content)
        error, node_errors = answer["error"], answer.get("node_errors") or {}
        message = f"{error['message']} {error.get('details') or ''}".strip()
    except (ValueError, TypeError, KeyError):
        return Unreachable(f"the server answers {status} {reason}")
    return RefusedError(status, message, node_errors)


def _files(outputs: Mapping[str, Any]) -> Iterator[File]:
    for node_id, shown in outputs.items():
        for entries in shown.values():
            for entry in entries if isinstance(entries, list) else ():
                if isinstance(entry, dict) and "filename" in entry:
                    subfolder, kind = str(entry.get("subfolder", "")), str(entry.get("type", "output"))
                    yield File(node_id, str(entry["filename"]), subfolder, kind, tuple(entry.get("cell", ())))
