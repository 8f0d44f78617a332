"""What lists say of a job: its prompt, its seed, the name of its workflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from graph.build import build
from graph.context import Context
from graph.document import read
from graph.files import Folders
from graph.result import Outputs
from graph.sockets import Int, Text
from graph.spec import Registry, node
from server.about import WORDS, about
from tests.server.loop import in_loop
from tests.server.support import chain, deps_of, serving


class Said:
    """A value of its own type."""

    socket = "SAID"


@node("Say", category="stub")
def say(ctx: Context[Any], *, text: Annotated[str, Text(multiline=True)]) -> Said:
    """Words."""
    return Said()


@node("Join", category="stub")
def join(ctx: Context[Any], *, one: Said, other: Said) -> Said:
    """Both."""
    return Said()


@node("Draw", category="stub")
def draw(ctx: Context[Any], *, seed: Annotated[int, Int(0, 2**64 - 1)], negative: Said, positive: Said) -> Said:
    """A picture."""
    return Said()


@node("Keep", category="stub", terminal=True)
def keep(ctx: Context[Any], *, image: Said) -> Outputs:
    """A file."""
    return Outputs(())


def _about(tmp_path: Path, extra: dict[str, object] | None = None, **inputs: dict[str, Any]) -> Any:
    types = {"bad": "Say", "a": "Say", "b": "Say", "both": "Join", "first": "Draw", "second": "Draw", "out": "Keep"}
    prompt = {name: {"class_type": types[name], "inputs": values} for name, values in inputs.items()}
    registry = Registry([say, join, draw, keep])
    return about(build(read(prompt), registry, Folders.standard(tmp_path)), extra or {})


def test_the_prompt_is_what_feeds_the_sampler_nearest_to_the_end(tmp_path: Path) -> None:
    said = _about(
        tmp_path,
        {"workflow_name": " My\n  cats ", "extra_pnginfo": {"workflow": {"id": "0c-1"}}},
        bad={"text": "blurry"},
        a={"text": "  a red\ncat  "},
        b={"text": "oil"},
        both={"one": ["a", 0], "other": ["b", 0]},
        first={"seed": 1, "negative": ["bad", 0], "positive": ["b", 0]},
        second={"seed": 2**64 - 1, "negative": ["first", 0], "positive": ["both", 0]},
        out={"image": ["second", 0]},
    )
    assert said == {"prompt": "a red cat", "seed": 2**64 - 1, "workflow_name": "My cats", "workflow_id": "0c-1"}


def test_what_is_not_there_is_null_and_long_words_are_cut(tmp_path: Path) -> None:
    nothing = {"prompt": None, "seed": None, "workflow_name": None, "workflow_id": None}
    assert _about(tmp_path, {"workflow_name": 7}, a={"text": " "}, out={"image": ["a", 0]}) == nothing
    said = _about(tmp_path, a={"text": {"__sweep__": ["x" * 5000, "y"]}}, out={"image": ["a", 0]})
    assert said == nothing | {"prompt": "x" * WORDS, "swept": True}


@in_loop
async def test_lists_of_jobs_say_what_they_are(tmp_path: Path) -> None:
    async with serving(deps_of(tmp_path)) as client:
        await client.post("/queue/pause")
        id_ = await client.queue(chain(seed=41), extra_data={"workflow_name": "counting"})
        said = {"prompt": None, "seed": 41, "workflow_name": "counting", "workflow_id": None}
        (job,) = (await client.get("/api/jobs"))["jobs"]
        assert job["status"] == "pending" and job["about"] == said
        assert (await client.get(f"/api/jobs/{id_}"))["about"] == said
