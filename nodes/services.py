"""What nodes may use besides their inputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from graph.context import Context as GraphContext
from graph.files import Folders
from models.residency import Residency
from models.tokenizer import ClipTokenizer


@dataclass(frozen=True)
class Services:
    """Made once by `main.py`, handed to every node through its context."""

    residency: Residency
    folders: Folders
    tokenizer: ClipTokenizer = field(default_factory=ClipTokenizer)


Context: TypeAlias = GraphContext[Services]
