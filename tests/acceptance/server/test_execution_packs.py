"""Every construct that ComfyUI's nodes may use, through the server as ComfyUI's own execution tests start it.

Which nodes ran is what the websocket says (`executing`, `execution_cached`), results are what the history has.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import pytest

from tests.tiny_checkpoint import write_tiny_checkpoint

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).resolve().parents[3]
PACKS = ROOT / "tests" / "data" / "execution_packs"
Written: TypeAlias = Mapping[str, tuple[str, Any]]
"""Nodes: type and inputs by id."""


@dataclass
class Ran:
    """What a client has heard of a run, and what the history has of it; or the answer of a server that refused it."""

    heard: list[tuple[str, Any]] = field(default_factory=list)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    status: Mapping[str, Any] = field(default_factory=dict)
    refused: Mapping[str, Any] | None = None

    @property
    def nodes(self) -> list[str]:
        """Those that ran, as often as they did, inner ones by their own ids."""
        return [data["node"] for kind, data in self.heard if kind == "executing" and data["node"] is not None]

    @property
    def cached(self) -> set[str]:
        return {node for kind, data in self.heard if kind == "execution_cached" for node in data["nodes"]}

    @property
    def error(self) -> Mapping[str, Any]:
        """The one that was told."""
        [error] = [data for kind, data in self.heard if kind == "execution_error"]
        found: Mapping[str, Any] = error
        return found

    def text(self, node: str) -> Any:
        """What an `ExShow` shows."""
        [text] = self.outputs[node]["text"]
        return text

    def problems(self, node: str) -> dict[str, str]:
        """Input -> kind of what is wrong with it."""
        assert self.refused is not None
        found = self.refused["node_errors"][node]["errors"]
        return {error["extra_info"].get("input_name", ""): error["type"] for error in found}


class Server:
    """The server as a process."""

    def __init__(self, place: Path, flags: tuple[str, ...]) -> None:
        (place / "models").mkdir(parents=True)
        write_tiny_checkpoint(place / "models" / "tiny.safetensors")
        paths = place / "paths.yaml"
        paths.write_text(f"testing:\n  custom_nodes: {PACKS}\n  checkpoints: {place / 'models'}\n")
        port = free_port()
        self.output = place / "out"
        self.url = f"http://127.0.0.1:{port}"
        listening = ["--listen", "127.0.0.1", "--port", str(port)]
        command = [sys.executable, str(ROOT / "main.py"), "--output-directory", str(self.output), *listening]
        command += ["--extra-model-paths-config", str(paths), "--cpu", *flags]
        self.log = place / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=place, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        asyncio.run(self._begun())

    async def _begun(self) -> None:
        until = time.monotonic() + 60
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < until:
                assert self.process.poll() is None, self.log.read_text()
                try:
                    async with session.get(f"{self.url}/object_info/ExShow") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def get(self, path: str) -> Any:
        """JSON."""

        async def body() -> Any:
            async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
                assert answer.status == 200, await answer.text()
                return await answer.json()

        return asyncio.run(body())

    def run(self, nodes: Written, **more: Any) -> Ran:
        """Queue it and wait for its end."""
        return asyncio.run(self.run_async(nodes, **more))

    def show(self, nodes: Written, link: Any) -> Any:
        """What a link comes to."""
        return self.run({**nodes, "show": ("ExShow", {"value": link})}).text("show")

    async def run_async(self, nodes: Written, **more: Any) -> Ran:
        """The same within a loop, with a client of its own."""
        client, ran = uuid.uuid4().hex, Ran()
        prompt = {key: {"class_type": kind, "inputs": dict(inputs)} for key, (kind, inputs) in nodes.items()}
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{self.url}/ws?clientId={client}") as ws,
            session.post(f"{self.url}/prompt", json={"prompt": prompt, "client_id": client, **more}) as answer,
        ):
            told = await answer.json()
            if answer.status != 200:
                assert answer.status == 400
                return Ran(refused=told)
            async with asyncio.timeout(60):
                while True:
                    message = await ws.receive()
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        continue
                    said = json.loads(message.data)
                    ran.heard.append((said["type"], said["data"]))
                    ends = said["type"] == "executing" and said["data"]["node"] is None
                    if ends and said["data"]["prompt_id"] == told["prompt_id"]:
                        break
            async with session.get(f"{self.url}/history/{told['prompt_id']}") as history:
                entry = (await history.json())[told["prompt_id"]]
        ran.outputs, ran.status = entry["outputs"], entry["status"]
        return ran


@pytest.fixture(scope="module", params=[(), ("--cache-lru", "0"), ("--cache-lru", "100")], ids=" ".join)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    started = Server(tmp_path_factory.mktemp("execution") / "place", request.param)
    try:
        yield started
    finally:
        started.process.terminate()
        assert started.process.wait(20) == 0


SIZES = itertools.count(17)  # a picture of another size is one that no run has made before


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def image(size: int, content: str = "WHITE", batch: int = 1) -> tuple[str, dict[str, Any]]:
    return "ExStubImage", {"content": content, "height": size, "width": size, "batch_size": batch}


def mask(size: int, value: float) -> tuple[str, dict[str, Any]]:
    return "ExStubMask", {"value": value, "height": size, "width": size, "batch_size": 1}


def fresh() -> int:
    """A number that no other run has had."""
    return uuid.uuid4().int % 2**31


def mixed(size: int, value: float) -> Written:
    return {
        "white": image(size),
        "black": image(size, "BLACK"),
        "mask": mask(size, value),
        "mix": ("ExLazyMix", {"image1": ["black", 0], "image2": ["white", 0], "mask": ["mask", 0]}),
        "show": ("ExShow", {"value": ["mix", 0]}),
    }


def test_the_pack_has_loaded_whole(server: Server) -> None:
    [pack] = server.get("/api/packs")
    assert pack["name"] == "execution-constructs" and pack["problem"] == "" and pack["nodes"] > 40
    info = server.get("/object_info/ExStubImage")["ExStubImage"]
    assert info["python_module"] == "custom_nodes.execution-constructs" and info["display_name"] == "StubImage"
    assert info["input"]["required"]["content"][0] == ["WHITE", "BLACK", "NOISE"]


@pytest.mark.parametrize(("value", "left_out"), [(0.0, "white"), (1.0, "black"), (0.5, None)])
def test_lazy_inputs_run_when_they_are_asked_for(server: Server, value: float, left_out: str | None) -> None:
    ran = server.run(mixed(size := next(SIZES), value))
    assert set(ran.nodes) == {"white", "black", "mask", "mix", "show"} - {left_out}
    assert ran.text("show") == f"[1, {size}, {size}, 3] {value:.4f}"


def test_a_second_run_is_cached_and_a_change_runs_what_hangs_on_it(server: Server) -> None:
    nodes = {**mixed(next(SIZES), 0.5)}
    assert len(server.run(nodes).nodes) == 5
    again = server.run(nodes)
    assert again.nodes == [] and again.cached == set(nodes) and again.status["completed"] is True
    assert again.outputs["show"], "what was shown is shown again"
    nodes["mask"] = ("ExStubMask", {**nodes["mask"][1], "value": 0.25})
    assert set(server.run(nodes).nodes) == {"mask", "mix", "show"}


def test_an_error_in_a_node_ends_the_run(server: Server) -> None:
    size = next(SIZES)
    nodes = {"a": image(size), "b": image(size + 1000, "BLACK"), "m": mask(size, 0.5),
             "mix": ("ExLazyMix", {"image1": ["a", 0], "image2": ["b", 0], "mask": ["m", 0]}),
             "show": ("ExShow", {"value": ["mix", 0]})}  # fmt: skip
    next(SIZES)
    ran = server.run(nodes)
    assert ran.error["node_id"] == "mix" and ran.error["node_type"] == "ExLazyMix"
    assert ran.error["exception_type"] == "RuntimeError" and "show" not in ran.nodes
    assert ran.status["status_str"] == "error"


def test_values_out_of_range_and_choice_are_refused(server: Server) -> None:
    nodes = {"i": ("ExStubImage", {"content": "PURPLE", "height": 0, "width": 8, "batch_size": 5000}),
             "show": ("ExShow", {"value": ["i", 0]})}  # fmt: skip
    ran = server.run(nodes)
    assert ran.problems("i") == {
        "content": "value_not_in_list",
        "height": "value_smaller_than_min",
        "batch_size": "value_bigger_than_max",
    }
    missing = server.run({"i": ("ExStubImage", {"content": "WHITE"}), "show": ("ExShow", {"value": ["i", 0]})})
    assert set(missing.problems("i").values()) == {"required_input_missing"}
    unknown = server.run({"i": ("ExNobodyHasThis", {}), "show": ("ExShow", {"value": ["i", 0]})})
    assert unknown.refused is not None and unknown.refused["error"]["type"] in ("invalid_prompt", "missing_node_type")
    nothing = server.run({"i": image(8)})
    assert nothing.refused is not None and nothing.refused["error"]["type"] == "prompt_no_outputs"


@pytest.mark.parametrize(
    ("kind", "input1", "input2", "is_fine"),
    [
        ("ExByValue", 0.5, 0.5, True), ("ExByValue", ["i", 0], ["f", 0], True), ("ExByValue", "foo", 0.5, False),
        ("ExByType", ["i", 0], ["f", 0], True), ("ExByType", ["n", 0], ["f", 0], False),
        ("ExByTypeOfAny", ["n", 0], ["f", 0], False), ("ExByTypeOfAny", ["f", 0], ["i", 0], True),
        ("ExByBoth", ["i", 0], ["f", 0], True), ("ExByBoth", 1.0, 1.0, False), ("ExByBoth", 1.0, 2.0, True),
        ("ExByName", ["i", 0], 7.0, True), ("ExByName", ["i", 0], 0.5, False),
        ("ExByFalse", ["i", 0], 7.0, False), ("ExByError", ["i", 0], 7.0, False),
    ],
)  # fmt: skip
def test_classes_check_their_inputs(server: Server, kind: str, input1: Any, input2: Any, is_fine: bool) -> None:
    nodes = {"i": image(next(SIZES)), "f": ("ExStubFloat", {"value": 0.5}), "n": ("ExStubInt", {"value": 1}),
             "v": (kind, {"input1": input1, "input2": input2}), "show": ("ExShow", {"value": ["v", 0]})}  # fmt: skip
    ran = server.run(nodes)
    if is_fine:
        assert ran.refused is None and "v" in ran.nodes and "show" in ran.outputs
    else:
        assert ran.refused is not None and ran.refused["node_errors"]["v"]["errors"], ran


def test_a_link_of_another_type_is_refused_and_cycles_are(server: Server) -> None:
    nodes = {"n": ("ExStubInt", {"value": 1}), "avg": ("ExVariadicAverage", {"input1": ["n", 0]}),
             "show": ("ExShow", {"value": ["avg", 0]})}  # fmt: skip
    assert server.run(nodes).problems("avg") == {"input1": "return_type_mismatch"}
    size = next(SIZES)
    cycle = {"m": mask(size, 0.5), "i": image(size),
             "a": ("ExLazyMix", {"image1": ["b", 0], "image2": ["i", 0], "mask": ["m", 0]}),
             "b": ("ExLazyMix", {"image1": ["a", 0], "image2": ["i", 0], "mask": ["m", 0]}),
             "show": ("ExShow", {"value": ["b", 0]})}  # fmt: skip
    assert server.run(cycle).refused is not None
    dynamic = {"i": image(size), "j": image(size, "BLACK"),
               "c": ("ExDependencyCycle", {"input1": ["i", 0], "input2": ["j", 0]}),
               "show": ("ExShow", {"value": ["c", 0]})}  # fmt: skip
    error = server.run(dynamic).error
    assert "depends on itself" in error["exception_message"] and error["node_id"] == "c"


def test_is_changed_decides_whether_a_node_runs_again(server: Server) -> None:
    nodes: dict[str, Any] = {"i": image(next(SIZES)), "c": ("ExCustomIsChanged", {"image": ["i", 0]}),
                             "show": ("ExShow", {"value": ["c", 0]})}  # fmt: skip
    assert server.run(nodes).nodes == ["i", "c", "show"] and server.run(nodes).nodes == []
    nodes["c"] = ("ExCustomIsChanged", {"image": ["i", 0], "should_change": True})
    for _ in range(3):
        assert "c" in server.run(nodes).nodes
    nodes["c"] = ("ExCustomIsChanged", {"image": ["i", 0], "should_change": False})
    server.run(nodes)
    assert server.run(nodes).nodes == []


def test_is_changed_sees_constants_alone_and_one_that_fails_runs_again(server: Server) -> None:
    size = next(SIZES)
    nodes: dict[str, Any] = {"i": image(size), "c": ("ExChangedByConstants", {"image": ["i", 0], "value": 0.5}),
                             "show": ("ExShow", {"value": ["c", 0]})}  # fmt: skip
    assert len(server.run(nodes).nodes) == 3 and server.run(nodes).nodes == []
    nodes["i"] = image(size, "BLACK")
    assert set(server.run(nodes).nodes) == {"i", "c", "show"}
    nodes["c"] = ("ExFailingIsChanged", {"image": ["i", 0]})
    assert "c" in server.run(nodes).nodes and "c" in server.run(nodes).nodes


def test_inputs_that_nobody_declared_arrive(server: Server) -> None:
    size = next(SIZES)
    nodes = {"a": image(size), "b": image(size, "BLACK"),
             "avg": ("ExVariadicAverage", {"input1": ["a", 0], "input2": ["a", 0], "input3": ["b", 0], "more": ["b", 0]}),
             "show": ("ExShow", {"value": ["avg", 0]})}  # fmt: skip
    assert server.run(nodes).text("show").endswith("0.5000")


def test_hidden_inputs_and_nodes_that_see_their_id(server: Server) -> None:
    value = fresh()
    nodes = {"u": ("ExUniqueId", {"value": value}), "v": ("ExUniqueId", {"value": value}),
             "l": ("ExMakeList", {"value1": ["u", 0], "value2": ["v", 0]}),
             "t": ("ExTakesList", {"values": ["l", 0], "sep": "+"}), "show": ("ExShow", {"value": ["t", 0]})}  # fmt: skip
    ran = server.run(nodes, extra_data={"extra_pnginfo": {"workflow": {"name": "w"}}})
    assert ran.text("show") == repr(f"u:{value}:w+v:{value}:w@t") and {"u", "v"} <= set(ran.nodes)


def test_equal_nodes_run_once_unless_they_say_otherwise(server: Server) -> None:
    value = fresh()
    nodes = {"a": ("ExStubInt", {"value": value}), "b": ("ExStubInt", {"value": value}),
             "x": ("ExNotIdempotent", {"value": value}), "y": ("ExNotIdempotent", {"value": value}),
             "s1": ("ExIntMath", {"a": ["a", 0], "b": ["b", 0], "operation": "add"}),
             "s2": ("ExIntMath", {"a": ["x", 0], "b": ["y", 0], "operation": "subtract"}),
             "show": ("ExShow", {"value": ["s1", 0]}), "show2": ("ExShow", {"value": ["s2", 0]})}  # fmt: skip
    ran = server.run(nodes)
    assert ran.text("show") == str(2 * value) and abs(int(ran.text("show2"))) == 1
    assert {"x", "y"} <= set(ran.nodes) and server.run(nodes).nodes == []


def test_an_object_is_kept_for_a_node(server: Server) -> None:
    node, begun = f"n{fresh()}", fresh()
    for times in (1, 2, 3):
        shown = server.show({node: ("ExInstance", {"seed": begun + times})}, [node, 0])
        assert shown == str(times)


def test_an_output_node_has_readers_and_shows_what_it_has(server: Server) -> None:
    nodes = {"i": image(next(SIZES)), "o": ("ExOutputWithSocket", {"image": ["i", 0], "value": 2.0}),
             "p": ("ExOutputWithSocket", {"image": ["o", 1], "value": ["o", 0]}),
             "n": ("ExNothing", {"value": ["p", 0]}), "show": ("ExShow", {"value": ["p", 0]})}  # fmt: skip
    ran = server.run(nodes)
    assert ran.outputs["o"] == {"value": [2.0]} and ran.outputs["p"] == {"value": [2.0]}
    assert ran.text("show") == "2.0" and "n" in ran.nodes


def test_a_subclass_of_a_core_node_saves_pictures(server: Server) -> None:
    nodes = {
        "i": image(next(SIZES)),
        "s": ("ExSaveTwice", {"images": ["i", 0], "filename_prefix": f"x{fresh()}", "times": 2}),
    }
    entries = server.run(nodes).outputs["s"]["images"]
    assert len(entries) == 2 and all((server.output / entry["filename"]).is_file() for entry in entries)


def test_partial_targets_run_alone(server: Server) -> None:
    nodes = {"a": ("ExStubInt", {"value": fresh()}), "b": ("ExStubInt", {"value": fresh()}),
             "show": ("ExShow", {"value": ["a", 0]}), "other": ("ExShow", {"value": ["b", 0]})}  # fmt: skip
    assert set(server.run(nodes, partial_execution_targets=["show"]).nodes) == {"a", "show"}


def test_switches_take_one_way(server: Server) -> None:
    a, b = fresh(), fresh()
    nodes = {"a": ("ExStubInt", {"value": a}), "b": ("ExStubInt", {"value": b}),
             "c": ("ExIntCondition", {"a": ["a", 0], "b": ["a", 0], "operation": "=="}),
             "s": ("ExLazySwitch", {"switch": ["c", 0], "false_value": ["b", 0], "true_value": ["a", 0]}),
             "show": ("ExShow", {"value": ["s", 0]})}  # fmt: skip
    ran = server.run(nodes)
    assert ran.text("show") == str(a) and "b" not in ran.nodes
    named = {"a": ("ExStubInt", {"value": a + 1}), "b": ("ExStubInt", {"value": b + 1}),
             "s": ("ExNamedSwitch", {"which": "value2", "value1": ["a", 0], "value2": ["b", 0]}),
             "show": ("ExShow", {"value": ["s", 0]})}  # fmt: skip
    ran = server.run(named)
    assert ran.text("show") == str(b + 1) and "a" not in ran.nodes
    wrong = server.run({**named, "s": ("ExNamedSwitch", {"which": "value3", "value1": ["a", 0]})})
    assert wrong.status["status_str"] == "error"


@pytest.mark.parametrize("verbose", [False, True])
def test_what_is_blocked_keeps_its_readers_from_running_and_nothing_else(server: Server, verbose: bool) -> None:
    nodes = {"a": ("ExStubInt", {"value": fresh()}),
             "k": ("ExBlocker", {"input": ["a", 0], "block": True, "verbose": verbose}),
             "l": ("ExBlocker", {"input": ["a", 0], "block": False, "verbose": True}), "both": ("ExBlockAll", {"input": ["a", 0]}),
             "m": ("ExIntMath", {"a": ["k", 0], "b": 1, "operation": "add"}),
             "blocked": ("ExShow", {"value": ["m", 0]}), "passed": ("ExShow", {"value": ["l", 0]}),
             "known": ("ExShow", {"value": ["k", 1]}), "none": ("ExNothing", {"value": ["both", 1]})}  # fmt: skip
    ran = server.run(nodes)
    assert {"passed", "known"} <= set(ran.outputs) and "blocked" not in ran.outputs
    told = [data for kind, data in ran.heard if kind == "execution_warning"]
    assert len(told) == verbose and all("Blocked Execution" in it["message"] for it in told)


def test_blocked_values_in_lists_block_their_rows(server: Server) -> None:
    value = fresh()
    nodes = {"a": ("ExStubInt", {"value": value}), "b": ("ExStubInt", {"value": value + 1}),
             "list": ("ExMakeList", {"value1": ["a", 0], "value2": ["b", 0]}),
             "c": ("ExIntCondition", {"a": ["list", 0], "b": value, "operation": "=="}),
             "k": ("ExBlocker", {"input": ["list", 0], "block": ["c", 0], "verbose": False}),
             "show": ("ExShow", {"value": ["k", 0]})}  # fmt: skip
    assert server.run(nodes).outputs["show"]["text"] == [str(value + 1)]


def test_lists_are_mapped_gathered_and_of_different_length(server: Server) -> None:
    value = fresh()
    nodes = {"a": ("ExStubInt", {"value": value}), "b": ("ExStubInt", {"value": 3}),
             "list": ("ExMakeList", {"value1": ["a", 0], "value2": ["b", 0], "value3": ["b", 0]}),
             "two": ("ExMakeList", {"value1": ["b", 0], "value2": ["a", 0]}),
             "sum": ("ExIntMath", {"a": ["list", 0], "b": ["two", 0], "operation": "add"}),
             "t": ("ExTakesList", {"values": ["sum", 0], "sep": " "}),
             "show": ("ExShow", {"value": ["t", 0]}), "each": ("ExShow", {"value": ["sum", 0]})}  # fmt: skip
    ran = server.run(nodes)
    assert ran.text("show") == repr(f"{value + 3} {value + 3} {value + 3}@t")
    assert ran.outputs["each"]["text"] == [str(value + 3)] * 3
    grown = {"a": ("ExStubInt", {"value": value}), "b": ("ExStubInt", {"value": 3}),
             "x": ("ExAccumulate", {"to_add": ["a", 0]}), "y": ("ExAccumulate", {"to_add": ["b", 0], "accumulation": ["x", 0]}),
             "l": ("ExAccumulationToList", {"accumulation": ["y", 0]}), "show": ("ExShow", {"value": ["l", 0]})}  # fmt: skip
    assert server.run(grown).outputs["show"]["text"] == [str(value), "3"]


def test_expansions_return_values_and_links_mixed(server: Server) -> None:
    size = next(SIZES)
    nodes = {"f": ("ExStubFloat", {"value": 0.25 + size / 1e6}), "e": ("ExMixedReturns", {"input1": ["f", 0]}),
             "show": ("ExShow", {"value": ["e", 0]}), "number": ("ExShow", {"value": ["e", 1]})}  # fmt: skip
    ran = server.run(nodes)
    assert ran.text("show").startswith("[1, 64, 64, 3] 0.25") and ran.text("number") == str(0.25 + size / 1e6)
    assert ran.nodes.count("e") >= 1 and server.run(nodes).nodes == []
    reused = {"i": image(size), "r": ("ExReusesInput", {"image": ["i", 0]}),
              **{f"show{n}": ("ExShow", {"value": ["r", n]}) for n in range(3)}}  # fmt: skip
    assert len({server.run(reused).text(f"show{n}") for n in range(3)}) == 1


def test_expansions_within_expansions_and_core_nodes_inside(server: Server) -> None:
    value = fresh()
    assert server.show({"n": ("ExNested", {"value": value, "depth": 30})}, ["n", 0]) == str(value + sum(range(31)))
    sampled = {"s": ("ExSamplingInExpansion", {"ckpt_name": "tiny.safetensors", "steps": 2})}
    assert server.show(sampled, ["s", 0]).startswith("[1, 64, 64, 3]")


def test_an_expansion_brings_outputs_that_show_at_the_visible_node(server: Server) -> None:
    ran = server.run({"i": image(next(SIZES)), "o": ("ExInnerOutput", {"image": ["i", 0]})})
    shown = [data for kind, data in ran.heard if kind == "executed"]
    assert {it["display_node"] for it in shown} == {"o"} and len(shown) == 2
    assert ran.outputs["o"]["value"] == [2.0] and len(ran.outputs["o"]["images"]) == 1


def test_an_expansion_to_a_node_that_nobody_has_says_so(server: Server) -> None:
    nodes = {"a": ("ExStubInt", {"value": fresh()}), "u": ("ExUnknownInner", {"value": ["a", 0]}),
             "show": ("ExShow", {"value": ["u", 0]})}  # fmt: skip
    assert "ExNobodyHasThis" in server.run(nodes).error["exception_message"]


def test_loops(server: Server) -> None:
    begin = fresh()
    nodes = {"a": ("ExStubInt", {"value": begin}),
             "open": ("ExWhileOpen", {"condition": True, "initial_value0": ["a", 0]}),
             "more": ("ExIntMath", {"a": ["open", 1], "b": 1, "operation": "add"}),
             "go": ("ExIntCondition", {"a": ["more", 0], "b": begin + 6, "operation": "<"}),
             "close": ("ExWhileClose", {"flow_control": ["open", 0], "condition": ["go", 0], "initial_value0": ["more", 0]}),
             "show": ("ExShow", {"value": ["close", 0]})}  # fmt: skip
    ran = server.run(nodes)
    assert ran.text("show") == str(begin + 6)
    assert {data["display_node"] for kind, data in ran.heard if kind == "executing" and data["node"]} <= set(nodes)
    assert server.run(nodes).nodes == []


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_loops_that_count(server: Server, rounds: int) -> None:
    begin = fresh()
    nodes = {"a": ("ExStubInt", {"value": begin}),
             "open": ("ExForOpen", {"remaining": rounds, "initial_value1": ["a", 0]}),
             "more": ("ExIntMath", {"a": ["open", 2], "b": ["open", 1], "operation": "add"}),
             "close": ("ExForClose", {"flow_control": ["open", 0], "initial_value1": ["more", 0]}),
             "show": ("ExShow", {"value": ["close", 0]})}  # fmt: skip
    assert server.run(nodes).text("show") == str(begin + sum(range(1, rounds + 1)))


def test_async_nodes_run_at_the_same_time(server: Server) -> None:
    size = next(SIZES)
    contents = ("WHITE", "BLACK", "NOISE")
    images = {f"i{n}": image(size, content) for n, content in enumerate(contents)}
    slept = {
        f"s{n}": ("ExSleep", {"value": ["i0", 0], "seconds": 0.3 + n / 100}) for n in range(3)
    }  # all are ready at once
    nodes = {"i0": images["i0"], **slept, "avg": ("ExVariadicAverage", {f"input{n + 1}": [f"s{n}", 0] for n in range(3)}),
             "most": ("ExMostAtOnce", {"value": ["avg", 0]}), "show": ("ExShow", {"value": ["most", 0]})}  # fmt: skip
    assert server.run(nodes).text("show") == "3"
    given = {f"image{n + 1}": [f"i{n}", 0] for n in range(3)} | {f"sleep{n + 1}": 0.31 + n / 100 for n in range(3)}
    inner = {**images, "p": ("ExParallelSleep", given), "most": ("ExMostAtOnce", {"value": ["p", 0]}),
             "show": ("ExShow", {"value": ["most", 0]})}  # fmt: skip
    assert server.run(inner).text("show") == "3"


def test_async_checks_lazy_inputs_expansions_and_batches(server: Server) -> None:
    size = next(SIZES)
    low, high = {"value": 5.0, "threshold": 10.0}, {"value": 15.0, "threshold": 10.0}
    assert server.show({"v": ("ExAsyncValidated", low)}, ["v", 0]).endswith("0.5000")
    refused = server.run({"v": ("ExAsyncValidated", high), "show": ("ExShow", {"value": ["v", 0]})})
    assert "15.0 is more than 10.0" in json.dumps(refused.refused)
    lazy = {"a": ("ExStubInt", {"value": fresh()}), "b": ("ExStubInt", {"value": (second := fresh())}),
            "l": ("ExAsyncLazy", {"condition": False, "input1": ["a", 0], "input2": ["b", 0]}),
            "show": ("ExShow", {"value": ["l", 0]})}  # fmt: skip
    ran = server.run(lazy)
    assert ran.text("show") == str(second) and "a" not in ran.nodes
    images = {"i": image(size, batch=3), "j": image(size, "BLACK", batch=3)}
    made = {**images, "g": ("ExAsyncGeneration", {"image1": ["i", 0], "image2": ["j", 0], "num_async_nodes": 4,
                                                  "sleep_duration": 0.01})}  # fmt: skip
    assert server.show(made, ["g", 0]).endswith("0.5000")
    assert server.show({**images, "b": ("ExAsyncBatch", {"images": ["i", 0]})}, ["b", 0]).endswith("0.0000")
    limited: Written = {f"c{n}": ("ExConcurrentLimit", {"value": n, "node_id": fresh()}) for n in range(5)}
    shown: Written = {f"show{n}": ("ExShow", {"value": [f"c{n}", 0]}) for n in range(5)}
    assert server.run({**limited, **shown}).status["completed"] is True


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        ("ExSyncError", {}, "Intentional sync execution error for testing"),
        ("ExAsyncError", {"after": 0.01}, "Intentional async execution error for testing"),
        ("ExAsyncTimeout", {"timeout": 0.05, "takes": 5.0}, "Operation timed out after 0.05 seconds"),
    ],
)
def test_errors_of_sync_and_async_nodes(server: Server, kind: str, given: Mapping[str, Any], said: str) -> None:
    nodes = {"a": ("ExStubInt", {"value": fresh()}), "e": (kind, {"value": ["a", 0], **given}),
             "show": ("ExShow", {"value": ["e", 0]})}  # fmt: skip
    error = server.run(nodes).error
    assert error["node_id"] == "e" and error["node_type"] == kind and error["exception_type"] == "RuntimeError"
    assert said in error["exception_message"] and any("in go" in line for line in error["traceback"])
    assert error["current_inputs"] and "a" in error["executed"]


@pytest.mark.parametrize("kind", ["ExAsyncProgress", "ExSyncProgress"])
def test_progress_is_told_to_the_client_whose_run_it_is(server: Server, kind: str) -> None:
    def nodes(name: str) -> Written:
        return {"a": ("ExStubInt", {"value": fresh()}), name: (kind, {"value": ["a", 0], "steps": 3}),
                "show": ("ExShow", {"value": [name, 0]})}  # fmt: skip

    async def both() -> tuple[Ran, Ran]:
        return await asyncio.gather(server.run_async(nodes("mine")), server.run_async(nodes("yours")))

    for ran, name, other in zip(asyncio.run(both()), ("mine", "yours"), ("yours", "mine"), strict=True):
        told = [data for type_, data in ran.heard if type_ == "progress"]
        assert [it["value"] for it in told if it["node"] == name][-1] == 3 and {it["max"] for it in told} == {3}
        states = [data["nodes"] for type_, data in ran.heard if type_ == "progress_state"]
        assert any(name in state for state in states) and not any(other in state for state in states)
