"""Picture files of more than 8 bits a channel: PNG of 16 bits, and OpenEXR of half or single precision."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

_PNG_COLOURS: Mapping[int, int] = MappingProxyType({1: 0, 3: 2, 4: 6})  # channels -> colour type
_EXR_NAMES: Mapping[int, str] = MappingProxyType({1: "Y", 3: "RGB", 4: "RGBA"})
_ZIP, _ZIP_LINES = 3, 16
"""The compression of OpenEXR that most programs read, and how many lines it takes together."""
REC709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
REC2020 = (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290)
ACESCG = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)
"""x and y of red, green, blue and white."""


def write_png16(pixels: Tensor, path: Path, info: PngInfo) -> None:
    """One picture [H, W, 1, 3 or 4] in 0..1 as a PNG file of 16 bits, rounded (PNG, third edition)."""
    height, width, channels = pixels.shape
    levels = (pixels.clamp(0, 1) * 65535).round().to(torch.int32).numpy().astype(">u2")
    lines = levels.reshape(height, -1).view(np.uint8)
    step = 2 * channels
    rows = np.zeros((height, 1 + lines.shape[1]), np.uint8)
    rows[:, 0] = 1  # each line as differences from the pixel on its left
    rows[:, 1 : 1 + step] = lines[:, :step]
    rows[:, 1 + step :] = lines[:, step:] - lines[:, :-step]
    header = struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOURS[channels], 0, 0, 0)
    texts = [(kind, content) for kind, content, *_ in info.chunks]
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, content in [(b"IHDR", header), *texts, (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")]:
            check = zlib.crc32(kind + content)
            file.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check))


def write_exr(
    pixels: Tensor, path: Path, *, half: bool, chromaticities: tuple[float, ...], texts: Mapping[str, str]
) -> None:
    """One picture [H, W, 1, 3 or 4] of linear light as an OpenEXR file (file layout of OpenEXR 2, scan lines, ZIP)."""
    height, width, channels = pixels.shape
    planes = {name: pixels[..., i].numpy() for i, name in enumerate(_EXR_NAMES[channels])}
    kind = np.dtype("<f2" if half else "<f4")
    lines = np.stack([planes[name].astype(kind) for name in sorted(planes)], axis=1)  # [H, channels, W]
    chunks = [_packed(lines[top : top + _ZIP_LINES].tobytes()) for top in range(0, height, _ZIP_LINES)]
    header = b"".join(_exr_header(sorted(planes), width, height, half, chromaticities, texts))
    place = len(header) + 8 * len(chunks)
    with path.open("wb") as file:
        file.write(header)
        for chunk in chunks:
            file.write(struct.pack("<Q", place))
            place += 8 + len(chunk)
        for i, chunk in enumerate(chunks):
            file.write(struct.pack("<ii", i * _ZIP_LINES, len(chunk)) + chunk)


def _exr_header(
    names: Iterable[str],
    width: int,
    height: int,
    half: bool,
    chromaticities: tuple[float, ...],
    texts: Mapping[str, str],
) -> Iterator[bytes]:
    kind = 1 if half else 2
    channels = b"".join(name.encode() + b"\0" + struct.pack("<iBxxxii", kind, 0, 1, 1) for name in names) + b"\0"
    box = struct.pack("<iiii", 0, 0, width - 1, height - 1)
    yield struct.pack("<ii", 20000630, 2 | (0x400 if any(len(name) > 31 for name in texts) else 0))
    yield _attribute("channels", "chlist", channels)
    yield _attribute("chromaticities", "chromaticities", struct.pack("<8f", *chromaticities))
    yield _attribute("compression", "compression", bytes([_ZIP]))
    yield _attribute("dataWindow", "box2i", box)
    yield _attribute("displayWindow", "box2i", box)
    yield _attribute("lineOrder", "lineOrder", b"\0")
    yield _attribute("pixelAspectRatio", "float", struct.pack("<f", 1.0))
    yield _attribute("screenWindowCenter", "v2f", struct.pack("<ff", 0.0, 0.0))
    yield _attribute("screenWindowWidth", "float", struct.pack("<f", 1.0))
    for name, text in texts.items():
        yield _attribute(name, "string", text.encode())
    yield b"\0"


def _attribute(name: str, kind: str, content: bytes) -> bytes:
    return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(content)) + content


def _packed(raw: bytes) -> bytes:
    """Even bytes, then odd ones, as differences, deflated; as it is where that is no smaller."""
    apart = np.frombuffer(raw, np.uint8)
    apart = np.concatenate([apart[::2], apart[1::2]]).astype(np.int16)
    apart[1:] = np.diff(apart) + 128
    packed = zlib.compress((apart & 255).astype(np.uint8).tobytes(), 6)
    return packed if len(packed) < len(raw) else raw


def linear_of_hlg(x: Tensor) -> Tensor:
    """Light of the scene, in 0..1, of values in HLG (ITU-R BT.2100, table 5)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return torch.where(x <= 0.5, x.square() / 3, (((x - c) / a).exp() + b) / 12)
