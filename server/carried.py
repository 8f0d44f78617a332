"""Workflows that files carry: PNG, WebP, JPEG and AVIF pictures, latents and weight files, and plain JSON."""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from PIL import Image, UnidentifiedImageError

from graph.document import json_object
from graph.parameters_text import is_parameters
from graph.patient_json import loads
from server.hidden_text import hidden_texts

_PNG = b"\x89PNG\r\n\x1a\n"
_DAMAGED = (
    UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, struct.error, KeyError, TypeError,
    Image.DecompressionBombError,
)  # fmt: skip
_TEXT_BYTES = 64 * 2**20
"""Of one text at most, unpacked."""
_HEADER_BYTES = 100 * 2**20
_EXIF, _USER_COMMENT = 0x8769, 0x9286
_ENCODINGS: Mapping[bytes, str] = MappingProxyType(
    {b"UNICODE\0": "utf-16-be", b"ASCII\0\0\0": "ascii", b"\0" * 8: "utf-8"}
)

Texts = Mapping[str, str]


class NoWorkflow(ValueError):
    """A file that holds no workflow; the message says what it is instead."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What a file says besides its pixels: texts by their keys in lower case, or the JSON that it is."""

    texts: Texts
    json: str = ""

    def request(self) -> object:
        """The graph that was run, else what the editor saved. Raises NoWorkflow."""
        return self._first("prompt", "workflow")

    def document(self) -> object:
        """What the editor saved, else the graph that was run. Raises NoWorkflow."""
        return self._first("workflow", "prompt")

    def has_workflow(self) -> bool:
        """Whether there is a graph in it, or JSON that ought to be one."""
        return bool(self.json or {"prompt", "workflow"} & self.texts.keys())

    def _first(self, *keys: str) -> object:
        if self.json:
            return _read(self.json)
        for text in (self.texts[key] for key in keys if key in self.texts):
            try:
                found = _read(text)
            except ValueError:
                continue
            if isinstance(found, dict) and found:
                return found
        raise NoWorkflow("the file carries no workflow")


def read_file(name: str) -> bytes:
    """What is in a file (`-`: standard input). Raises OSError."""
    return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()


def carried(content: bytes) -> Carried:
    """What a file carries, told by its first bytes and not by its name. Raises NoWorkflow for files of other kinds."""
    if content.startswith(_PNG):
        return Carried(_by_key(_png_texts(content)) or _by_key(hidden_texts(content)))
    if _is_picture(content):
        return Carried(_by_key(_exif_texts(content)))
    if content[8:9] == b"{" and len(content) >= 8 and content[:1] != b"{":
        return Carried(_by_key(_header_texts(content)))
    try:
        text = content.decode("utf-8-sig")
        return Carried({"parameters": text}) if is_parameters(text) else Carried({}, text)
    except UnicodeDecodeError:
        raise NoWorkflow("the file is neither JSON nor a picture or latent that could carry a workflow") from None


def is_json(content: bytes) -> bool:
    """Whether bytes may be a JSON text, as opposed to a picture, a latent, or the text of another program."""
    is_other = content.startswith(_PNG) or _is_picture(content) or content[8:9] == b"{" != content[:1]
    return not is_other and (content.lstrip()[:1] in (b"{", b"[", b"") or b"Steps: " not in content)


def _read(text: str) -> object:
    try:
        return loads(text, json.JSONDecoder(object_pairs_hook=json_object))
    except RecursionError:
        raise NoWorkflow("brackets are nested too deeply") from None


def _is_picture(content: bytes) -> bool:
    is_webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    return is_webp or content[:3] == b"\xff\xd8\xff" or (content[4:8] == b"ftyp" and content[8:11] in (b"avi", b"mif"))


def _by_key(texts: Iterator[tuple[str, str]]) -> Texts:
    """Of several texts with one key the first."""
    found: dict[str, str] = {}
    for key, text in texts:
        found.setdefault(key.lower(), text)
    return found


def _png_texts(content: bytes) -> Iterator[tuple[str, str]]:
    """tEXt, zTXt and iTXt chunks, and `comf`, which animated pictures have; damaged ones are passed over."""
    place = len(_PNG)
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        kind, data = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        place += 12 + length
        if kind == b"IEND":
            return
        if kind in (b"tEXt", b"zTXt", b"iTXt", b"comf"):
            key, _, rest = data.partition(b"\0")
            if key and (text := _png_text(kind, rest)) is not None:
                yield key.decode("latin-1"), text


def _png_text(kind: bytes, data: bytes) -> str | None:
    if kind == b"zTXt":
        return _unpacked(data[1:])
    if kind != b"iTXt":
        return _decoded(data)
    _, _, body = data[2:].partition(b"\0")
    _, _, body = body.partition(b"\0")
    return _unpacked(body) if data[:1] == b"\1" else _decoded(body)


def _unpacked(data: bytes) -> str | None:
    try:
        return _decoded(zlib.decompressobj().decompress(data, _TEXT_BYTES))
    except zlib.error:
        return None


def _decoded(data: bytes) -> str:
    """Latin-1 by the standard; many programs write UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _exif_texts(content: bytes) -> Iterator[tuple[str, str]]:
    """Texts `key:value` of EXIF tags, the comment of the user, XMP, and the comment of a JPEG file."""
    try:
        with Image.open(io.BytesIO(content), formats=("WEBP", "JPEG", "AVIF")) as picture:
            exif = picture.getexif()
            tags = [*exif.values(), *exif.get_ifd(_EXIF).items()]
            info = {key: value for key, value in picture.info.items() if key in ("comment", "xmp")}
    except _DAMAGED:
        return
    for tag in tags:
        if isinstance(tag, str):
            key, colon, text = _decoded_again(tag).partition(":")
            if colon:
                yield key, text.rstrip("\0")
        elif isinstance(tag, tuple) and tag[0] == _USER_COMMENT and isinstance(tag[1], bytes | str):
            yield "usercomment", _comment(tag[1])
    for key, value in info.items():
        yield key, _decoded(value) if isinstance(value, bytes) else str(value)


def _decoded_again(text: str) -> str:
    """Pillow reads these tags as Latin-1."""
    try:
        return text.encode("latin-1").decode()
    except (UnicodeEncodeError, UnicodeDecodeError):
        return text


def _comment(data: bytes | str) -> str:
    """EXIF's UserComment: eight bytes say how the rest is encoded."""
    if isinstance(data, str):
        return data
    encoding = _ENCODINGS.get(data[:8])
    body = data[8:] if encoding else data
    if encoding == "utf-16-be" and body[:1] != b"\0" and body[1:2] == b"\0":
        encoding = "utf-16-le"
    return body.decode(encoding or "utf-8", "replace").rstrip("\0")


def _header_texts(content: bytes) -> Iterator[tuple[str, str]]:
    """The metadata of a file of tensors."""
    (size,) = struct.unpack_from("<Q", content)
    try:
        header = json.loads(content[8 : 8 + size]) if size <= _HEADER_BYTES else {}
    except (ValueError, RecursionError):
        return
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    for key, text in metadata.items() if isinstance(metadata, dict) else ():
        if isinstance(text, str):
            yield str(key), text
