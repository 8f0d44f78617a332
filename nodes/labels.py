"""What picture files say besides their pixels: the workflow, that a model made them, and how, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import PIL.Image
from PIL.PngImagePlugin import PngInfo

from graph.described import describe_picture
from graph.document import Document, Link, NodeId, write
from graph.node_shapes import Shapes
from graph.parameters_text import write_parameters
from graph.patient_json import dumps
from graph.unflatten import unflatten
from nodes.services import Context

Format = Literal["PNG", "WEBP", "JPEG", "AVIF"]

_PLAIN = frozenset({"IMAGE", "MASK", "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "UPSCALE_MODEL", "CLIP_VISION"})
"""Types of values from which no model draws a picture."""
_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
    f"<Iptc4xmpExt:DigitalSourceType>{_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>"
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
    '<?xpacket end="w"?>'
)
"""IPTC Photo Metadata Standard 2023.1, Digital Source Type, in XMP (ISO 16684-1)."""
_MODEL, _MAKE, _COMMENT, _EXIF = 0x0110, 0x010F, 0x9286, 0x8769  # EXIF tags


@dataclass(frozen=True, slots=True)
class Said:
    """What one file is to say: texts by their keys, and an XMP packet or nothing."""

    texts: Mapping[str, str]
    xmp: str = ""


def said_of(ctx: Context, *, parameters: bool = False) -> Said:
    """What the pictures of this node say. `parameters` asks for A1111's text whatever is set elsewhere."""
    labels = ctx.services.labels.asked(ctx.run.extra)
    texts = dict(workflow_texts(ctx)) if labels.workflow else {}
    if parameters or labels.parameters:
        made = describe_picture(ctx.document, ctx.shown_id)
        if made is not None:
            texts["parameters"] = write_parameters(made)
        elif parameters:
            ctx.warn("no sampler comes before: there is nothing to write as parameters", "parameters")
    is_labelled = labels.provenance and is_generated(ctx.document, ctx.shown_id, ctx.services.shapes)
    return Said(texts, _XMP if is_labelled else "")


def workflow_texts(ctx: Context) -> Iterator[tuple[str, str]]:
    """The graph of this run, what its client sent along to be kept with the files, and a file of the editor."""
    yield "prompt", write(ctx.document)
    for name, value in ctx.kept.items():
        yield str(name), json.dumps(value)
    if "workflow" not in ctx.kept:
        yield "workflow", dumps(unflatten(ctx.document, ctx.services.shapes))


def is_generated(document: Document, saved: NodeId, shapes: Shapes) -> bool:
    """Whether a model may have drawn what comes into a node: only what is known to be made of pictures is not."""
    seen, waiting = {saved}, [saved]
    for node_id in waiting:  # grows meanwhile
        node = document.nodes.get(node_id)
        if node is None:
            continue
        if node_id != saved:
            shape = shapes(node.class_type)
            if shape is None:
                return True
            kinds = {*shape.outputs, *(each.type for each in shape.inputs)}
            if not all(_PLAIN.issuperset(kind.split(",")) or kind == "*" for kind in kinds):
                return True
        for value in node.inputs.values():
            if isinstance(value, Link) and value.node not in seen:
                seen.add(value.node)
                waiting.append(value.node)
    return False


def write_picture(
    picture: PIL.Image.Image, path: Path, kind: Format, said: Said, *, quality: int = 90, compress_level: int = 4
) -> None:
    """Save a picture in one of the formats, with what it says where readers of that format look for it."""
    if kind == "PNG":
        picture.save(path, format=kind, pnginfo=png_info(said), compress_level=compress_level)
        return
    exif = _exif(said.texts).tobytes()
    if said.xmp:
        picture.save(path, format=kind, quality=quality, exif=exif, xmp=said.xmp.encode())
    else:
        picture.save(path, format=kind, quality=quality, exif=exif)


def write_animation(
    frames: Sequence[PIL.Image.Image], path: Path, kind: Format, said: Said, duration: int, options: Mapping[str, Any]
) -> None:
    """Save pictures as one file that moves, for ever, with what it says where readers of the format look for it.

    duration: of each picture, in milliseconds; options: what the format's writer knows besides.
    """
    first, *others = frames
    if kind == "PNG":
        carried: Mapping[str, Any] = {"pnginfo": png_info(said)}
    else:
        carried = {"exif": _exif(said.texts).tobytes()} | ({"xmp": said.xmp.encode()} if said.xmp else {})
    first.save(path, format=kind, save_all=True, append_images=others, duration=duration, loop=0, **carried, **options)


def png_info(said: Said) -> PngInfo:
    """The same as the texts of a PNG file."""
    info = PngInfo()
    for name, text in said.texts.items():
        info.add_text(name, text)
    if said.xmp:
        info.add_itxt("XML:com.adobe.xmp", said.xmp)
    return info


def _exif(texts: Mapping[str, str]) -> PIL.Image.Exif:
    """`prompt:…` in one tag and `key:…` for each other text in the tags below it, as ComfyUI writes WebP; A1111's text is
    the user's comment.
    """
    exif = PIL.Image.Exif()
    tag = _MAKE
    for name, text in texts.items():
        if name == "parameters":
            exif.get_ifd(_EXIF)[_COMMENT] = b"UNICODE\0" + text.encode("utf-16-be")
        elif name == "prompt":
            exif[_MODEL] = f"prompt:{text}"
        else:
            exif[tag] = f"{name}:{text}"
            tag -= 1
    return exif
