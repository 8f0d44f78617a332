"""A node that saves pictures in the format of one's choice: PNG, OpenEXR or AVIF."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Protocol

from torch import Tensor

from graph.errors import InputError
from graph.result import Shown
from graph.sockets import Choice, Float, Int, Text
from graph.spec import Cases, Named, Tip, node
from models.colour_transfer import light_of_srgb
from models.types import Image
from nodes.deep_pictures import ACESCG, REC709, REC2020, linear_of_hlg, write_exr, write_png16
from nodes.image import EMBEDDED
from nodes.labels import Said, png_info, said_of, write_animation, write_picture
from nodes.output_files import expand, write_shown
from nodes.pictures import to_pil
from nodes.services import Context

Write = Callable[[Path], None]
BITS = "How finely brightness is kept."
SPACE = "What the numbers of the pictures mean."


class Format(Protocol):
    """A way to write pictures."""

    @property
    def suffix(self) -> str:
        """How the names of its files end."""

    @property
    def moves(self) -> bool:
        """Whether a file may show pictures one after the other."""

    def files(self, pictures: Sequence[Tensor], said: Said) -> Iterator[Write]:
        """What writes each file. pictures: [H, W, C]. Raises InputError, on `images` or `format`."""


@dataclass(frozen=True)
class Png:
    """PNG of 8 or 16 bits."""

    suffix = ".png"
    moves = False
    bit_depth: Annotated[str, Choice(("8-bit", "16-bit"), typed=True, tooltip=BITS)] = "8-bit"
    input_color_space: Annotated[str, Choice(("sRGB",), typed=True, tooltip=SPACE)] = "sRGB"

    def files(self, pictures: Sequence[Tensor], said: Said) -> Iterator[Write]:
        """One for each."""
        _check_channels(pictures, (1, 3, 4))
        for pixels in pictures:
            if self.bit_depth == "16-bit":
                yield partial(_png16, pixels, said)
            else:
                yield partial(_picture, pixels, said)


def _png16(pixels: Tensor, said: Said, path: Path) -> None:
    write_png16(pixels, path, png_info(said))


def _picture(pixels: Tensor, said: Said, path: Path) -> None:
    write_picture(to_pil(pixels.squeeze(-1)), path, "PNG", said)


@dataclass(frozen=True)
class _Space:
    to_light: Callable[[Tensor], Tensor]
    chromaticities: tuple[float, ...]


SPACES: Mapping[str, _Space] = MappingProxyType(
    {
        "sRGB": _Space(light_of_srgb, REC709),
        "HDR": _Space(linear_of_hlg, REC2020),
        "linear": _Space(lambda x: x, REC709),
        "linear ACEScg": _Space(lambda x: x, ACESCG),
    }
)
EXR_SPACE = f"{SPACE} The file holds linear light: HDR is HLG of Rec. 2020, linear and linear ACEScg stay as they are."


@dataclass(frozen=True)
class Exr:
    """OpenEXR of linear light."""

    suffix = ".exr"
    moves = False
    bit_depth: Annotated[str, Choice(("16-bit float", "32-bit float"), typed=True, tooltip=BITS)] = "16-bit float"
    input_color_space: Annotated[str, Choice(SPACES, typed=True, tooltip=EXR_SPACE)] = "sRGB"

    def files(self, pictures: Sequence[Tensor], said: Said) -> Iterator[Write]:
        """One for each. Transparency is no light."""
        _check_channels(pictures, (1, 3, 4))
        texts = {**said.texts, "xmp": said.xmp} if said.xmp else said.texts
        space, half = SPACES[self.input_color_space], self.bit_depth == "16-bit float"
        for pixels in pictures:
            light = pixels.clone()
            light[..., :3] = space.to_light(pixels[..., :3])
            yield partial(write_exr, light, half=half, chromaticities=space.chromaticities, texts=texts)


class Mode(Protocol):
    """How many pictures a file holds."""

    def files(self, pictures: Sequence[Tensor], quality: int, said: Said) -> Iterator[Write]:
        """What writes each file."""


@dataclass(frozen=True)
class Still:
    """One."""

    def files(self, pictures: Sequence[Tensor], quality: int, said: Said) -> Iterator[Write]:
        """One for each."""
        for pixels in pictures:
            yield partial(_avif, pixels, said, quality)


def _avif(pixels: Tensor, said: Said, quality: int, path: Path) -> None:
    write_picture(to_pil(pixels.squeeze(-1)), path, "AVIF", said, quality=quality)


@dataclass(frozen=True)
class Moving:
    """All, one after the other."""

    fps: Annotated[float, Float(0.01, 1000.0, step=0.01, tooltip="Pictures a second.")] = 6.0
    loop_count: Annotated[int, Int(0, 1000, tooltip="How often it is shown; 0 for ever.")] = 0

    def files(self, pictures: Sequence[Tensor], quality: int, said: Said) -> Iterator[Write]:
        """One for all."""
        yield partial(self._write, pictures, quality, said)

    def _write(self, pictures: Sequence[Tensor], quality: int, said: Said, path: Path) -> None:
        frames = [to_pil(pixels.squeeze(-1)) for pixels in pictures]
        options = {"quality": quality}
        write_animation(frames, path, "AVIF", said, round(1000 / self.fps) or 1, options)


MODES: Mapping[str, type[Mode]] = MappingProxyType({"still images": Still, "animated": Moving})
MOST_CRF = 63


@dataclass(frozen=True, kw_only=True)
class Avif:
    """AVIF of 8 bits: what the library for it writes."""

    suffix = ".avif"
    bit_depth: Annotated[str, Choice(("auto", "8-bit YUV420"), typed=True, tooltip=BITS)] = "auto"
    input_color_space: Annotated[str, Choice(("sRGB",), typed=True, tooltip=SPACE)] = "sRGB"
    crf: Annotated[int, Int(1, MOST_CRF, tooltip="How much may be lost: small numbers are finer and larger.")] = 18
    save_mode: Annotated[Mode, Cases({}, MODES), Tip("A file for each picture, or one that moves.")]

    @property
    def moves(self) -> bool:
        """Whether it is to."""
        return isinstance(self.save_mode, Moving)

    def files(self, pictures: Sequence[Tensor], said: Said) -> Iterator[Write]:
        """One for each, or one for all."""
        _check_channels(pictures, (1, 3))
        yield from self.save_mode.files(pictures, round(100 * (1 - self.crf / MOST_CRF)), said)


FORMATS: Mapping[str, type[Format]] = MappingProxyType({"png": Png, "exr": Exr, "avif": Avif})


@node(
    "SaveImageAdvanced",
    category="image",
    title="Save Image (Advanced)",
    terminal=True,
    lane="io",
    hidden=EMBEDDED,
)
def save_image_advanced(
    ctx: Context,
    *,
    images: Annotated[Image, Tip("The pictures to save.")],
    filename_prefix: Annotated[
        str, Text(tooltip="How the names begin. May hold folders and %year% %month% %day% %width% %height%.")
    ] = "ComfyUI",
    format: Annotated[Format, Cases({}, FORMATS), Tip("The kind of file.")],  # noqa: A002
) -> Shown[Annotated[Image, Named("images"), Tip("The same pictures.")]]:
    """Save pictures as PNG of 8 or 16 bits, as OpenEXR for further work on light, or as small or moving AVIF."""
    if isinstance(format, Avif) and isinstance(format.save_mode, Moving) and format.save_mode.loop_count:
        ctx.warn("the number of loops is not written: programs show the file for ever", "format")
    said, root = said_of(ctx), ctx.services.folders.output_dir
    height, width = images.pixels.shape[1:3]
    shown = []
    for i, write in enumerate(format.files(list(images.pixels), said)):
        ctx.check()
        place = expand(filename_prefix, root, {"width": width, "height": height, "batch_num": i})
        shown.append(write_shown(place, format.suffix, write))
    moving = {"animated": [True]} if format.moves and len(images.pixels) > 1 else {}
    return Shown(images, {"images": shown, **moving})


def _check_channels(pictures: Sequence[Tensor], known: tuple[int, ...]) -> None:
    if pictures and (channels := pictures[0].shape[-1]) not in known:
        raise InputError("images", f"has {channels} channels, and this format keeps {' or '.join(map(str, known))}")
