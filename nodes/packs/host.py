"""What packs and their stand-ins share: the user's folders, the node that runs now, and what was asked for in vain."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import Tensor

from graph.files import Folders
from graph.replacements import Replacement
from graph.spec import NodeSpec
from nodes.services import Context

Send: TypeAlias = Callable[[str, object, str | None], None]
"""(event, data, client id or None for all)."""


def _nobody(event: str, data: object, client_id: str | None) -> None:
    pass


@dataclass(frozen=True)
class Host:
    """One for a program. own: makes a tensor of ours the pack's, which may write into it. specs: the node types that packs
    use as helpers; brought: those that packs bring; classes: both as classes, to which packs may add; replacements: what
    packs say of node types that are gone, by these; web: folders for browsers that packs add, by name. send: a message of a
    pack to clients, or to one of them. missed: names that packs asked a stand-in for which it does not have, and how often.
    sampling: the sampling under way, for those who want estimates of it; told: the options of one evaluation that has some of
    its own; performing: a whole sampling that a pack has in its hands; running: the context of the node that runs.
    """

    folders: Folders
    specs: Mapping[str, NodeSpec]
    send: Send = _nobody
    own: Callable[[Tensor], Tensor] = Tensor.clone
    brought: dict[str, NodeSpec] = field(default_factory=dict)
    classes: dict[str, Any] = field(default_factory=dict)
    web: dict[str, str] = field(default_factory=dict)
    replacements: dict[str, Replacement] = field(default_factory=dict)
    missed: Counter[str] = field(default_factory=Counter)
    sampling: ContextVar[Any] = field(default_factory=lambda: ContextVar("the sampling under way", default=None))
    told: ContextVar[Any] = field(default_factory=lambda: ContextVar("options of one evaluation", default=None))
    performing: ContextVar[Any] = field(
        default_factory=lambda: ContextVar("a sampling in a pack's hands", default=None)
    )
    running: ContextVar[Context | None] = field(default_factory=lambda: ContextVar("the node of a pack", default=None))

    def unique(self) -> str:
        """A text that no other is equal to."""
        return uuid.uuid4().hex

    def miss(self, name: str) -> None:
        """Count a name that no stand-in has."""
        self.missed[name] += 1

    @property
    def context(self) -> Context:
        """That of the node that runs. Raises RuntimeError outside of one, such as while a pack is imported."""
        if (context := self.running.get()) is None:
            raise RuntimeError("this can be used by a node that runs, not while its pack is imported")
        return context
