"""Nodes that resize pictures and masks by one of many rules, and find sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, ClassVar, NamedTuple, Protocol, TypeVar

from graph.errors import InputError
from graph.sockets import Choice, Float, Int
from graph.spec import Cases, Named, Tip, node
from models.scaling import PICTURE_METHODS, Resize
from models.types import Image, Mask
from nodes.scaling import CROP, scaled_image
from nodes.services import Context

T = TypeVar("T", Image, Mask)
METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")
MOST = 8192  # pixels a side
PIXELS = Int(0, MOST, step=1, tooltip="Pixels; 0 keeps the shape.")


class Rule(Protocol):
    """A way to find a new size from an old one."""

    @property
    def crop(self) -> str:
        """Whether what has no place in the new shape is cut off, or all is stretched."""

    def size(self, width: int, height: int) -> tuple[float, float]:
        """The new width and height, not rounded."""


@dataclass(frozen=True)
class Dimensions:
    """A width and a height; 0: as the other needs it."""

    width: Annotated[int, PIXELS] = 512
    height: Annotated[int, PIXELS] = 512
    crop: Annotated[str, CROP] = "center"

    def size(self, width: int, height: int) -> tuple[float, float]:
        """The new width and height."""
        return _filled(self.width, self.height, width, height)


@dataclass(frozen=True)
class Multiplied:
    """Times a number."""

    crop: ClassVar[str] = "disabled"
    multiplier: Annotated[float, Float(0.01, 8.0, step=0.01, tooltip="2 doubles each side.")] = 1.0

    def size(self, width: int, height: int) -> tuple[float, float]:
        """The new width and height."""
        return width * self.multiplier, height * self.multiplier


@dataclass(frozen=True)
class Longer:
    """The longer side."""

    crop: ClassVar[str] = "disabled"
    longer_size: Annotated[int, Int(0, MOST, step=1, tooltip="Pixels of the longer side.")] = 512

    def size(self, width: int, height: int) -> tuple[float, float]:
        """The new width and height."""
        share = self.longer_size / max(width, height)
        return width * share, height * share


@dataclass(frozen=True)
class Shorter:
    """The shorter side."""

    crop: ClassVar[str] = "disabled"
    shorter_size: Annotated[int, Int(0, MOST, step=1, tooltip="Pixels of the shorter side.")] = 512

    def size(self, width: int, height: int) -> tuple[float, float]:
        """The new width and height."""
        share = self.shorter_size / min(width, height)
        return width * share, height * share


@dataclass(frozen=True)
class Wide:
    """The width."""

    crop: ClassVar[str] = "disabled"
    width: Annotated[int, PIXELS] = 512

    def size(self, width: int, height: int) -> tuple[float, float]:
        """The new width and height."""
        return _filled(self.width, 0, width, height)


@dataclass(frozen=True)
class High:
    """The height."""

    crop: ClassVar[str] = "disabled"
    height: Annotated[int, PIXELS] = 512

    def size(self, width: int, height: int) -> tuple[float, float]:
        """The new width and height."""
        return _filled(0, self.height, width, height)


@dataclass(frozen=True)
class Total:
    """The number of pixels."""

    crop: ClassVar[str] = "disabled"
    megapixels: Annotated[float, Float(0.01, 16.0, step=0.01, tooltip="1 is 1024 times 1024.")] = 1.0

    def size(self, width: int, height: int) -> tuple[float, float]:
        """The new width and height."""
        share = (int(self.megapixels * 1024 * 1024) / (width * height)) ** 0.5
        return width * share, height * share


@dataclass(frozen=True)
class Match:
    """As another."""

    match: Annotated[Image | Mask, Tip("What has the size.")]
    crop: Annotated[str, CROP] = "center"

    def size(self, width: int, height: int) -> tuple[float, float]:
        """The new width and height."""
        rows, columns = (self.match.pixels if isinstance(self.match, Image) else self.match.values).shape[1:3]
        return columns, rows


@dataclass(frozen=True)
class ToMultiple:
    """Down to a multiple, cut from the middle."""

    crop: ClassVar[str] = "center"
    multiple: Annotated[int, Int(1, MOST, step=1, tooltip="What both sides are to be a multiple of.")] = 8

    def size(self, width: int, height: int) -> tuple[float, float]:
        """The new width and height."""
        return width // self.multiple * self.multiple, height // self.multiple * self.multiple


RULES: Mapping[str, type[Rule]] = MappingProxyType(
    {
        "scale dimensions": Dimensions,
        "scale by multiplier": Multiplied,
        "scale longer dimension": Longer,
        "scale shorter dimension": Shorter,
        "scale width": Wide,
        "scale height": High,
        "scale total pixels": Total,
        "match size": Match,
        "scale to multiple": ToMultiple,
    }
)


@node("ResizeImageMaskNode", category="image/transform", title="Resize Image/Mask")
def resize_image_mask(
    ctx: Context,
    *,
    input: Annotated[T, Tip("The pictures or masks.")],  # noqa: A002
    resize_type: Annotated[Rule, Cases({}, RULES), Tip("What decides the new size.")],
    scale_method: Annotated[
        str, Choice(METHODS, typed=True, tooltip="How new pixels are made from old ones.")
    ] = "area",
) -> Annotated[T, Named("resized"), Tip("The pictures or masks in their new size.")]:
    """Bring pictures or masks to a size, by one of many rules."""
    return _resized(input, resize_type, PICTURE_METHODS[scale_method])  # type: ignore[return-value]  # of the kind that came


def _resized(given: Image | Mask, rule: Rule, resize: Resize) -> Image | Mask:
    picture = given if isinstance(given, Image) else Image(given.values[..., None].expand(-1, -1, -1, 3))
    height, width = picture.pixels.shape[1:3]
    wanted = rule.size(width, height)
    if not all(wanted):
        raise InputError("resize_type", f"would leave nothing of {width}x{height}: {wanted[0]:g}x{wanted[1]:g}")
    columns, rows = (max(1, round(side)) for side in wanted)
    resized = scaled_image(picture, resize, columns, rows, rule.crop, "input")
    return resized if isinstance(given, Image) else Mask(resized.pixels[..., 0].contiguous())


@node("ResizeImagesByLongerEdge", category="image/transform", title="Resize Images by Longer Edge", deprecated=True)
def resize_images_by_longer_edge(
    ctx: Context,
    *,
    images: Annotated[Image, Tip("The pictures.")],
    longer_edge: Annotated[int, Int(1, MOST, tooltip="Pixels of the longer side.")] = 1024,
) -> Annotated[Image, Named("images"), Tip("The pictures in their new size.")]:
    """Bring the longer side of pictures to a length."""
    height, width = images.pixels.shape[1:3]
    columns, rows = (max(1, int(side)) for side in Longer(longer_edge).size(width, height))
    return scaled_image(images, PICTURE_METHODS["lanczos"], columns, rows, "disabled", "images")


class Resolution(NamedTuple):
    """The sides of a picture."""

    width: Annotated[int, Tip("Pixels across.")]
    height: Annotated[int, Tip("Pixels down.")]


SHAPES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "1:1 (Square)": (1, 1),
        "2:3 (Portrait Photo)": (2, 3),
        "3:2 (Photo)": (3, 2),
        "3:4 (Portrait Standard)": (3, 4),
        "4:3 (Standard)": (4, 3),
        "9:16 (Portrait Widescreen)": (9, 16),
        "16:9 (Widescreen)": (16, 9),
        "21:9 (Ultrawide)": (21, 9),
    }
)


@node("ResolutionSelector", category="utils", title="Resolution Selector")
def resolution_selector(
    ctx: Context,
    *,
    aspect_ratio: Annotated[str, Choice(SHAPES, typed=True, tooltip="Width to height.")] = "1:1 (Square)",
    megapixels: Annotated[float, Float(0.1, 16.0, step=0.1, tooltip="How many pixels; 1 is 1024 times 1024.")] = 1.0,
    multiple: Annotated[int | None, Int(8, 128, step=4, tooltip="What both sides are to be a multiple of.")] = 8,
) -> Resolution:
    """The sides of a picture of some proportions and some number of pixels."""
    across, down = SHAPES[aspect_ratio]
    unit, share = multiple or 8, (megapixels * 1024 * 1024 / (across * down)) ** 0.5
    width, height = (max(unit, round(side * share / unit) * unit) for side in (across, down))
    return Resolution(width, height)


def _filled(width: int, height: int, old_width: int, old_height: int) -> tuple[float, float]:
    """A width and a height, of which one may be 0: as the proportions have it. Both 0: as it was."""
    if not width and not height:
        return old_width, old_height
    return width or old_width * height / old_height, height or old_height * width / old_width
