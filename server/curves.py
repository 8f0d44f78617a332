"""Curves as an SVG picture, to stand in a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 480, 340
LEFT, RIGHT, TOP, BOTTOM = 58, 20, 18, 48  # pixels around the plot
Place = Callable[[float, float], tuple[float, float]]
"""Values -> pixels."""
INKS = ("#2f6f9f", "#c8553d", "#5a8f3d", "#8a5aa8", "#b0862a", "#3a8f8a", "#a34a72", "#666666")


@dataclass(frozen=True, slots=True)
class Curve:
    """A name, and dots (x, y, label) in the order in which they are joined."""

    name: str
    dots: tuple[tuple[float, float, str], ...]


def chart(curves: Sequence[Curve], across: str, up: str) -> str:
    """All curves over one pair of axes. across, up: what the axes say."""
    x_ticks = _ticks([x for curve in curves for x, _, _ in curve.dots])
    y_ticks = _ticks([y for curve in curves for _, y, _ in curve.dots])

    def place(x: float, y: float) -> tuple[float, float]:
        along = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        above = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return LEFT + along * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - above * (HEIGHT - TOP - BOTTOM)

    parts = [*_axes(x_ticks, y_ticks, place, across, up)]
    for curve, ink in zip(curves, INKS * len(curves), strict=False):
        parts.extend(_curve(curve, ink, place))
    if len(curves) > 1:
        parts.extend(_legend(curves))
    label = escape(f"{up} against {across}", quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _axes(x_ticks: Sequence[float], y_ticks: Sequence[float], place: Place, across: str, up: str) -> Iterator[str]:
    for x in x_ticks:
        at, foot = place(x, y_ticks[0])
        yield _line(at, TOP, at, foot) + _text(at, foot + 18, f"{x:g}", "middle")
    for y in y_ticks:
        edge, at = place(x_ticks[0], y)
        yield _line(edge, at, WIDTH - RIGHT, at) + _text(edge - 8, at + 4, f"{y:g}", "end")
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, across, "middle", faint=False)
    middle = (TOP + HEIGHT - BOTTOM) / 2
    yield f'<g transform="rotate(-90 14 {middle:.1f})">{_text(14, middle, up, "middle", faint=False)}</g>'


def _curve(curve: Curve, ink: str, place: Place) -> Iterator[str]:
    placed = [place(x, y) for x, y, _ in curve.dots]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    yield f'<polyline points="{points}" fill="none" stroke="{ink}" stroke-width="2" stroke-linejoin="round"/>'
    for (x, y), (_, value, label) in zip(placed, curve.dots, strict=True):
        tip = escape(f"{curve.name}, cfg {label}: {value:.3f}")
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{ink}"><title>{tip}</title></circle>'
        yield _text(x + 6, y - 6, label, "start")


def _legend(curves: Sequence[Curve]) -> Iterator[str]:
    for row, (curve, ink) in enumerate(zip(curves, INKS * len(curves), strict=False)):
        y = TOP + 12 + 18 * row
        yield f'<circle cx="{WIDTH - RIGHT - 8}" cy="{y - 4}" r="4" fill="{ink}"/>'
        yield _text(WIDTH - RIGHT - 18, y, curve.name, "end", faint=False)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="var(--line)"/>'


def _text(x: float, y: float, text: str, anchor: str, faint: bool = True) -> str:
    ink = ' fill="var(--faint)"' if faint else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{ink}>{escape(text)}</text>'


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers, three to eight of them, from below the least value to above the greatest."""
    low, high = min(values), max(values)
    span = (high - low) or abs(high) or 1.0
    rough = span / 4
    scale = 10 ** math.floor(math.log10(rough))
    step = next(scale * times for times in (1, 2, 2.5, 5, 10) if scale * times >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    return [float(f"{n * step:.10g}") for n in range(first, last + 1)]
