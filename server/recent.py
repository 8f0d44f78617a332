"""Workflows accepted a moment ago: what is accepted mostly runs next, and need not be read a second time."""

from __future__ import annotations

from collections import OrderedDict

from graph.document import Document

MOST = 4
CHARACTERS = 2**20
"""Longer workflows are read again: what reading makes of them takes many times their length."""


class Recent:
    """The documents of the last few jobs, until they are taken. The database has them all, as they were sent."""

    def __init__(self) -> None:
        self._documents: OrderedDict[str, Document] = OrderedDict()

    def keep(self, job: str, prompt: str, document: Document) -> None:
        """Remember what `prompt`, the JSON of a job's workflow, was read as."""
        if len(prompt) > CHARACTERS:
            return
        self._documents[job] = document
        if len(self._documents) > MOST:
            self._documents.popitem(last=False)

    def take(self, job: str) -> Document | None:
        """The document, if it is still there; it is not afterwards."""
        return self._documents.pop(job, None)
