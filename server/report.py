"""The report of an evaluation: one folder with a page of curves and pictures, and the figures as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from graph.whole_files import write_whole
from server.curves import Curve, chart
from server.evaluation import Evaluation, Point

PAGE, FIGURES = "index.html", "figures.json"
MOST_ROWS = 200  # of the contact sheet

_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "clip_score": "CLIP score",
        "fid": "FID (Inception)",
        "clip_fid": "FID in the features of the CLIP",
        "kid": "KID (Inception)",
        "cmmd": "CMMD",
    }
)
_BETTER: Mapping[str, str] = MappingProxyType(
    {"clip_score": "higher", "fid": "lower", "clip_fid": "lower", "kid": "lower", "cmmd": "lower"}
)

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1b; --faint: #6b6b66; --line: #dcdcd6; --paper: #fbfbf8 }
@media (prefers-color-scheme: dark) { :root { --ink: #ecece6; --faint: #9b9b94; --line: #3a3a37; --paper: #191918 } }
body { margin: 3rem auto; padding: 0 1.5rem; max-width: 80rem; font: 15px/1.55 system-ui, sans-serif;
       color: var(--ink); background: var(--paper) }
h1 { font-size: 1.7rem; font-weight: 600; margin: 0 } h2 { font-size: 1.1rem; font-weight: 600; margin: 2.5rem 0 .8rem }
p, figcaption { color: var(--faint); max-width: 46rem } figure { margin: 0 }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 2rem }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: var(--ink) }
text { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; stroke-linejoin: round }
table { border-collapse: collapse } td, th { padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top;
        font-variant-numeric: tabular-nums } th { font-weight: 500; color: var(--faint) }
.figures tr { border-bottom: 1px solid var(--line) } .figures td + td, .figures th + th { text-align: right }
.sheet { overflow-x: auto } .sheet td { padding: 0 .35rem .35rem 0 } .sheet th { padding-right: 1rem }
.sheet thead th { max-width: 8rem; padding: 0 .35rem .5rem 0; font-size: 13px; line-height: 1.35; overflow-wrap: anywhere }
.sheet tbody th { width: 13rem; min-width: 11rem; color: var(--ink); font-weight: 400; font-size: 13px }
.sheet img { display: block; width: 8rem; height: auto; border-radius: 3px } .sheet small { color: var(--faint) }
"""


def write_report(evaluation: Evaluation, points: Sequence[Point], folder: Path) -> Path:
    """Write what is known so far; gives the page's path."""
    write_whole(folder / FIGURES, json.dumps(_as_json(evaluation, points), ensure_ascii=False, indent=1).encode())
    write_whole(folder / PAGE, _page(evaluation, points).encode())
    return folder / PAGE


def _as_json(evaluation: Evaluation, points: Sequence[Point]) -> Mapping[str, object]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"system": platform.platform(), "processors": os.cpu_count()},
        "evaluation": asdict(replace(evaluation, drawn_by=None)),
        "points": [
            {"checkpoint": point.checkpoint, "cfg": point.cfg, **point.figures, "clip_scores": point.scores}
            for point in points
        ],
    }


def _page(evaluation: Evaluation, points: Sequence[Point]) -> str:
    settings = (
        f"{len(evaluation.prompts)} prompts drawn by {evaluation.workflow}, seeds from {evaluation.seed}"
        if evaluation.workflow
        else f"{len(evaluation.prompts)} prompts, {evaluation.width}×{evaluation.height} pixels, {evaluation.steps} steps of "
        f"{evaluation.sampler} with {evaluation.scheduler}, seeds from {evaluation.seed}"
    )
    judges = [
        f"CLIP: {evaluation.clip_model}" if evaluation.clip_model else "",
        f"Inception: {evaluation.inception}" if evaluation.inception else "",
        f"reference: {evaluation.reference}" if evaluation.reference else "",
    ]
    sections = [_charts(points), _table(points), _sheet(evaluation, points)]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(evaluation.name)}</title>"
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style><h1>{escape(evaluation.name)}</h1>"
        f"<p>{escape(settings)}. {escape('; '.join(filter(None, judges)))}</p>{''.join(sections)}</html>"
    )


def _charts(points: Sequence[Point]) -> str:
    figures = [name for name in _TITLES if all(name in point.figures for point in points)]
    charts = []
    if "clip_score" in figures:
        for name in figures[1:]:
            curves = _curves(points, lambda point: point.figures["clip_score"], name)
            note = "Each curve is a checkpoint, each dot a guidance scale. Down and to the right is better."
            charts.append(_figure(chart(curves, _TITLES["clip_score"], _TITLES[name]), note))
    for name in figures:
        curves = _curves(points, lambda point: point.cfg, name)
        charts.append(_figure(chart(curves, "guidance scale", _TITLES[name]), f"{_BETTER[name].title()} is better."))
    return f"<h2>Quality against guidance</h2><div class=charts>{''.join(charts)}</div>" if charts else ""


def _curves(points: Sequence[Point], across: Callable[[Point], float], figure: str) -> list[Curve]:
    return [
        Curve(
            checkpoint,
            tuple(
                (across(point), point.figures[figure], f"{point.cfg:g}")
                for point in sorted(points, key=lambda point: point.cfg)
                if point.checkpoint == checkpoint
            ),
        )
        for checkpoint in dict.fromkeys(point.checkpoint for point in points)
    ]


def _figure(svg: str, note: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(note)}</figcaption></figure>"


def _table(points: Sequence[Point]) -> str:
    names = [name for name in _TITLES if any(name in point.figures for point in points)]
    if not names:
        return ""
    head = "".join(f"<th>{escape(title)}" for title in ("checkpoint", "cfg", *(_TITLES[name] for name in names)))
    rows = "".join(
        f"<tr><td>{escape(point.checkpoint)}<td>{point.cfg:g}"
        + "".join(f"<td>{point.figures[name]:.3f}" if name in point.figures else "<td>" for name in names)
        for point in points
    )
    return f"<h2>Figures</h2><table class=figures><thead><tr>{head}<tbody>{rows}</table>"


def _sheet(evaluation: Evaluation, points: Sequence[Point]) -> str:
    head = "<th>" + "".join(f"<th>{escape(point.checkpoint)}<br>cfg {point.cfg:g}" for point in points)
    rows = "".join(
        f"<tr><th>{escape(prompt)}" + "".join(_cells(evaluation, points, i))
        for i, prompt in enumerate(evaluation.prompts[:MOST_ROWS])
    )
    left_out = len(evaluation.prompts) - MOST_ROWS
    more = f"<p>{left_out} more prompts are in the folders of the pictures.</p>" if left_out > 0 else ""
    return f"<h2>Pictures</h2><div class=sheet><table><thead><tr>{head}<tbody>{rows}</table></div>{more}"


def _cells(evaluation: Evaluation, points: Iterable[Point], i: int) -> Iterable[str]:
    for point in points:
        address = quote(f"{evaluation.pictures(point.checkpoint, point.cfg)}/{evaluation.picture(i)}")
        score = f"<small>{point.scores[i]:.1f}</small>" if point.scores else ""
        alt = escape(f"{evaluation.prompts[i]} ({point.checkpoint}, cfg {point.cfg:g})", quote=True)
        yield f'<td><a href="{address}"><img loading=lazy src="{address}" alt="{alt}"></a>{score}'
