"""The recorded conversations, held again with this server: real nodes over a tiny checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from graph.files import Folders
from tests.server.loop import in_loop
from tests.server.support import Client, Ear, deps_of, serving

RECORDED = json.loads((Path(__file__).parent.parent / "data" / "protocol" / "runs.json").read_text())
VALIDATION = json.loads((Path(__file__).parent.parent / "data" / "protocol" / "validation.json").read_text())
CHECKPOINT = "random-sd-v1-fp16.safetensors"

BETTER = {
    "float_for_int": 400,  # 3.7 steps are no whole number
    "prompt_is_list": 400,
    "prompt_is_string": 400,
    "raw_not_json": 400,
    "raw_empty_body": 400,
    "raw_json_null": 400,
    "raw_bad_utf8": 400,
}
"""Deliberate differences: what was lossy or answered 500."""

OTHER_TYPE = {
    "slot_out_of_range": {"3": "linked_slot_missing"},
    "dangling_link": {"3": "linked_node_missing"},
    "cycle": {"20": "dependency_cycle"},
    "image_file_missing": {"10": "value_not_in_list"},
    "inputs_missing": {"5": "required_input_missing"},
    "list_literal_2": {"6": "bad_linked_input"},
    "two_outputs_one_bad": {"30": "linked_node_missing", "31": "required_input_missing"},
    "unknown_node_class": {"3": "missing_node_type"},
    "missing_class_type": {"3": "invalid_prompt"},
}
"""Where the recording has a raw exception, nothing, or another node."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny_checkpoint import write_tiny_checkpoint

    base = tmp_path_factory.mktemp("base")
    write_tiny_checkpoint(base / "models" / "checkpoints" / CHECKPOINT)
    return base


def real_deps(base: Path) -> Any:
    """A server over the real nodes, put together as main.py does."""
    import main
    from server.backend import LocalBackend
    from server.options import parser

    options = parser().parse_args(["serve", "--cpu", "--force-fp32", "--base-directory", str(base)])
    folders = Folders.standard(base)
    everywhere = True  # as the server had it that was recorded: previews go to those as well who tell no features
    return deps_of(
        base,
        previews=everywhere,
        folders=folders,
        backend=LocalBackend(lambda: main.open_engine(options, folders), folders),
    )


def shape(value: object) -> object:
    """The keys of an object, all the way down; values do not count."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else "value"


def per_node(messages: list[tuple[str, Any]]) -> dict[str, list[str]]:
    """What is told of each node, in order; nodes may interleave. Previews are looked at on their own."""
    told: dict[str, list[str]] = {}
    for type_, data in messages:
        if type_ in ("executing", "progress", "executed") and data["node"] is not None:
            told.setdefault(data["node"], []).append(type_)
    return told


def frame(messages: list[tuple[str, Any]]) -> list[str]:
    """What is told of the run as a whole."""
    whole = []
    for type_, data in messages:
        if type_.startswith("execution_") or type_ == "status":
            whole.append(type_)
        elif type_ == "executing" and data["node"] is None:
            whole.append("closing")
    return whole


def last_states(messages: list[tuple[str, Any]]) -> Any:
    """Value, maximum and state of every node at the end."""
    states = [data.get("nodes", data) for type_, data in messages if type_ == "progress_state"][-1]
    return {
        node: [entry["value"], entry["max"], entry["state"]] if isinstance(entry, dict) else entry
        for node, entry in states.items()
    }


def check(heard: list[tuple[str, Any]], recorded: dict[str, Any]) -> None:
    """The messages agree with the recorded ones."""
    told = [(type_, data) for type_, data in recorded["messages"]]
    assert frame(heard) == frame(told)
    assert per_node(heard) == per_node(told)
    assert last_states(heard) == last_states(told)
    shapes = {type_: shape(data) for type_, data in reversed(told) if type_ not in ("progress_state", "binary")}
    for type_, data in heard:
        if type_ not in ("progress_state", "binary", "executing", "status", "execution_cached", "feature_flags"):
            assert shape(data) == shapes[type_], type_
    types = [type_ for type_, _ in heard if type_ != "progress_state"]
    for i, type_ in enumerate(types):
        if type_ == "binary":
            neighbour = types[i + 1] if recorded["features"] else types[i - 1]
            assert neighbour == "progress"


async def replay(client: Client, name: str, ear: Ear) -> tuple[str, Any]:
    recorded = RECORDED[name]
    prompt_id = await client.queue(recorded["body"]["prompt"], **without_prompt(recorded["body"]))
    await ear.until_done(prompt_id)
    entry = (await client.get(f"/history/{prompt_id}"))[prompt_id]
    assert entry["status"]["status_str"] == recorded["history"]["status"]["status_str"]
    assert shape(entry) == shape(recorded["history"])
    assert entry["prompt"][2:] == recorded["history"]["prompt"][2:]
    return prompt_id, entry


def without_prompt(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != "prompt"}


@in_loop
async def test_recorded_runs(base: Path, one_thread: None) -> None:
    async with serving(real_deps(base)) as client:
        files = []
        for name in ("first", "again", "seed", "flags"):
            recorded = RECORDED[name]
            client_id = recorded["body"]["client_id"]
            async with client.listen("other") as other, client.listen(client_id, **recorded["features"] or {}) as ear:
                _, entry = await replay(client, name, ear)
                check(ear.heard, recorded)
                cached = next(data["nodes"] for type_, data in ear.heard if type_ == "execution_cached")
                told = next(data["nodes"] for type_, data in recorded["messages"] if type_ == "execution_cached")
                assert set(cached) == set(told)
                files.append(entry["outputs"]["9"]["images"][0]["filename"])
                binary = [data for type_, data in ear.heard if type_ == "binary"]
                kind = b"\0\0\0\4" if recorded["features"] else b"\0\0\0\1"
                assert all(data.startswith(kind) for data in binary)
                assert bool(binary) == (name != "again")
                while len(other.heard) < 4:
                    await other.next()
                assert other.types() == ["status"] * 4
        assert files[0] == files[1] != files[2] != files[3]
        with PIL.Image.open(base / "output" / files[0]) as picture:
            texts = picture.text.items()  # type: ignore[attr-defined]
            embedded = {
                name: json.loads(text) for name, text in texts if not name.startswith("XML:")
            }  # that says who made it
        sent = RECORDED["first"]["body"]
        assert embedded == {"prompt": sent["prompt"], "workflow": sent["extra_data"]["extra_pnginfo"]["workflow"]}


@pytest.mark.parametrize("name", ["interrupt", "interrupt_targeted"])
def test_recorded_interrupt(base: Path, one_thread: None, name: str) -> None:
    @in_loop
    async def test() -> None:
        recorded = RECORDED[name]
        prompt = json.loads(json.dumps(recorded["body"]["prompt"]))
        prompt["3"]["inputs"]["steps"] = 10_000
        async with serving(real_deps(base)) as client, client.listen("me") as ear:
            prompt_id = await client.queue(prompt, client_id="me")
            await ear.until(lambda type_, data: type_ == "progress")
            assert await client.post("/interrupt", {"prompt_id": "00000000-0000-0000-0000-000000000000"}) == (200, "")
            await ear.until(lambda type_, data: type_ == "progress")
            body = {"prompt_id": prompt_id} if name == "interrupt_targeted" else {}
            assert await client.post("/interrupt", body) == (200, "")
            await ear.until_done(prompt_id)
            last = [entry for entry in ear.heard if entry[0] != "progress_state"][-3:]
            assert [type_ for type_, _ in last] == ["execution_interrupted", "status", "executing"]
            assert last[0][1]["node_id"] == "3" and last[0][1]["node_type"] == "KSampler"
            entry = (await client.get(f"/history/{prompt_id}"))[prompt_id]
            assert shape(entry["status"]) == shape(recorded["history"]["status"])
            assert entry["status"]["completed"] is False and entry["outputs"] == {}

    test()


def errors_by_node(answer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for node, entry in answer["node_errors"].items():
        for error in entry["errors"]:
            yield node, error["type"]


@in_loop
async def test_recorded_refusals(base: Path) -> None:
    async with serving(real_deps(base)) as client:
        await client.post("/queue", {"clear": True})
        await client.post("/api/queue/pause")
        for name, recorded in VALIDATION.items():
            body = recorded["body"]
            raw = body if isinstance(body, dict) else body.encode("latin-1")
            status, answer = await client.post("/prompt", raw)
            assert status == BETTER.get(name, recorded["status"]), (name, answer)
            text = json.dumps(answer)
            assert "Traceback" not in text and str(base) not in text, name
            expected = recorded["answer"]
            if status == 200:
                assert answer.keys() == expected.keys()
            if name in OTHER_TYPE:
                found = set(errors_by_node(answer))
                assert set(OTHER_TYPE[name].items()) <= found, (name, found)
            elif isinstance(expected, dict) and name not in BETTER:
                assert list(errors_by_node(answer)) == list(errors_by_node(expected)), name
            if isinstance(expected, dict) and "error" in expected and name not in ("cycle", "raw_nan"):
                assert answer["error"]["type"] == expected["error"]["type"], name
                for node in answer["node_errors"].values():
                    assert node["dependent_outputs"], name
