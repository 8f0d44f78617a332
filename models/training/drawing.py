"""Scene -> picture: sky, ground, things and weather, in one of the styles."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from models.training.figures import CREAM, FIGURES, INK, Pen, curve, mixed
from models.training.scenes import CELL, Scene, Split, scene
from models.training.world import PALETTE, RGB, SIZE, Place, Season, Style, Time, Weather

SCALE = 2  # scenes are drawn this much larger and shrunk, which smooths their edges
WASHES = 4  # in which watercolour may dry
PIXELS = 32  # of pixel art, a side

SKIES: Mapping[Time, tuple[RGB, RGB]] = MappingProxyType(  # above, and at the horizon
    {
        Time.DAY: ((94, 172, 240), (206, 234, 252)),
        Time.SUNSET: ((116, 72, 150), (255, 160, 84)),
        Time.NIGHT: ((14, 18, 52), (44, 52, 112)),
    }
)
GREY: Mapping[Time, tuple[RGB, RGB]] = MappingProxyType(  # the same under clouds
    {
        Time.DAY: ((132, 146, 164), (196, 206, 216)),
        Time.SUNSET: ((122, 92, 130), (232, 152, 110)),
        Time.NIGHT: ((34, 36, 54), (66, 70, 94)),
    }
)
GROUND: Mapping[Season, RGB] = MappingProxyType(
    {
        Season.SPRING: (160, 214, 108),
        Season.SUMMER: (104, 178, 72),
        Season.AUTUMN: (206, 160, 84),
        Season.WINTER: (238, 243, 250),
    }
)
CROWNS: Mapping[Season, RGB] = MappingProxyType(
    {
        Season.SPRING: (250, 178, 204),
        Season.SUMMER: (44, 130, 56),
        Season.AUTUMN: (226, 112, 34),
        Season.WINTER: (206, 222, 240),
    }
)
SEA: Mapping[Time, RGB] = MappingProxyType(
    {Time.DAY: (44, 132, 176), Time.SUNSET: (142, 92, 140), Time.NIGHT: (28, 52, 104)}
)
SAND: RGB = (240, 214, 150)
WOOD: RGB = (172, 112, 66)
SUN: RGB = (255, 232, 110)
MOON: RGB = (246, 244, 214)
WALLS: Mapping[Time, RGB] = MappingProxyType(
    {Time.DAY: (250, 234, 204), Time.SUNSET: (244, 170, 120), Time.NIGHT: (58, 62, 110)}
)
HORIZON: Mapping[Place, float] = MappingProxyType(
    {Place.SEA: 70.0, Place.BEACH: 62.0, Place.MEADOW: 78.0, Place.HILLS: 84.0, Place.TABLE: 82.0}
)
DUSK: Mapping[Time, tuple[RGB, float]] = MappingProxyType(  # the light on the land, and how much of it
    {Time.DAY: ((255, 255, 255), 0.0), Time.SUNSET: ((214, 100, 70), 0.28), Time.NIGHT: ((16, 20, 62), 0.62)}
)
ON_THINGS = 0.25  # how much of that light falls on things, which keep their colours


def draw(one: Scene, size: int = SIZE) -> NDArray[np.uint8]:
    """The picture of a scene, [size, size, 3]; size is a multiple of 32."""
    rng = np.random.default_rng(one.seed)
    image = _sky(one, size * SCALE)
    pen = Pen(ImageDraw.Draw(image), SCALE * size / SIZE, outline=1.3 if one.style is Style.WOODCUT else 0.0)
    _lights(pen, one, rng)
    _land(pen, one, rng)
    _things(pen, one)
    image = _weather(image, one, pen.scale, rng)
    return _styled(image, one.style, rng)


def pictures(seed: int, first: int, count: int, split: Split = Split.TRAIN, size: int = SIZE) -> NDArray[np.uint8]:
    """The pictures of `count` scenes from number `first` on, [count, size, size, 3]."""
    return np.stack([draw(scene(seed, index, split), size) for index in range(first, first + count)])


def _sky(one: Scene, side: int) -> Image.Image:
    """The canvas with the sky, or the wall behind a table."""
    high, low = SKIES[one.time] if one.weather is Weather.CLEAR else GREY[one.time]
    if one.place is Place.TABLE:
        high = low = WALLS[one.time]
    share = np.clip(np.arange(side) * SIZE / side / HORIZON[one.place], 0, 1)[:, None]
    if one.style is Style.WOODCUT:
        share = np.floor(share * 5) / 5
    column = np.array(high) + (np.array(low) - np.array(high)) * share
    return Image.fromarray(np.repeat(np.rint(column).astype(np.uint8)[:, None], side, axis=1))


def _lights(pen: Pen, one: Scene, rng: np.random.Generator) -> None:
    """Sun, moon and stars, clouds; the window of a room."""
    side = 1 if rng.random() < 0.5 else -1
    x = SIZE / 2 + 5 * CELL * side
    if one.place is Place.TABLE:
        _window(pen, one)
        return
    if one.weather is Weather.CLEAR:
        match one.time:
            case Time.DAY:
                pen.at(x, 24, 11).ellipse(0, 0, 1, 1, SUN)
            case Time.SUNSET:
                sun = pen.at(SIZE / 2 + 2 * CELL * side, HORIZON[one.place] - 6, 17)
                sun.ellipse(0, 0, 1.3, 1.3, (255, 186, 100))
                sun.ellipse(0, 0, 1, 1, (255, 220, 120))
            case Time.NIGHT:
                _stars(pen, rng)
                pen.at(x, 24, 11).polygon([*curve(-0.3, 0.3, 1, 1), *curve(0.2, -0.2, 0.75, 0.8, -0.45)], MOON)
        return
    colour: dict[Time, RGB] = {Time.DAY: (240, 243, 247), Time.SUNSET: (250, 190, 160), Time.NIGHT: (98, 102, 128)}
    for cx in (24, 64, 104):
        cloud = pen.at(cx + _cells(rng, -1, 2), _cells(rng, 2, 4), 13)
        for dx, dy, r in ((-0.8, 0.25, 0.5), (0.8, 0.25, 0.55), (0.0, 0.0, 0.75)):
            cloud.ellipse(dx, dy, r * 1.2, r * 0.8, colour[one.time])


def _cells(rng: np.random.Generator, low: int, high: int) -> int:
    """The pixels of so many latent cells, from `low` to below `high`."""
    return CELL * int(rng.integers(low, high))


def _stars(pen: Pen, rng: np.random.Generator) -> None:
    for i in range(14):
        star = pen.at(4 + i % 7 * 2 * CELL + _cells(rng, 0, 3), 12 + i // 7 * 3 * CELL + _cells(rng, 0, 2), 1.7)
        star.ellipse(0, 0, 1, 1, (252, 250, 220))


def _window(pen: Pen, one: Scene) -> None:
    """A window in the wall that shows the time of day."""
    frame = pen.at(SIZE / 2, 34, 24)
    frame.polygon([(-1.1, -1.1), (1.1, -1.1), (1.1, 0.9), (-1.1, 0.9)], WOOD)
    frame.polygon(
        [(-0.95, -0.95), (0.95, -0.95), (0.95, 0.75), (-0.95, 0.75)], SKIES[one.time][one.time is Time.SUNSET]
    )
    match one.time:
        case Time.DAY:
            frame.ellipse(0.5, -0.5, 0.26, 0.26, SUN)
        case Time.SUNSET:
            frame.polygon(curve(0.5, 1.0, 0.5, 0.5, 0.45, 0.75), SUN)
        case Time.NIGHT:
            moon = pen.at(SIZE / 2 + 11, 22, 7)
            moon.polygon([*curve(-0.3, 0.3, 1, 1), *curve(0.2, -0.2, 0.75, 0.8, -0.45)], MOON)
    frame.polygon([(-0.07, -0.95), (0.07, -0.95), (0.07, 0.75), (-0.07, 0.75)], WOOD)


def _lit(one: Scene, colour: RGB, share: float = 1.0) -> RGB:
    light, amount = DUSK[one.time]
    return mixed(colour, light, amount * share)


def _land(pen: Pen, one: Scene, rng: np.random.Generator) -> None:
    """Everything below the sky."""
    horizon, phase = HORIZON[one.place], int(rng.integers(4)) / 4
    ground = _lit(one, GROUND[one.season or Season.SUMMER])
    sea = mixed(SEA[one.time], (110, 116, 130), 0.0 if one.weather is Weather.CLEAR else 0.35)
    match one.place:
        case Place.SEA | Place.BEACH:
            _band(pen, horizon, sea)
            if one.place is Place.SEA:
                _band(pen, 98, mixed(sea, (10, 40, 90), 0.3), swell=3, phase=phase)
            else:
                _band(pen, 86, _lit(one, (250, 250, 250), 0.6), swell=3, phase=phase)
                _band(pen, 90, _lit(one, SAND), swell=3, phase=phase)
        case Place.MEADOW:
            _band(pen, horizon, mixed(ground, (40, 90, 110), 0.22), swell=5, phase=phase, waves=1)
            _band(pen, horizon + 8, ground)
        case Place.HILLS:
            for peak, top in ((24 + _cells(rng, -1, 2), 44), (80 + _cells(rng, -1, 2), 34), (120, 50)):
                far = _lit(one, mixed((112, 124, 152), GROUND[one.season or Season.SUMMER], 0.25))
                pen.polygon([(peak - 52, horizon + 4), (peak, top), (peak + 52, horizon + 4)], far)
                snow = _lit(one, (248, 250, 255), 0.7)
                pen.polygon([(peak - 13, top + 12), (peak, top), (peak + 13, top + 12), (peak, top + 8)], snow)
            _band(pen, horizon, ground, swell=4, phase=phase, waves=1)
        case Place.TABLE:
            _band(pen, horizon, _lit(one, WOOD, 0.7))
            _band(pen, 120, _lit(one, mixed(WOOD, INK, 0.35), 0.7))


def _band(pen: Pen, top: float, colour: RGB, swell: float = 0, phase: float = 0, waves: float = 2) -> None:
    """All below `top`, whose edge may be a wave `swell` pixels high."""
    xs = np.linspace(-4, SIZE + 4, 25 if swell else 2)
    ys = top + swell * np.sin(2 * np.pi * (phase + waves * xs / SIZE))
    pen.polygon([*zip(xs.tolist(), ys.tolist(), strict=True), (SIZE + 4, SIZE + 4), (-4, SIZE + 4)], colour)


def _things(pen: Pen, one: Scene) -> None:
    crown = CROWNS[one.season or Season.SUMMER]
    for thing in one.things:
        own = Pen(
            pen.draw,
            pen.scale,
            thing.x,
            thing.y,
            thing.radius,
            pen.outline,
            lambda colour: _lit(one, colour, ON_THINGS),
        )
        FIGURES[thing.kind](own, PALETTE[thing.colour] if thing.colour else crown)


def _weather(image: Image.Image, one: Scene, scale: float, rng: np.random.Generator) -> Image.Image:
    """Rain as soft slanting strokes, snow as soft flakes, over everything."""
    if one.weather not in (Weather.RAIN, Weather.SNOW):
        return image
    mask = Image.new("L", image.size)
    fall = ImageDraw.Draw(mask)
    for i in range(25):
        x, y = ((3 * CELL * cell + _cells(rng, 0, 3)) * scale for cell in (i % 5, i // 5))
        if one.weather is Weather.RAIN:
            fall.line([(x, y), (x - 5 * scale, y + 13 * scale)], fill=130, width=round(2 * scale))
        else:
            r = 2.2 * scale
            fall.ellipse([x - r, y - r, x + r, y + r], fill=215)
    colour = (212, 226, 242) if one.weather is Weather.RAIN else (255, 255, 255)
    return Image.composite(Image.new("RGB", image.size, colour), image, mask)


def _styled(image: Image.Image, style: Style, rng: np.random.Generator) -> NDArray[np.uint8]:
    size = image.width // SCALE
    match style:
        case Style.PIXEL_ART:
            return np.asarray(image.reduce(image.width // PIXELS).resize((size, size), Image.Resampling.NEAREST))
        case Style.WATERCOLOUR:
            return _watercolour(image.reduce(SCALE), rng)
        case Style.WOODCUT:
            toned = np.asarray(image.reduce(SCALE), np.float32)
            return np.rint(toned * 0.78 + np.array(CREAM, np.float32) * 0.2).astype(np.uint8)
    return np.asarray(image.reduce(SCALE))


def _watercolour(image: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Thin paint, uneven, soft at the edges, on white paper that shows around it."""
    paper = np.random.default_rng(int(rng.integers(WASHES)))
    wash = Image.fromarray(paper.uniform(-1, 1, (7, 7)).astype(np.float32)).resize(image.size, Image.Resampling.BICUBIC)
    uneven = np.asarray(wash, np.float32)[..., None]
    paint = np.asarray(image.filter(ImageFilter.GaussianBlur(0.9 * image.width / SIZE)), np.float32)
    reach = (np.minimum(np.arange(image.width), np.arange(image.width)[::-1]) * SIZE / image.width).astype(np.float32)
    edge = np.minimum(reach[:, None], reach[None])[..., None]
    cover = np.clip((edge - 6 - 3 * uneven) / 4, 0, 1) * (0.74 + 0.14 * uneven)
    return np.rint(np.clip(252 + (paint - 252) * cover, 0, 255)).astype(np.uint8)
