"""`main.py submit`: sends a workflow to a server that runs already."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from server.carried import carried, read_file
from server.sweep_options import read_option

DONE, FAILED, REFUSED = 0, 1, 2  # exit statuses
POLL_SECONDS = 0.2


class Unreachable(Exception):
    """The server does not answer, or not as it should; the message says how."""


def submit(server: str, workflow: str, wait: bool, sweeps: Sequence[str] = (), *, resolve: bool = False) -> int:
    """Queue a workflow file (`-`: standard input); with `wait` print what it made. Returns the exit status.

    sweeps: see `sweep_options`; what inputs there are is asked of the server. resolve: texts are as editors queue them.
    """
    try:
        content = read_file(workflow)
        found = carried(content)
        prompt: Any = found.request() if found.has_workflow() else None
    except (OSError, ValueError) as error:
        print(f"{workflow}: {error}", file=sys.stderr)
        return REFUSED
    try:
        if prompt is None or (sweeps and "nodes" in prompt):
            prompt = _converted(server, content)
        prompt = _swept(server, prompt, sweeps)
        body = {"prompt": prompt, "prompt_id": str(uuid.uuid4())} | (
            {"extra_data": {"resolve": True}} if resolve else {}
        )
        status, answer = _call(server, "/prompt", body)
        _tell_problems(answer)
        if status != 200:
            return REFUSED
        prompt_id = answer["prompt_id"]
        if not wait:
            print(prompt_id)
            return DONE
        return _wait(server, prompt_id)
    except ValueError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except Unreachable as error:
        print(error, file=sys.stderr)
        return FAILED


def _converted(server: str, content: bytes) -> Any:
    """The file in the API format, which the server makes of it: it knows the node types. Raises ValueError, Unreachable."""
    status, answer = _call(server, "/workflow/convert", content)
    if status != 200:
        raise ValueError(f"{server} cannot convert the workflow: {answer['error']['message']}")
    return answer


def _swept(server: str, prompt: Any, sweeps: Sequence[str]) -> Any:
    """The workflow with several values where `--sweep` says so. Raises ValueError, Unreachable."""
    if not sweeps:
        return prompt
    nodes = prompt if isinstance(prompt, dict) else {}
    for typed in sweeps:
        option = read_option(typed, nodes)
        node = nodes[option.node]
        if not isinstance(node, dict) or not isinstance(inputs := node.get("inputs", {}), dict):
            raise ValueError(f"--sweep {typed}: node {option.node!r} is none")
        raw = option.on(str(node.get("class_type")), lambda type_: _described(server, type_))
        nodes = {**nodes, option.node: {**node, "inputs": {**inputs, option.input: raw}}}
    return nodes


def _described(server: str, class_type: str) -> Any:
    status, answer = _call(server, f"/object_info/{quote(class_type, safe='')}")
    return answer.get(class_type) if status == 200 else None


def _wait(server: str, prompt_id: str) -> int:
    while True:
        _, job = _call(server, f"/api/jobs/{prompt_id}")
        match job.get("status"):
            case "completed":
                for address in _addresses(server, job["outputs"]):
                    print(address)
                return DONE
            case "failed" | "cancelled" as state:
                error = job.get("execution_error") or {}
                place = f" at node {error['node_id']} ({error['node_type']})" if error.get("node_id") else ""
                print(f"{state}{place}: {error.get('exception_message', 'the job was stopped')}", file=sys.stderr)
                return FAILED
        time.sleep(POLL_SECONDS)


def _call(server: str, path: str, body: object = None) -> tuple[int, Any]:
    """The status and JSON of an answer; refusals are answers too. Raises Unreachable."""
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("DARKROOM_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        request = urllib.request.Request(server.rstrip("/") + path, data, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        try:
            return error.code, json.load(error)
        except ValueError:
            raise Unreachable(f"{server} answers {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise Unreachable(f"{server} does not answer: {getattr(error, 'reason', error)}; see --server") from error


def _tell_problems(answer: Any) -> None:
    if error := answer.get("error"):
        print(f"{error['message']} {error.get('details', '')}".strip(), file=sys.stderr)
    for node_id, entry in answer.get("node_errors", {}).items():
        for problem in entry["errors"]:
            print(f"node {node_id} ({entry['class_type']}): {problem['details']}", file=sys.stderr)


def _addresses(server: str, outputs: Any) -> list[str]:
    """Where the files of a job can be fetched."""
    return [
        f"{server.rstrip('/')}/view?{urlencode({key: file[key] for key in ('filename', 'subfolder', 'type')})}"
        for shown in outputs.values()
        for entries in shown.values()
        for file in entries
        if isinstance(file, dict) and "filename" in file
    ]
