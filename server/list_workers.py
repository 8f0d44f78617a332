"""`main.py workers`: what each worker of a server that runs holds and runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from server.client import BlockingClient, RefusedError, Unreachable

DONE, FAILED = 0, 1  # exit statuses


def list_workers(server: str) -> int:
    """Print a line for each worker. Returns the exit status."""
    try:
        with BlockingClient(server) as client:
            workers = client.get("/workers")["workers"]
    except RefusedError as refused:
        print("\n".join(refused.problems), file=sys.stderr)
        return FAILED
    except Unreachable as error:
        print(f"{error}; see --server", file=sys.stderr)
        return FAILED
    for worker in workers:
        print("  ".join(_columns(worker)))
    return DONE


def _columns(worker: Mapping[str, Any]) -> Iterator[str]:
    """`cuda:0  running 7fc8f529-…  sd15.safetensors 2.1 GiB`."""
    yield str(worker["id"])
    yield f"running {worker['job']}" if worker["job"] else str(worker["state"])
    if worker["draining"] and worker["job"]:
        yield "then no more"
    if worker["models"]:
        yield ", ".join(f"{name} {size / 2**30:.1f} GiB" for name, size in worker["models"].items())
    if worker["lost"]:
        yield f"lost {worker['lost']} times"
