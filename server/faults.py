"""The one place that turns what went wrong in a request into an answer: the client's mistakes are 4xx, whoever met them."""

from __future__ import annotations

import errno
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from server.answers import one, send_json
from server.api_v2 import error_text, is_v2
from server.backend import EngineUnavailable
from server.desk import StoreUnavailable
from server.refused import Refused
from server.threads import Closing

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

_READS = frozenset({"GET", "HEAD", "DELETE"})
_ABSENT = (404, "not_found", "there is no such file")
_IN_THE_WAY = (409, "in_the_way", "a file or a directory of that name is in the way")
_FULL = (507, "not_stored", "the file cannot be stored: the disk does not take it")
_SYSTEM: Mapping[int, tuple[int, str, str]] = MappingProxyType(
    {
        errno.ENOENT: _ABSENT,
        errno.ELOOP: _ABSENT,
        errno.ENOTDIR: _IN_THE_WAY,
        errno.EISDIR: _IN_THE_WAY,
        errno.EEXIST: _IN_THE_WAY,
        errno.ENOTEMPTY: _IN_THE_WAY,
        errno.ENAMETOOLONG: (400, "invalid_path", "the name is too long"),
        errno.EACCES: (403, "forbidden", "the system does not let the server use that file"),
        errno.EPERM: (403, "forbidden", "the system does not let the server use that file"),
        errno.ENOSPC: _FULL,
        errno.EDQUOT: _FULL,
        errno.EROFS: _FULL,
        errno.EFBIG: _FULL,
        errno.EIO: _FULL,
        errno.EMFILE: (503, "unavailable", "too many files are open; try again"),
        errno.ENFILE: (503, "unavailable", "too many files are open; try again"),
    }
)
"""What the system says about a file that a client named, in HTTP's terms."""

_logger = logging.getLogger(__name__)


@web.middleware
async def answer_faults(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns what handlers raise into answers; nothing unforeseen reaches a client in its own words.

    An exception keeps the frames that it came through, and with them what was read of the body, in a cycle that only
    the garbage collector would find: the frames are emptied here. A client that went away gets no answer; a connection
    that is lost elsewhere is no reason to treat the client as if it had.
    """
    try:
        response = await handler(request)
    except web.HTTPException as error:
        traceback.clear_frames(error.__traceback__)
        raise
    except Exception as error:
        if isinstance(error, ConnectionError) and _is_cut(request):
            traceback.clear_frames(error.__traceback__)
            return _cut(request)
        refused = as_refused(error, request.method)
        if refused is None:
            _logger.exception("%s %s failed", request.method, request.path)
            refused = Refused(500, "internal", "the server failed; its log says why")
        traceback.clear_frames(error.__traceback__)
        text = error_text(refused) if is_v2(request.path) else refused.text
        response = await send_json(request, one(text), refused.status, refused.headers)
    if request.content.exception() is not None:  # nothing that comes over this connection can be understood any more
        response.force_close()
        request.content.feed_eof()
    return response


def _is_cut(request: web.Request) -> bool:
    """Whether nothing more can be said: the client is gone, or has part of an answer that broke off."""
    transport = request.transport
    return transport is None or transport.is_closing() or request.writer.output_size > 0


def _cut(request: web.Request) -> web.Response:
    """End the connection. What is returned cannot be sent, which the server takes for a client that is gone."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


def as_refused(error: Exception, method: str) -> Refused | None:
    """What a failure is in HTTP's terms; None if it is the server's own."""
    match error:
        case Refused():
            return error
        case StoreUnavailable() | EngineUnavailable() | Closing():
            return Refused(503, "unavailable", str(error))
        case ConnectionError():
            return Refused(503, "unavailable", "a part of the server does not answer; try again")
        case web.RequestPayloadError() | HttpProcessingError():
            return Refused(400, "damaged_body", "the body is damaged, or not packed as its headers say")
        case OSError(errno=int() as number) if number in _SYSTEM:
            absent = number == errno.ENOTDIR and method in _READS
            return Refused(*(_ABSENT if absent else _SYSTEM[number]))
        case _:
            return None
