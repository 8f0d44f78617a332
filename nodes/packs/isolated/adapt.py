"""Loading a pack into a process of its own: its node types as the process tells of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graph.replacements import Replacement
from graph.spec import NodeSpec
from nodes.packs.checks import Check
from nodes.packs.found import Pack
from nodes.packs.host import Host
from nodes.packs.isolated.facts import check_by, node_type
from nodes.packs.isolated.life import PackProcessError
from nodes.packs.isolated.process import PackProcess
from nodes.packs.loading import Loaded, Permit
from nodes.packs.trust import Isolation

_logger = logging.getLogger(__name__)


def load_apart(permit: Permit, terms: Isolation, host: Host, taken: Mapping[str, NodeSpec]) -> Loaded:
    """Begin the process of a pack and adapt its nodes. Names that are `taken` stay who has them. Never raises."""
    if os.name != "posix":
        return Loaded(
            permit, problem="is not loaded: a process of its own needs Linux or macOS; here it runs within only"
        )
    process = PackProcess(permit.pack, permit.code, terms, host.folders, host.send)
    try:
        process.start()
        return _adapted(permit, process, host, taken)
    except (PackProcessError, OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        process.end()
        return Loaded(permit, problem=f"could not be loaded into a process of its own: {error}")


def _adapted(permit: Permit, process: PackProcess, host: Host, taken: Mapping[str, NodeSpec]) -> Loaded:
    told, pack = process.told, permit.pack
    host.missed.update({str(name): int(times) for name, times in told["missed"].items()})
    network, files, missing = told["restraint"]
    if missing:
        _logger.warning("pack %s runs in a process of its own, but %s", pack.name, missing)
    _logger.info("pack %s: kept from the network: %s, from files: %s", pack.name, network, files)
    specs: list[NodeSpec] = []
    problems = [str(told["problem"])] if told["problem"] else []
    for described in told["nodes"]:
        spec = node_type(described, process, permit.code)
        if spec.type in taken:
            problems.append(f"node {spec.type}: there is one of this name already")
        else:
            specs.append(spec)
    known = {spec.type for spec in specs}
    checks: dict[str, Check] = {
        name: check_by(process, name, names) for name, names in told["checks"].items() if name in known
    }
    replacements = {str(old): it for old, it in told["replacements"].items() if isinstance(it, Replacement)}
    return Loaded(
        permit,
        tuple(specs),
        "; ".join(problems),
        checks,
        replacements=replacements,
        web=_web(pack, told["web"]),
        end=process.end,
    )


def _web(pack: Pack, told: Mapping[str, Any]) -> Mapping[str, Path]:
    """The folders for browsers, those of them that are the pack's."""
    root = pack.folder.resolve()
    places = {str(name): place.resolve() for name, place in told.items() if isinstance(place, Path)}
    return {name: place for name, place in places.items() if place.is_relative_to(root)}
