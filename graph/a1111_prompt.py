"""A1111's prompt language -> that of workflows, and the LoRA files that prompts name."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from graph.generation import LoraUse

_EXTRA = re.compile(r"<(lora|lyco|hypernet):([^:<>]+)((?::[^:<>]*)*)>", re.IGNORECASE)
_SQUARE = 1 / 1.1
_PIECE = re.compile(r"\\.|[\[\]]|[^\\\[\]]+|\\", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as workflows have it, the LoRA files it named, and sentences about what they cannot say."""

    text: str
    loras: tuple[LoraUse, ...] = ()
    notes: tuple[str, ...] = ()


def read_prompt(text: str, embeddings: Collection[str] = ()) -> Prompt:
    """Translate a prompt. `embeddings` are names of embedding files without suffix, which A1111 knows as plain words."""
    plain, loras, notes = without_loras(text)
    if re.search(r"\bBREAK\b", plain):
        notes.append("BREAK in a prompt is left out: it began a new part of 75 tokens")
        plain = re.sub(r"\s*\bBREAK\b\s*", " ", plain)
    if re.search(r"\bAND\b", plain):
        notes.append("AND in a prompt is read as a word: prompts that are drawn together need a node each")
    return Prompt(embedded(_round(plain, notes), embeddings), tuple(loras), tuple(notes))


def without_loras(text: str) -> tuple[str, list[LoraUse], list[str]]:
    """A prompt without its `<lora:name:0.8>`, these, and sentences about what else was named and is left out."""
    loras: list[LoraUse] = []
    notes: list[str] = []

    def take(found: re.Match[str]) -> str:
        kind, name, numbers = found[1].lower(), found[2].strip(), [part for part in found[3].split(":") if part]
        if kind == "hypernet":
            notes.append(f"the hypernetwork {name} is left out")
            return ""
        strengths = [strength for part in numbers[:2] if (strength := _number(part)) is not None] or [1.0]
        loras.append(LoraUse(name, strengths[0], strengths[-1]))
        return ""

    plain = _EXTRA.sub(take, text)
    if loras or notes:
        plain = re.sub(r"(,\s*){2,}", ", ", plain).strip(" ,\n")
    return plain, loras, notes


def write_prompt(text: str, loras: Collection[LoraUse] = ()) -> str:
    """A prompt of a workflow as A1111 would have it typed, with its LoRA files."""
    plain = re.sub(r"\bembedding:(\S+?)(?:\.safetensors|\.pt|\.bin)?(?=[\s,()]|$)", r"\1", text)
    tags = [f"<lora:{lora.name}:{_short(lora.model)}{_second(lora)}>" for lora in loras]
    return " ".join([plain, *tags]).strip()


def _round(text: str, notes: list[str]) -> str:
    """`[word]`, which counts a tenth less, as `(word:0.91)`; what changes during sampling is told and made plain."""
    stack: list[list[str]] = [[]]
    for piece in _PIECE.findall(text):
        if piece == "[":
            stack.append([])
        elif piece == "]" and len(stack) > 1:
            inside = "".join(stack.pop())
            stack[-1].append(_bracket(inside, notes))
        else:
            stack[-1].append(piece)
    while len(stack) > 1:  # a bracket that never closes is a letter
        rest = "".join(stack.pop())
        stack[-1].append(f"[{rest}")
    return "".join(stack[0])


def _bracket(inside: str, notes: list[str]) -> str:
    parts = inside.split(":")
    if len(parts) in (2, 3) and _number(parts[-1]) is not None and "(" not in inside:
        notes.append(f"[{inside}] changes during sampling, which a prompt here cannot: its last part stands for it")
        return parts[1] if len(parts) == 3 else parts[0]
    if "|" in inside and "(" not in inside:
        notes.append(f"[{inside}] alternates during sampling, which a prompt here cannot: its first part stands for it")
        return inside.split("|")[0]
    return f"({inside}:{_SQUARE:.2f})" if inside.strip() else inside


def embedded(text: str, embeddings: Collection[str]) -> str:
    """A prompt whose plain words that are names of embeddings, without suffix, have `embedding:` before them."""
    if not embeddings:
        return text
    words = "|".join(re.escape(name) for name in sorted(embeddings, key=len, reverse=True))
    return re.sub(rf"(?<![\w:/.-])({words})(?![\w/-])", r"embedding:\1", text)


def _number(text: str) -> float | None:
    try:
        number = float(text.split("=")[-1])
    except ValueError:
        return None
    return number if abs(number) < 1e6 else None


def _short(number: float) -> str:
    return f"{number:.4f}".rstrip("0").rstrip(".")


def _second(lora: LoraUse) -> str:
    return "" if lora.clip == lora.model else f":{_short(lora.clip)}"
