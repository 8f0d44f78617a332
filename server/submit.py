"""`main.py submit`: sends a workflow to a server that runs already."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from graph.node_shapes import Shapes, read_shape
from server.carried import carried, read_file
from server.client import BlockingClient, RefusedError, Unreachable
from server.sweep_options import read_option
from server.workflow_files import step_seeds

DONE, FAILED, REFUSED = 0, 1, 2  # exit statuses


def submit(
    server: str,
    workflow: str,
    wait: bool,
    sweeps: Sequence[str] = (),
    *,
    resolve: bool = False,
    seed_after: bool = False,
) -> int:
    """Queue a workflow file (`-`: standard input); with `wait` print what it made. Returns the exit status.

    sweeps: see `sweep_options`; what inputs there are is asked of the server. resolve: texts are as editors queue them.
    seed_after: once it is accepted, the file gets its next seeds, as an editor has them.
    """
    try:
        content = read_file(workflow)
        found = carried(content)
        prompt: Any = found.request() if found.has_workflow() else None
    except (OSError, ValueError) as error:
        print(f"{workflow}: {error}", file=sys.stderr)
        return REFUSED
    try:
        with BlockingClient(server) as client:
            if prompt is None or (sweeps and "nodes" in prompt):
                prompt = client.post("/workflow/convert", content)  # the server knows the node types
            accepted = client.submit(_swept(client, prompt, sweeps), extra={"resolve": True} if resolve else None)
            for problem in accepted.problems:
                print(problem, file=sys.stderr)
            if seed_after and (status := step_seeds(workflow, _shapes(client))) != DONE:
                return status
            if not wait:
                print(accepted.id)
                return DONE
            return _wait(client, accepted.id)
    except RefusedError as refused:
        print("\n".join(refused.problems), file=sys.stderr)
        return REFUSED
    except ValueError as error:
        print(error, file=sys.stderr)
        return REFUSED
    except Unreachable as error:
        print(f"{error}; see --server", file=sys.stderr)
        return FAILED


def _wait(client: BlockingClient, job: str) -> int:
    ended = client.wait(job)
    if ended.status != "completed":
        joint = " at " if ended.error.startswith("node ") else ": "
        print(f"{ended.status}{joint}{ended.error or 'the job was stopped'}", file=sys.stderr)
        return FAILED
    for file in ended.files:
        print(client.address_of(file))
    return DONE


def _swept(client: BlockingClient, prompt: Any, sweeps: Sequence[str]) -> Any:
    """The workflow with several values where `--sweep` says so. Raises ValueError, Unreachable."""
    nodes = prompt if isinstance(prompt, dict) else {}
    for typed in sweeps:
        option = read_option(typed, nodes)
        node = nodes[option.node]
        if not isinstance(node, dict) or not isinstance(inputs := node.get("inputs", {}), dict):
            raise ValueError(f"--sweep {typed}: node {option.node!r} is none")
        raw = option.on(str(node.get("class_type")), lambda type_: _described(client, type_))
        nodes = {**nodes, option.node: {**node, "inputs": {**inputs, option.input: raw}}}
    return nodes if sweeps else prompt


def _shapes(client: BlockingClient) -> Shapes:
    """The shapes of the server's node types."""
    types: Any = client.get("/object_info")
    return lambda name: read_shape(name, types[name]) if name in types else None


def _described(client: BlockingClient, class_type: str) -> Any:
    try:
        return client.get(f"/object_info/{quote(class_type, safe='')}").get(class_type)
    except RefusedError:
        return None
