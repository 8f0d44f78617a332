"""Workflow files of our own, one for each thing that the way from a file to a request has to get right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

FIXTURES = Path(__file__).resolve().parents[2] / "web/tests/fixtures"
TYPES = json.loads((FIXTURES / "object_info.json").read_text())
GROUP_NODES = FIXTURES / "group_nodes.json"
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
MUTED, BYPASSED = 2, 4
SUBGRAPH = "aaaaaaaa-0000-4000-8000-00000000000a"
OUTER = "bbbbbbbb-0000-4000-8000-00000000000b"

Json: TypeAlias = dict[str, Any]
Source: TypeAlias = tuple[int, int]


class Graph:
    """A graph that grows node by node; `objects` writes links as subgraphs have them."""

    def __init__(self, objects: bool = False) -> None:
        self.nodes: list[Json] = []
        self.links: list[Any] = []
        self.objects = objects

    def node(
        self, type_: str, *values: object, mode: int = 0, into: dict[str, Source] | None = None, **more: Any
    ) -> int:
        """Add a node; `into` names what comes into its inputs. Gives its number."""
        number = more.pop("id", len(self.nodes) + 1)
        given = TYPES.get(type_, {"input": {}, "output": []})
        declared = [*given["input"].get("required", {}).items(), *given["input"].get("optional", {}).items()]
        sockets = {name: spec for name, spec in declared if not _is_field(spec)}
        fields = {name: spec for name, spec in declared if _is_field(spec)}
        wanted = into or {}
        inputs: list[Json] = [{"name": name, "type": spec[0], "link": None} for name, spec in sockets.items()]
        for name in wanted:
            if name in fields:
                kind = fields[name][0]
                type_name = "COMBO" if isinstance(kind, list) else kind
                inputs.append({"name": name, "type": type_name, "link": None, "widget": {"name": name}})
            elif name not in sockets:
                inputs.append({"name": name, "type": more.get("socket", "*"), "link": None})
        outputs: list[Json] = [{"name": kind, "type": kind, "links": []} for kind in more.pop("gives", given["output"])]
        more.pop("socket", None)
        where = [40 + 330 * (len(self.nodes) % 4), 60 + 420 * (len(self.nodes) // 4)]
        entry: Json = {
            "id": number,
            "type": type_,
            "pos": where,
            "size": [300, 200],
            "flags": {},
            "order": len(self.nodes),
        }
        entry |= {"mode": mode, "inputs": inputs, "outputs": outputs, "properties": {"Node name for S&R": type_}}
        entry |= {"widgets_values": list(values)} | more
        self.nodes.append(entry)
        for slot, port in enumerate(inputs):
            if port["name"] in wanted:
                self.join(wanted[port["name"]], (number, slot))
        return int(number)

    def join(self, source: Source, target: Source) -> None:
        """Add a link between two slots."""
        number = len(self.links) + 1
        giver = next((node for node in self.nodes if node["id"] == source[0]), None)
        taker = next((node for node in self.nodes if node["id"] == target[0]), None)
        kind = giver["outputs"][source[1]]["type"] if giver else taker["inputs"][target[1]]["type"] if taker else "*"
        if giver:
            giver["outputs"][source[1]]["links"].append(number)
        if taker:
            taker["inputs"][target[1]]["link"] = number
        if self.objects:
            names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
            self.links.append(dict(zip(names, (number, *source, *target, kind), strict=True)))
        else:
            self.links.append([number, *source, *target, kind])

    def file(self, **more: Any) -> Json:
        """The workflow file."""
        numbers = [node["id"] for node in self.nodes if isinstance(node["id"], int)]
        whole: Json = {"last_node_id": max(numbers), "last_link_id": len(self.links), "nodes": self.nodes}
        return whole | {"links": self.links, "groups": [], "config": {}, "extra": {}, "version": 0.4} | more


def _is_field(spec: list[Any]) -> bool:
    options = spec[1] if len(spec) > 1 else {}
    return (isinstance(spec[0], list) or spec[0] in WIDGETS) and not options.get("forceInput")


def _start(graph: Graph) -> tuple[int, int]:
    model = graph.node("CheckpointLoaderSimple", "other.safetensors")
    return model, graph.node("EmptyLatentImage", 64, 64, 1)


def _sample(graph: Graph, model: Source, positive: Source, negative: Source, latent: Source, **more: Any) -> int:
    into = {"model": model, "positive": positive, "negative": negative, "latent_image": latent} | more.pop("into", {})
    values = more.pop("values", (7, "fixed", 20, 8, "euler", "normal", 1))
    return graph.node("KSampler", *values, into=into, **more)


def _end(graph: Graph, latent: Source, vae: Source) -> int:
    decoded = graph.node("VAEDecode", into={"samples": latent, "vae": vae})
    return graph.node("SaveImage", "out", into={"images": (decoded, 0)})


def plain(**changes: Any) -> Json:
    """Text to image."""
    graph = Graph()
    model, latent = _start(graph)
    words = graph.node("CLIPTextEncode", "a cat", into={"clip": (model, 1)}, title="Positive")
    none = graph.node("CLIPTextEncode", "", into={"clip": (model, 1)})
    sampled = _sample(graph, (model, 0), (words, 0), (none, 0), (latent, 0), **changes)
    _end(graph, (sampled, 0), (model, 2))
    return graph.file()


def lora(mode: int, twice: bool = False) -> Json:
    """A LoRA between the model and the rest, left out or passed by."""
    graph = Graph()
    model, latent = _start(graph)
    held = graph.node("LoraLoader", "a.safetensors", 1, 0.5, mode=mode, into={"model": (model, 0), "clip": (model, 1)})
    if twice:
        held = graph.node("LoraLoader", "a.safetensors", 1, 1, mode=mode, into={"model": (held, 0), "clip": (held, 1)})
    words = graph.node("CLIPTextEncode", "a cat", into={"clip": (held, 1)})
    sampled = _sample(graph, (held, 0), (words, 0), (words, 0), (latent, 0))
    _end(graph, (sampled, 0), (model, 2))
    return graph.file()


def passed_by(type_: str) -> Json:
    """A decoder or an encoder that is passed by: nothing of its kind goes in."""
    graph = Graph()
    model, latent = _start(graph)
    decoded = graph.node(
        "VAEDecode", mode=BYPASSED if type_ == "VAEDecode" else 0, into={"samples": (latent, 0), "vae": (model, 2)}
    )
    coded = graph.node(
        "VAEEncode", mode=BYPASSED if type_ == "VAEEncode" else 0, into={"pixels": (decoded, 0), "vae": (model, 2)}
    )
    words = graph.node("CLIPTextEncode", "x", into={"clip": (model, 1)})
    sampled = _sample(graph, (model, 0), (words, 0), (words, 0), (coded, 0))
    _end(graph, (sampled, 0), (model, 2))
    graph.node("SaveImage", "middle", into={"images": (decoded, 0)})
    return graph.file()


def control(mode: int) -> Json:
    """Two outputs of one type, which go on with the inputs of the same numbers."""
    graph = Graph()
    model, latent = _start(graph)
    good = graph.node("CLIPTextEncode", "good", into={"clip": (model, 1)})
    bad = graph.node("CLIPTextEncode", "bad", into={"clip": (model, 1)})
    picture = graph.node("LoadImage", "cat.png", "image")
    into = {"positive": (good, 0), "negative": (bad, 0), "image": (picture, 0)}
    held = graph.node("ControlNetApplyAdvanced", 0.75, mode=mode, into=into)
    sampled = _sample(graph, (model, 0), (held, 0), (held, 1), (latent, 0))
    _end(graph, (sampled, 0), (model, 2))
    return graph.file()


def rerouted(mode: int = 0) -> Json:
    """Links through Reroute nodes, one of them behind another."""
    graph = Graph()
    model, latent = _start(graph)
    first = graph.node("Reroute", into={"": (model, 0)}, gives=["MODEL"], mode=mode)
    second = graph.node("Reroute", into={"": (first, 0)}, gives=["MODEL"])
    words = graph.node("CLIPTextEncode", "x", into={"clip": (model, 1)})
    sampled = _sample(graph, (second, 0), (words, 0), (words, 0), (latent, 0))
    _end(graph, (sampled, 0), (model, 2))
    for node in graph.nodes:
        if node["type"] == "Reroute":
            node["properties"] = {"showOutputText": False, "horizontal": False}
            del node["widgets_values"]
    return graph.file()


def points() -> Json:
    """Links through points of their own, shared ones and single ones."""
    file = plain()
    by_type = {link[5]: link[0] for link in file["links"]}
    clips = [link[0] for link in file["links"] if link[5] == "CLIP"]
    file["extra"] = {
        "reroutes": [
            {"id": 1, "pos": [380, 300], "linkIds": clips},
            {"id": 2, "parentId": 1, "pos": [420, 380], "linkIds": [clips[1]]},
            {"id": 3, "pos": [500, 40], "linkIds": [by_type["VAE"]]},
        ],
        "linkExtensions": [
            {"id": clips[0], "parentId": 1},
            {"id": clips[1], "parentId": 2},
            {"id": by_type["VAE"], "parentId": 3},
        ],
    }
    return file


def primitive(kind: str) -> Json:
    """A field by itself: a number, a choice, words."""
    graph = Graph()
    model, latent = _start(graph)
    chosen: dict[str, tuple[list[object], str]] = {
        "INT": ([33, "fixed"], "steps"),
        "COMBO": (["dpmpp_2m", "fixed", ""], "sampler_name"),
        "STRING": (["said"], "text"),
    }
    values, field = chosen[kind]
    held = graph.node("PrimitiveNode", *values, gives=[kind])
    graph.nodes[-1]["outputs"][0] |= {"name": kind, "widget": {"name": field}}
    graph.nodes[-1]["properties"] = {"Run widget replace on values": False}
    words = graph.node(
        "CLIPTextEncode", "own", into={"clip": (model, 1)} | ({"text": (held, 0)} if kind == "STRING" else {})
    )
    none = graph.node("CLIPTextEncode", "", into={"clip": (model, 1)})
    into = {field: (held, 0)} if kind != "STRING" else {}
    sampled = _sample(graph, (model, 0), (words, 0), (none, 0), (latent, 0), into=into)
    _end(graph, (sampled, 0), (model, 2))
    return graph.file()


def _prompts(values: bool) -> Json:
    """The definition of a subgraph that encodes words; with a field let out or without."""
    inner = Graph(objects=True)
    inner.node("CLIPTextEncode", "inner words", id=6, into={"clip": (-10, 0)} | ({"text": (-10, 1)} if values else {}))
    inner.join((6, 0), (-20, 0))
    inputs = [{"id": "i1", "name": "clip", "type": "CLIP", "linkIds": [1]}]
    if values:
        inputs.append({"id": "i2", "name": "text", "type": "STRING", "linkIds": [2]})
    return _definition(
        SUBGRAPH,
        "Words",
        inner,
        inputs,
        [{"id": "o1", "name": "CONDITIONING", "type": "CONDITIONING", "linkIds": [len(inner.links)]}],
    )


def _definition(id_: str, name: str, inner: Graph, inputs: list[Json], outputs: list[Json]) -> Json:
    state = {"lastGroupId": 0, "lastNodeId": 9, "lastLinkId": len(inner.links), "lastRerouteId": 0}
    ends = {
        "inputNode": {"id": -10, "bounding": [-200, 0, 120, 80]},
        "outputNode": {"id": -20, "bounding": [600, 0, 120, 60]},
    }
    head: Json = {"id": id_, "version": 1, "state": state, "revision": 0, "config": {}, "name": name} | ends
    return head | {
        "inputs": inputs,
        "outputs": outputs,
        "widgets": [],
        "nodes": inner.nodes,
        "groups": [],
        "links": inner.links,
        "extra": {},
    }


def subgraph(values: bool, given: list[object], linked: bool = False, inner_mode: int = 0) -> Json:
    """Two instances of one subgraph."""
    graph = Graph()
    model, latent = _start(graph)
    definition = _prompts(values)
    definition["nodes"][0]["mode"] = inner_mode
    instances = []
    for number in range(2):
        instances.append(graph.node(SUBGRAPH, *given, gives=["CONDITIONING"]))
        ports: list[Json] = [{"name": "clip", "type": "CLIP", "link": None}]
        if values:
            ports.append({"name": "text", "type": "STRING", "widget": {"name": "text"}, "link": None})
        graph.nodes[-1]["inputs"] = ports
        graph.join((model, 1), (instances[-1], 0))
        if linked and number == 0:
            held = graph.node("PrimitiveNode", "from outside", gives=["STRING"])
            graph.nodes[-1]["outputs"][0]["widget"] = {"name": "text"}
            graph.join((held, 0), (instances[0], 1))
    sampled = _sample(graph, (model, 0), (instances[0], 0), (instances[1], 0), (latent, 0))
    _end(graph, (sampled, 0), (model, 2))
    return graph.file(definitions={"subgraphs": [definition]})


def nested() -> Json:
    """A subgraph in a subgraph."""
    middle = Graph(objects=True)
    inner = middle.node(SUBGRAPH, gives=["CONDITIONING"], id=4)
    middle.nodes[0]["inputs"] = [{"name": "clip", "type": "CLIP", "link": None}]
    middle.join((-10, 0), (inner, 0))
    middle.join((inner, 0), (-20, 0))
    inputs = [{"id": "j1", "name": "clip", "type": "CLIP", "linkIds": [1]}]
    outputs = [{"id": "p1", "name": "CONDITIONING", "type": "CONDITIONING", "linkIds": [2]}]
    graph = Graph()
    model, latent = _start(graph)
    held = graph.node(OUTER, gives=["CONDITIONING"])
    graph.nodes[-1]["inputs"] = [{"name": "clip", "type": "CLIP", "link": None}]
    graph.join((model, 1), (held, 0))
    sampled = _sample(graph, (model, 0), (held, 0), (held, 0), (latent, 0))
    _end(graph, (sampled, 0), (model, 2))
    return graph.file(
        definitions={"subgraphs": [_prompts(False), _definition(OUTER, "Outer", middle, inputs, outputs)]}
    )


def framed() -> Json:
    """Frames, colours, folded and pinned nodes, notes: nothing of it is sent."""
    file = plain()
    file["groups"] = [
        {"title": "Group", "bounding": [20, 20, 700, 400], "color": "#3f789e", "font_size": 24, "flags": {}}
    ]
    file["nodes"][0] |= {"color": "#322", "bgcolor": "#533", "flags": {"collapsed": True}}
    file["nodes"][1]["flags"] = {"pinned": True}
    note = {
        "id": 50,
        "type": "Note",
        "pos": [0, 900],
        "size": [200, 80],
        "flags": {},
        "order": 9,
        "mode": 0,
        "inputs": [],
        "outputs": [],
    }
    file["nodes"].append(note | {"properties": {}, "widgets_values": ["words"]})
    file["last_node_id"] = 50
    return file


def lists() -> Json:
    """Values of other kinds: a list, a yes or no, a number that must come from a link."""
    graph = Graph()
    latent = graph.node("EmptyLatentImage", 64, 64, 1)
    number = graph.node("Listy", "a", 8.5, False)
    graph.node("Listy", "b", 2, True, into={"forced": (number, 0)})
    model = graph.node("CheckpointLoaderSimple", "other.safetensors")
    _end(graph, (latent, 0), (model, 2))
    return graph.file()


def short() -> Json:
    """Fewer values than there are fields: the rest are as they come."""
    file = plain()
    for node in file["nodes"]:
        if node["type"] in ("SaveImage", "EmptyLatentImage"):
            node["widgets_values"] = node["widgets_values"][:1]
    return file


WORKFLOWS: dict[str, Callable[[], Json]] = {
    "plain": plain,
    "seed_control": lambda: plain(values=(11, "randomize", 20, 8, "euler", "normal", 1)),
    "muted_sampler": lambda: plain(mode=MUTED),
    "bypassed_sampler": lambda: plain(mode=BYPASSED),
    "lora": lambda: lora(0),
    "lora_muted": lambda: lora(MUTED),
    "lora_bypassed": lambda: lora(BYPASSED),
    "two_loras_bypassed": lambda: lora(BYPASSED, twice=True),
    "decoder_bypassed": lambda: passed_by("VAEDecode"),
    "encoder_bypassed": lambda: passed_by("VAEEncode"),
    "control": lambda: control(0),
    "control_bypassed": lambda: control(BYPASSED),
    "reroutes": rerouted,
    "points": points,
    "primitive_number": lambda: primitive("INT"),
    "primitive_choice": lambda: primitive("COMBO"),
    "primitive_words": lambda: primitive("STRING"),
    "subgraph": lambda: subgraph(False, []),
    "subgraph_with_value": lambda: subgraph(True, ["promoted words"]),
    "subgraph_inside_muted": lambda: subgraph(False, [], inner_mode=MUTED),
    "subgraph_nested": nested,
    "frames": framed,
    "lists": lists,
    "short_values": short,
}
