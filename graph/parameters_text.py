"""The text in which A1111 and its kin say how a picture was made: `parameters` of a PNG, or a text file."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping

from graph.a1111_prompt import read_prompt, write_prompt
from graph.generation import Generation, Hires
from graph.sampler_names import a1111_names, sampler_of

_PAIR = re.compile(r'\s*(\w[\w \-/]*?):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_STEPS = re.compile(r"Steps: \d+,")
_NEGATIVE = "Negative prompt:"
_SAID = frozenset(
    {
        "Steps", "Sampler", "Schedule type", "CFG scale", "Seed", "Size", "Model", "Model hash", "Denoising strength",
        "Clip skip", "Hires upscale", "Hires resize", "Hires steps", "Hires upscaler", "VAE", "VAE hash", "Version",
        "Lora hashes", "TI hashes", "Batch size", "Batch pos", "Face restoration", "RNG", "Hashes", "ENSD",
        "Variation seed", "Variation seed strength", "Hires Module 1",
    }
)  # fmt: skip


def is_parameters(text: str) -> bool:
    """Whether a text is one of these: its last line begins with the number of steps."""
    at = -1
    while not _STEPS.match(text, at + 1):
        at = text.find("\nSteps: ", at + 1)  # which takes a moment, also for many megabytes
        if at < 0:
            return False
    return True


def read_parameters(text: str, embeddings: Collection[str] = ()) -> Generation:
    """What such a text says. Numbers that are none are passed over."""
    lines = text.strip().splitlines()
    last = next((at for at in range(len(lines) - 1, -1, -1) if _STEPS.match(lines[at])), len(lines))
    body, said = "\n".join(lines[:last]), _pairs("\n".join(lines[last:]))
    positive, _, negative = body.partition(_NEGATIVE)
    good, bad = read_prompt(positive.strip(), embeddings), read_prompt(negative.strip(), embeddings)
    sampler, scheduler = sampler_of(said.get("Sampler", "Euler"), said.get("Schedule type", ""))
    width, height = size_of(said.get("Size", "")) or (512, 512)
    hires = _hires(said)
    strength = number_of(said.get("Denoising strength"), 1.0)
    notes = [*good.notes, *bad.notes, *_notes(said, sampler, scheduler)]
    if hires is None and strength < 1:
        notes.append("it was made from another picture, which the file does not hold")
    return Generation(
        prompt=good.text,
        negative=bad.text,
        steps=whole_of(said.get("Steps"), 20),
        sampler=sampler or "euler",
        scheduler=scheduler or "normal",
        cfg=number_of(said.get("CFG scale"), 7.0),
        seed=whole_of(said.get("Seed"), 0),
        width=width,
        height=height,
        model=said.get("Model", ""),
        vae=said.get("VAE", ""),
        clip_skip=whole_of(said.get("Clip skip"), 1),
        loras=(*good.loras, *bad.loras),
        hires=hires,
        batch=whole_of(said.get("Batch size"), 1),
        program="A1111",
        notes=tuple(dict.fromkeys(notes)),
    )


def write_parameters(made: Generation) -> str:
    """The text for a picture."""
    sampler, schedule = a1111_names(made.sampler, made.scheduler)
    pairs = {
        "Steps": str(made.steps),
        "Sampler": sampler,
        "Schedule type": schedule,
        "CFG scale": f"{made.cfg:g}",
        "Seed": str(made.seed),
        "Size": f"{made.width}x{made.height}",
        "Model": made.model,
        "VAE": made.vae,
        "Denoising strength": f"{made.denoise:g}" if made.denoise < 1 else "",
        "Clip skip": str(made.clip_skip) if made.clip_skip > 1 else "",
        "Version": "Darkroom",
    }
    lines = [write_prompt(made.prompt, made.loras)]
    if made.negative:
        lines.append(f"{_NEGATIVE} {write_prompt(made.negative)}")
    lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in pairs.items() if value))
    return "\n".join(lines)


def size_of(text: str) -> tuple[int, int] | None:
    """Width and height in a text such as `512x768` or `(512, 768)`."""
    found = re.search(r"(\d{1,5})\s*[x×,*]\s*(\d{1,5})", text)
    return (int(found[1]), int(found[2])) if found else None


def number_of(value: object, otherwise: float) -> float:
    """A finite number, which may be written as a text."""
    try:
        number = float(value) if isinstance(value, str | int | float) else otherwise
    except (ValueError, OverflowError):
        return otherwise
    return number if abs(number) < 2**64 else otherwise


def whole_of(value: object, otherwise: int) -> int:
    """A whole number, which may be written as a text; seeds have more digits than floats hold."""
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,20}\s*", value):
        return int(value)
    return value if type(value) is int else int(number_of(value, otherwise))


def _pairs(text: str) -> Mapping[str, str]:
    """`Name: value, Name: "value, with comma"`."""
    found: dict[str, str] = {}
    for name, value in _PAIR.findall(text):
        if value.startswith('"'):
            try:
                value = str(json.loads(value))
            except ValueError:
                value = value.strip('"')
        found.setdefault(name, value.strip())
    return found


def _hires(said: Mapping[str, str]) -> Hires | None:
    scale, size = number_of(said.get("Hires upscale"), 0), size_of(said.get("Hires resize", ""))
    if not scale and size is None:
        return None
    return Hires(
        scale or 2.0,
        size,
        whole_of(said.get("Hires steps"), 0),
        number_of(said.get("Denoising strength"), 0.7),
        said.get("Hires upscaler", ""),
    )


def _notes(said: Mapping[str, str], sampler: str, scheduler: str) -> list[str]:
    notes = []
    if not sampler:
        notes.append(f"the sampler {said.get('Sampler', '')} is not known here: euler stands for it")
    if not scheduler:
        notes.append(f"the schedule {said.get('Schedule type', '')} is not known here: normal stands for it")
    if number_of(said.get("Variation seed strength"), 0):
        notes.append(f"the variation seed {said.get('Variation seed', '')} is left out")
    if said.get("RNG", "GPU") != "CPU":
        notes.append(
            "its noise was drawn on a GPU, as A1111 does unless told otherwise: the seed gives another picture"
        )
    if "Face restoration" in said:
        notes.append(f"restoring faces with {said['Face restoration']} is left out")
    left = [name for name in said if name not in _SAID]
    if left:
        notes.append(f"left out: {', '.join(f'{name} ({said[name]})' for name in left[:12])}")
    return notes


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if re.search('[,:\n"]', value) else value
