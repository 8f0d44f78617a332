"""An answer of 4xx or 5xx with words."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from graph.patient_json import dumps

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Refused(Exception):
    """Ends a request with `status`, `headers` and `body`; `message` is for people, `type` for programs.

    `text` is the answer. It is written where the exception is raised, which is a thread if it may be long.
    """

    def __init__(
        self,
        status: int,
        type_: str,
        message: str,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] = _NOTHING,
        details: Mapping[str, object] | None = None,
    ) -> None:
        """body: what is answered instead of the usual words. details: what the Comfy API v2 tells besides."""
        super().__init__(status, type_, message)
        self.status = status
        self.type = type_
        self.message = message
        self.headers = headers
        self.details = details
        self.body = body or {"error": {"type": type_, "message": message, "details": "", "extra_info": {}}}
        self.text = dumps(self.body)


def bad_request(message: str) -> Refused:
    """The client's mistake."""
    return Refused(400, "bad_request", message)


def not_found(message: str) -> Refused:
    """There is no such thing."""
    return Refused(404, "not_found", message)
