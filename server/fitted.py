"""A user's workflow, made to draw one picture of an evaluation: its prompt, seed, guidance and checkpoint are replaced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from graph.document import DocNode, Document, Link, NodeId
from graph.order import reachable

_SEEDS = ("seed", "noise_seed")


@dataclass(frozen=True, slots=True)
class Shot:
    """What one picture is to be drawn with. `holds` is what the checkpoint's file is, for its node to tell."""

    prompt: str
    checkpoint: str
    holds: str
    cfg: float
    seed: int
    prefix: str


def fitted(document: Document, shot: Shot) -> Document:
    """The part of the workflow that leads to its first SaveImage, with what the shot says in it.

    Raises ValueError where it has no place for that: a SaveImage, a sampler with `cfg`, words before its `positive`,
    a checkpoint.
    """
    saver = next((key for key, node in document.nodes.items() if node.class_type == "SaveImage"), None)
    if saver is None:
        raise ValueError("the workflow has no SaveImage")
    nodes = _before(document, saver)
    changes: dict[NodeId, dict[str, object]] = {saver: {"filename_prefix": shot.prefix}}
    for key, name, value in (*_settings(nodes, shot), *_words(nodes, shot.prompt)):
        changes.setdefault(key, {})[name] = value
    given = {name for inputs in changes.values() for name in inputs}
    for name, what in (("cfg", "a sampler with cfg"), ("text", "words before positive"), ("ckpt_name", "a checkpoint")):
        if name not in given:
            raise ValueError(f"the workflow has no {what.removeprefix('a ')}")
    for key, inputs in changes.items():
        meta = {**nodes[key].meta, "holds": shot.holds} if "ckpt_name" in inputs else nodes[key].meta
        nodes[key] = replace(nodes[key], inputs={**nodes[key].inputs, **inputs}, meta=meta)
    return Document(nodes)


def _before(document: Document, node: NodeId) -> dict[NodeId, DocNode]:
    """A node and all that it reads."""
    reads = {
        key: [value.node for value in each.inputs.values() if isinstance(value, Link)]
        for key, each in document.nodes.items()
    }
    kept = reachable([node], reads)
    return {key: each for key, each in document.nodes.items() if key in kept}


def _settings(nodes: Mapping[NodeId, DocNode], shot: Shot) -> Iterator[tuple[NodeId, str, object]]:
    wanted = {"ckpt_name": shot.checkpoint, "cfg": shot.cfg, "batch_size": 1, **dict.fromkeys(_SEEDS, shot.seed)}
    for key, node in nodes.items():
        for name, value in wanted.items():
            if name in node.inputs and not isinstance(node.inputs[name], Link):
                yield key, name, value


def _words(nodes: Mapping[NodeId, DocNode], prompt: str) -> Iterator[tuple[NodeId, str, object]]:
    """The nearest texts before each `positive`."""
    for node in nodes.values():
        at = node.inputs.get("positive")
        for _ in nodes:
            if not isinstance(at, Link) or at.node not in nodes:
                break
            before = nodes[at.node]
            if isinstance(before.inputs.get("text"), str):
                yield at.node, "text", prompt
                break
            at = next((value for value in before.inputs.values() if isinstance(value, Link)), None)
