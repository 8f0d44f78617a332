"""What the files of a run may say besides what they show: who decides it, and how a client asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ASKED = "labels"
"""The member of `extra_data` in which a client says which labels it wants."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The workflow, that a model made the picture (IPTC's digital source type), and A1111's `parameters`."""

    workflow: bool = True
    provenance: bool = True
    parameters: bool = False

    def asked(self, extra: Mapping[str, object]) -> Labels:
        """These, changed as a job's `extra_data` asks: it may leave out what is allowed, and add A1111's text."""
        given = extra.get(ASKED)
        wanted = given if isinstance(given, Mapping) else {}
        return Labels(
            workflow=self.workflow and wanted.get("workflow") is not False,
            provenance=self.provenance and wanted.get("provenance") is not False,
            parameters=self.parameters or wanted.get("parameters") is True,
        )
