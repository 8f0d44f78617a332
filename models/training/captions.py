"""Captions: true sentences about a scene, in English and in Chinese, that tell some of its attributes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import numpy as np

from models.training.scenes import Relation, Scene, Thing
from models.training.world import Place, Season, Style, Time, Weather

BRIEF_SHARE = 0.3  # of captions that leave out much of what is to be seen, as people's prompts do
CHINESE_SHARE = 0.2  # each character is two or three of CLIP's tokens


class Told(StrEnum):
    """An attribute that a caption tells. Kinds and numbers of things are told by all."""

    COLOUR = "colour"
    SIZE = "size"
    RELATION = "relation"
    PLACE = "place"
    TIME = "time"
    WEATHER = "weather"
    SEASON = "season"
    STYLE = "style"


LONG_WINDED = frozenset({Told.SEASON, Told.WEATHER, Told.STYLE})  # what 77 tokens have no room for beside two nouns

PLACES: Mapping[Place, tuple[str, str]] = MappingProxyType(  # within a sentence, and as a keyword
    {
        Place.SEA: ("on the sea", "sea"),
        Place.BEACH: ("on the beach", "beach"),
        Place.MEADOW: ("in a meadow", "meadow"),
        Place.HILLS: ("in the mountains", "mountains"),
        Place.TABLE: ("on a table", "table"),
    }
)
TIMES: Mapping[Time, tuple[str, ...]] = MappingProxyType(
    {Time.DAY: ("by day", "in daylight"), Time.SUNSET: ("at sunset", "at dusk"), Time.NIGHT: ("at night",)}
)
WEATHERS: Mapping[Weather, tuple[str, ...]] = MappingProxyType(
    {
        Weather.CLEAR: ("under a clear sky", "clear sky"),
        Weather.CLOUDY: ("under clouds", "cloudy"),
        Weather.RAIN: ("in the rain", "rain"),
        Weather.SNOW: ("in falling snow", "snow"),
    }
)
STYLES: Mapping[Style, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(  # before and after a sentence
    {
        Style.PLAIN: (("a picture of ", "a drawing of "), (", a picture",)),
        Style.WATERCOLOUR: (("a watercolour of ", "a watercolor of "), (", in watercolour", ", watercolor")),
        Style.WOODCUT: (("a woodcut of ",), (", as a woodcut", ", woodcut")),
        Style.PIXEL_ART: (("pixel art of ",), (", pixel art", ", as pixel art")),
    }
)
NUMBERS = ("a", "two", "three")
PLURALS: Mapping[str, str] = MappingProxyType({"fish": "fish"})  # of kinds that take no s

CHINESE: Mapping[str, str] = MappingProxyType(
    {
        "red": "红", "yellow": "黄", "green": "绿", "blue": "蓝", "purple": "紫", "white": "白", "black": "黑",
        "boat": "艘帆船", "fish": "条鱼", "house": "座房子", "cat": "只猫", "balloon": "个热气球", "flower": "朵花",
        "tree": "棵树", "apple": "个苹果", "cup": "个杯子", "small": "小", "big": "大", "left": "左边", "right": "右边",
        Place.SEA: "海上", Place.BEACH: "沙滩上", Place.MEADOW: "草地上", Place.HILLS: "山里", Place.TABLE: "桌上",
        Time.DAY: "白天", Time.SUNSET: "日落", Time.NIGHT: "夜晚",
        Weather.CLEAR: "晴天", Weather.CLOUDY: "多云", Weather.RAIN: "下雨", Weather.SNOW: "下雪",
        Season.SPRING: "春天", Season.SUMMER: "夏天", Season.AUTUMN: "秋天", Season.WINTER: "冬天",
        Style.PLAIN: "图画", Style.WATERCOLOUR: "水彩画", Style.WOODCUT: "木刻版画", Style.PIXEL_ART: "像素画",
    }
)  # fmt: skip
CHINESE_NUMBERS = ("一", "两", "三")


def caption(one: Scene, number: int = 0) -> str:
    """Caption number `number` of a scene: what it tells, and in which language, is drawn at random."""
    rng = np.random.default_rng([one.seed, number])
    told = _tellings(rng, one)
    if rng.random() >= CHINESE_SHARE:
        return english(one, told, rng)
    return chinese(one, told - LONG_WINDED if one.relation else told)


def _tellings(rng: np.random.Generator, one: Scene) -> frozenset[Told]:
    """What to tell: what strikes the eye nearly always, what goes without saying now and then.

    Brief ones leave out what has no usual value. A night, rain or a style they tell as often as others, since a prompt
    that names none of these means a plain picture by day.
    """
    brief = rng.random() < BRIEF_SHARE
    odds = {
        Told.COLOUR: 0.5 if brief else 0.96,
        Told.SIZE: (0.3 if brief else 0.6) if one.size else 0.0,
        Told.RELATION: 0.7 if one.relation or one.side else 0.0,
        Told.PLACE: 0.3 if brief else 0.85,
        Told.TIME: 0.4 if one.time is Time.DAY else 0.93,
        Told.WEATHER: 0.0 if one.place is Place.TABLE else 0.15 if one.weather is Weather.CLEAR else 0.93,
        Told.SEASON: (0.3 if brief else 0.75) if one.season else 0.0,
        Told.STYLE: 0.08 if one.style is Style.PLAIN else 0.97,
    }
    return frozenset(attribute for attribute, share in odds.items() if rng.random() < share)


def english(one: Scene, told: frozenset[Told], rng: np.random.Generator) -> str:
    """A sentence, or keywords as people type them."""
    keywords = rng.random() < 0.15
    words = [_things(one, told, keywords)]
    if Told.PLACE in told:
        words.append(PLACES[one.place][keywords])
    if Told.TIME in told:
        words.append(_one(rng, TIMES[one.time]))
    if Told.SEASON in told and one.season:
        words.append(one.season.value if keywords else f"in {one.season}")
    if Told.WEATHER in told:
        words.append(WEATHERS[one.weather][keywords])
    sentence = ", ".join(words) if keywords else " ".join(words)
    if Told.STYLE not in told:
        return sentence
    before, after = STYLES[one.style]
    return f"{_one(rng, before)}{sentence}" if rng.random() < 0.5 else f"{sentence}{_one(rng, after)}"


def _things(one: Scene, told: frozenset[Told], keywords: bool) -> str:
    first, second = one.things[0], one.things[-1]
    size = (one.size or "") if Told.SIZE in told else ""
    if one.relation:
        nouns = [_noun(thing, 1, told, "") for thing in (first, second)]
        if Told.RELATION not in told:
            return ", ".join(nouns) if keywords else " and ".join(nouns)
        return f"{nouns[0]} {'to the left of' if one.relation is Relation.LEFT else 'above'} {nouns[1]}"
    noun = _noun(first, len(one.things), told, size)
    return f"{noun} on the {one.side}" if one.side and Told.RELATION in told else noun


def _noun(thing: Thing, count: int, told: frozenset[Told], size: str) -> str:
    colour = thing.colour if thing.colour and Told.COLOUR in told else ""
    kind = thing.kind if count == 1 else PLURALS.get(thing.kind, thing.kind + "s")
    words = [word for word in (size, colour, kind) if word]
    article = "an" if count == 1 and words[0][0] in "aeiou" else NUMBERS[count - 1]
    return " ".join([article, *words])


def chinese(one: Scene, told: frozenset[Told]) -> str:
    """Keywords and a noun, divided by commas."""
    words = [CHINESE[one.style]] if Told.STYLE in told else []
    if Told.SEASON in told and one.season:
        words.append(CHINESE[one.season])
    if Told.TIME in told:
        words.append(CHINESE[one.time])
    if Told.WEATHER in told:
        words.append(CHINESE[one.weather])
    if Told.PLACE in told:
        words.append(CHINESE[one.place])
    return "，".join([*words, _chinese_things(one, told)])


def _chinese_things(one: Scene, told: frozenset[Told]) -> str:
    first, second = one.things[0], one.things[-1]
    size = CHINESE[one.size] if one.size and Told.SIZE in told else ""
    if one.relation:
        nouns = [_chinese_noun(thing, 1, told, "") for thing in (first, second)]
        if Told.RELATION not in told:
            return "和".join(nouns)
        return f"{nouns[0]}在{nouns[1]}的{'左边' if one.relation is Relation.LEFT else '上方'}"
    noun = _chinese_noun(first, len(one.things), told, size)
    return f"{CHINESE[one.side]}有{noun}" if one.side and Told.RELATION in told else noun


def _chinese_noun(thing: Thing, count: int, told: frozenset[Told], size: str) -> str:
    colour = CHINESE[thing.colour] + "色" if thing.colour and Told.COLOUR in told else ""
    measure, kind = CHINESE[thing.kind][0], CHINESE[thing.kind][1:]
    return f"{CHINESE_NUMBERS[count - 1]}{measure}{size}{colour}{kind}"


def _one(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[rng.integers(len(options))]
