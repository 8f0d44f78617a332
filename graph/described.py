"""From a workflow to how a picture of it is made, as far as the words of other programs go."""

from __future__ import annotations

from collections.abc import Iterator

from graph.document import DocNode, Document, Link, NodeId
from graph.generation import Generation, LoraUse

_SAMPLES = ("positive", "negative", "latent_image")


def describe_picture(document: Document, saved: NodeId) -> Generation | None:
    """How what comes into node `saved` is made; None where no sampler with its settings is upstream of it.

    Of several samplers the one that began counts, with its seed, size and steps.
    """
    before = list(_upstream(document, saved))
    samplers = [node for node in before if all(isinstance(node.inputs.get(name), Link) for name in _SAMPLES)]
    if not samplers:
        return None
    first = samplers[-1]
    loras = [node for node in before if "lora_name" in node.inputs]
    latent = next((node for node in before if {"width", "height", "batch_size"} <= node.inputs.keys()), None)
    skip = _number(next((n.inputs["stop_at_clip_layer"] for n in before if "stop_at_clip_layer" in n.inputs), -1), -1)
    return Generation(
        prompt=_words(document, first, "positive"),
        negative=_words(document, first, "negative"),
        steps=int(_number(first.inputs.get("steps"), 20)),
        sampler=_text(first.inputs.get("sampler_name"), "euler"),
        scheduler=_text(first.inputs.get("scheduler"), "normal"),
        cfg=_number(first.inputs.get("cfg"), 7.0),
        seed=_seed(first),
        width=int(_number(latent.inputs["width"] if latent else None, 512)),
        height=int(_number(latent.inputs["height"] if latent else None, 512)),
        denoise=_number(first.inputs.get("denoise"), 1.0) if latent is None else 1.0,
        model=_stem(_first_text(before, "ckpt_name", "unet_name")),
        vae=_stem(_first_text(before, "vae_name")),
        clip_skip=max(1, -int(skip)),
        loras=tuple(_lora(node) for node in reversed(loras)),
    )


def _upstream(document: Document, start: NodeId) -> Iterator[DocNode]:
    """What a node reads, near ones first."""
    seen, waiting = {start}, [start]
    for node_id in waiting:  # grows meanwhile
        node = document.nodes.get(node_id)
        if node is None:
            continue
        if node_id != start:
            yield node
        for value in node.inputs.values():
            if isinstance(value, Link) and value.node not in seen:
                seen.add(value.node)
                waiting.append(value.node)


def _words(document: Document, sampler: DocNode, name: str) -> str:
    link = sampler.inputs.get(name)
    if not isinstance(link, Link) or link.node not in document.nodes:
        return ""
    nodes = [document.nodes[link.node], *_upstream(document, link.node)]
    return next((text for node in nodes if isinstance(text := node.inputs.get("text"), str)), "")


def _seed(node: DocNode) -> int:
    value = node.inputs.get("seed", node.inputs.get("noise_seed"))
    return value if isinstance(value, int) else 0


def _lora(node: DocNode) -> LoraUse:
    model = _number(node.inputs.get("strength_model"), 1.0)
    return LoraUse(_stem(_text(node.inputs["lora_name"], "")), model, _number(node.inputs.get("strength_clip"), model))


def _first_text(nodes: list[DocNode], *names: str) -> str:
    texts = (_text(node.inputs.get(name), "") for node in nodes for name in names)
    return next((text for text in texts if text), "")


def _text(value: object, otherwise: str) -> str:
    return value if isinstance(value, str) else otherwise


def _number(value: object, otherwise: float) -> float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else otherwise


def _stem(name: str) -> str:
    base = name.replace("\\", "/").rsplit("/", 1)[-1]
    return base.rsplit(".", 1)[0] if "." in base else base
