"""What the writer of an adapter file says beside its tensors: in the header, or in PEFT's `adapter_config.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from models.adapter_kinds import Said
from models.weights import CheckpointError, TensorFile

CONFIG = "adapter_config.json"
"""PEFT's file beside its weights."""

NETWORKS = ("unet", "text_encoder", "text_encoder_2")
"""What diffusers calls the networks that adapters change."""

_HEADER = "lora_adapter_metadata"  # of diffusers since 0.34
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq")  # ways to begin training that leave another base model


@dataclass(frozen=True)
class Settings:
    """For all layers of one network. patterns: what holds for layers whose names end with one of some patterns."""

    said: Said = field(default_factory=Said)
    alphas: tuple[tuple[str, float], ...] = ()
    ranks: tuple[tuple[str, float], ...] = ()
    inputs: tuple[tuple[str, float], ...] = ()  # which layers IA3 scales the inputs of
    notes: tuple[str, ...] = ()  # what a user should know, as sentences
    source: str = ""  # the text it was read from

    def of(self, layer: str) -> Said:
        """What holds for one layer, by the name that the writer had for it."""
        alpha = _first_match(self.alphas, layer, self.said.alpha)
        rank = _first_match(self.ranks, layer, self.said.rank)
        scales_input = bool(_first_match(self.inputs, layer, None))
        return replace(self.said, alpha=alpha, rank=None if rank is None else int(rank), scales_input=scales_input)


def read_settings(file: TensorFile) -> Mapping[str, Settings]:
    """By network (one of NETWORKS), or under "" for whichever the file is for. Raises CheckpointError."""
    if text := file.metadata.get(_HEADER):
        values = _parsed(text, f"{file.path.name}'s header")
        parts = {part for name in values if (part := name.split(".")[0]) in NETWORKS}
        found = {part: _settings(_below(values, part), text) for part in parts}
        return found or {"": _settings(values, text)}
    if not any(name.startswith("base_model.model.") for name in file.tensors):
        return {}
    config = file.path.with_name(CONFIG)
    if not config.is_file():
        note = f"{CONFIG} is not beside it, so its alpha is taken to be its rank"
        return {"": Settings(notes=(note,))}
    try:
        text = config.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{CONFIG} beside {file.path.name} cannot be read: {error}") from error
    return {"": _settings(_parsed(text, f"{CONFIG} beside {file.path.name}"), text)}


def config_stamp(file: Path) -> object:
    """What tells whether the configuration beside a file is still the same."""
    try:
        stat = file.with_name(CONFIG).stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _settings(values: Mapping[str, object], source: str) -> Settings:
    kind = str(values.get("peft_type", "LORA"))
    alpha = values.get("lora_alpha", values.get("alpha"))
    exact = kind == "OFT" and not values.get("use_cayley_neumann", True)
    said = Said(
        alpha=_number(alpha),
        rank=int(_number(values.get("r")) or 0) or None,
        root=values.get("use_rslora") is True,
        always_scaled=kind == "LOKR",
        cayley_terms=None if exact else int(_number(values.get("num_cayley_neumann_terms")) or 5),
        orthogonal=values.get("apply_GS") is True,
    )
    alphas, ranks = (_pattern(values.get(name)) for name in ("alpha_pattern", "rank_pattern"))
    began = str(values.get("init_lora_weights", "")).lower()
    notes = []
    if began.startswith(_CHANGES_BASE):
        notes.append(f"it was trained from {began}, on a base model that was changed first; pictures will differ")
    modules = values.get("feedforward_modules") or ()
    inputs = tuple((str(name), 1.0) for name in ([modules] if isinstance(modules, str) else _list(modules)))
    return Settings(said, alphas, ranks, inputs, tuple(notes), source)


def _first_match(patterns: tuple[tuple[str, float], ...], layer: str, otherwise: float | None) -> float | None:
    for key, value in patterns:
        try:
            if re.fullmatch(rf"(.*\.)?({key})", layer):
                return value
        except re.error:
            if layer == key or layer.endswith("." + key):
                return value
    return otherwise


def _pattern(values: object) -> tuple[tuple[str, float], ...]:
    if not isinstance(values, Mapping):
        return ()
    found = ((str(key), _number(value)) for key, value in values.items())
    return tuple((key, value) for key, value in found if value is not None)


def _list(values: object) -> list[object]:
    return values if isinstance(values, list) else []


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _below(values: Mapping[str, object], part: str) -> Mapping[str, object]:
    return {name.removeprefix(part + "."): value for name, value in values.items() if name.startswith(part + ".")}


def _parsed(text: str, where: str) -> Mapping[str, object]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where} is damaged: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{where} is damaged: it is no object")
    return values
