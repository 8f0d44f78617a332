"""Results at hand: those in the cache that still stand."""

from __future__ import annotations

from graph.build import BoundNode
from graph.cache import Cache
from graph.files import Folders
from graph.fingerprint import Fingerprint
from graph.result import Outputs, files_of


class AtHand:
    """The result of a node, by name. None if there is none, if it says that files were written and they are gone, or if
    it rests on files that are no more what they were.
    """

    def __init__(self, cache: Cache, folders: Folders) -> None:
        self._cache = cache
        self._folders = folders

    def __call__(self, node: BoundNode, name: Fingerprint) -> Outputs | None:
        outputs = self._cache.get(name)
        if outputs is None or (outputs.ui and node.spec.terminal and not self._folders.has_files(outputs.ui)):
            return None
        if not all(self._folders.has_files(it.ui) for it in outputs.inside):
            return None
        if not outputs.values:
            return outputs
        still = self._folders.identity.still
        for value in outputs.values:
            if (files := files_of(value)) and not all(still(path, identity) for path, identity in files):
                return None
        return outputs
