"""Workflow files of the editor, each with the graph that has to come of it; and random ones."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from graph.node_shapes import NodeShape, read_shape

FOLDER = Path(__file__).parent / "data" / "editor_files"
Json: TypeAlias = dict[str, Any]

INNER, OUTER = "aaaaaaaa-0000-4000-8000-00000000000a", "bbbbbbbb-0000-4000-8000-00000000000b"


@cache
def types() -> Json:
    """The node types of the files, as `/object_info` tells them."""
    loaded: Json = json.loads((FOLDER / "types.json").read_text("utf-8"))
    return loaded


@cache
def shape(name: str) -> NodeShape | None:
    """The shape of one of these types."""
    return read_shape(name, types()[name]) if name in types() else None


@cache
def cases() -> Json:
    """Every file by name: `{about, file, api}`."""
    paths = sorted(path for path in FOLDER.glob("*.json") if path.name != "types.json")
    return {path.stem: json.loads(path.read_text("utf-8")) for path in paths}


def random_files(count: int, seed: int, modes: tuple[int, ...] = (0, 0, 0, 0, 4, 4, 2)) -> Iterator[Json]:
    """Files with everything at random that editors can write, the same ones for the same seed."""
    for number in range(count):
        yield _RandomFile(random.Random(f"{seed} {number}"), modes).file()


class _RandomFile:
    """One file."""

    def __init__(self, chance: random.Random, modes: tuple[int, ...]) -> None:
        self._chance = chance
        self._modes = modes
        self._types = list(types())

    def file(self) -> Json:
        """Some nodes, among them instances of two subgraphs, one of which may hold the other."""
        inner = self._subgraph(INNER, [])
        outer = self._subgraph(OUTER, [inner])
        known = {"inner": inner, "outer": outer}
        nodes, links = self._graph(12, list(known.values()), [], [], objects=False)
        whole = {"last_node_id": 99, "last_link_id": len(links), "nodes": nodes, "links": links, "groups": []}
        return whole | {"extra": {}, "version": 0.4, "definitions": {"subgraphs": list(known.values())}}

    def _subgraph(self, id_: str, known: list[Json]) -> Json:
        kinds = ["MODEL", "STRING", "INT", "LATENT", "*", "IMAGE", "CONDITIONING"]
        inputs = [{"name": f"in{at}", "type": self._chance.choice(kinds)} for at in range(self._chance.randrange(4))]
        outputs = [{"name": f"out{at}", "type": self._chance.choice(kinds)} for at in range(self._chance.randrange(3))]
        nodes, links = self._graph(5, known, inputs, outputs, objects=True)
        return {"id": id_, "name": "Sub", "version": 1, "inputs": inputs, "outputs": outputs} | {
            "nodes": nodes,
            "links": links,
        }

    def _graph(
        self, most: int, known: list[Json], inputs: list[Json], outputs: list[Json], *, objects: bool
    ) -> tuple[list[Json], list[Any]]:
        nodes = [self._node(number + 1, known) for number in range(1 + self._chance.randrange(most))]
        sources = [(node["id"], slot) for node in nodes for slot in range(len(node["outputs"]))]
        sources += [(-10, slot) for slot in range(len(inputs))]
        links: list[Any] = []
        targets = [(node["id"], slot, each) for node in nodes for slot, each in enumerate(node["inputs"])]
        targets += [(-20, slot, each) for slot, each in enumerate(outputs)]
        for target, slot, each in targets:
            if not sources or self._chance.random() < 0.3:
                continue
            origin = self._chance.choice(sources)
            number = len(links) + 1
            if target != -20:
                each["link"] = number
                if self._chance.random() < 0.03:
                    each["link"] = 999
                    continue
            keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
            values = (number, *origin, target, slot, each["type"])
            links.append(dict(zip(keys, values, strict=True)) if objects else list(values))
        return nodes, links

    def _node(self, number: int, known: list[Json]) -> Json:
        pick = self._chance.random()
        mode = self._chance.choice(self._modes)
        if pick < 0.1:
            reroute = {"type": "Reroute", "inputs": [{"name": "", "type": "*", "link": None}]}
            return {"id": number, "mode": mode, "outputs": [{"name": "", "type": "*"}]} | reroute
        if pick < 0.2:
            value = self._chance.choice([7, "words", 0.5, ["a"]])
            primitive = {"type": "PrimitiveNode", "inputs": [], "widgets_values": [value, "fixed"]}
            return {"id": number, "mode": mode, "outputs": [{"name": "INT", "type": "INT"}]} | primitive
        if pick < 0.27:
            return self._unknown(number, mode)
        if known and pick < 0.5:
            return self._instance(number, mode, self._chance.choice(known))
        return self._plain(number, mode)

    def _unknown(self, number: int, mode: int) -> Json:
        """Of a type that the server lacks; editors pass some of them by."""
        type_ = self._chance.choice(["SetNode", "GetNode", "Reroute (rgthree)", "NobodyKnows"])
        names = ("in", "own")[: self._chance.randrange(3)]
        slots: list[Json] = [{"name": name, "type": "*", "link": None} for name in names]
        if self._chance.random() < 0.5:
            slots = [slot | {"widget": {"name": slot["name"]}} for slot in slots]
        values: list[object] = [self._chance.choice(["a", "b"]), self._value()][: self._chance.randrange(3)]
        node = {"id": number, "type": type_, "mode": mode, "inputs": slots, "widgets_values": values}
        return node | {"outputs": [{"name": "*", "type": "*"}]}

    def _instance(self, number: int, mode: int, subgraph: Json) -> Json:
        inputs = [{**each, "link": None} for each in subgraph["inputs"]]
        values = [self._value() for _ in range(self._chance.randrange(4))]
        outputs = [dict(each) for each in subgraph["outputs"]]
        return {"id": number, "type": subgraph["id"], "mode": mode, "inputs": inputs, "outputs": outputs} | {
            "widgets_values": values
        }

    def _plain(self, number: int, mode: int) -> Json:
        type_ = self._chance.choice(self._types)
        known = shape(type_)
        assert known is not None
        slots: list[Json] = []
        for each in known.inputs:
            if not each.is_field:
                slots.append({"name": each.name, "type": each.type, "link": None})
            elif self._chance.random() < 0.3:
                slots.append({"name": each.name, "type": each.type, "link": None, "widget": {"name": each.name}})
        if self._chance.random() < 0.1:
            slots.append({"name": "later", "type": "INT", "link": None})
        if self._chance.random() < 0.1:
            self._chance.shuffle(slots)
        values = [self._value() for _ in range(self._chance.randrange(9))]
        node = {"id": number, "type": type_, "mode": mode, "inputs": slots, "widgets_values": values}
        if self._chance.random() < 0.2:
            known_names = [each.name for each in known.inputs if each.is_field] + ["later"]
            node["widgets_values_named"] = {name: self._value() for name in known_names if self._chance.random() < 0.7}
        choices = [each for each in known.inputs if each.branches]
        if choices and self._chance.random() < 0.8:
            values[:1] = [self._chance.choice(list(choices[0].branches))]
        return node | {"outputs": [{"name": output, "type": output} for output in known.outputs]}

    def _value(self) -> object:
        return self._chance.choice([1, 0.5, "words", True, None, ["a", 1], {"a": []}, 2**60, "fixed", "a\\b"])
