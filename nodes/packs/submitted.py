"""What packs make of a workflow that is submitted, before it is read: `PromptServer.add_on_prompt_handler`."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

OnPrompt: TypeAlias = Callable[[dict[str, Any]], Any]
"""The body of `POST /prompt` -> the one that counts."""
_logger = logging.getLogger(__name__)


def amended(body: bytes, handlers: Sequence[OnPrompt]) -> bytes:
    """The body as handlers leave it, one after the other; the same one where there are none, or where it is no request.

    A handler that fails, or returns something else than a request, is told in the log, and counts for nothing.
    """
    if not handlers:
        return body
    request = json.loads(body) if body.lstrip()[:1] == b"{" else None
    if not isinstance(request, dict) or not isinstance(request.get("prompt"), dict):
        return body
    for handler in handlers:
        request = _handled(request, handler)
    return json.dumps(request).encode()


def _handled(request: dict[str, Any], handler: OnPrompt) -> dict[str, Any]:
    whose = getattr(handler, "__module__", None)
    try:
        made = handler(json.loads(json.dumps(request)))
        json.dumps(made)
    except Exception:
        _logger.exception("what %s does with a submitted workflow failed; it is taken as it was", whose)
        return request
    if not isinstance(made, dict) or not isinstance(made.get("prompt"), dict):
        _logger.warning("what %s makes of a submitted workflow is none; it is taken as it was", whose)
        return request
    return made
