"""Request bodies and query values: bounded, and never a reason for 500."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager

from aiohttp import web

from graph.patient_json import Pairs, TooLarge, loads
from server.deps import DEPS, THREADS
from server.operations import check_body
from server.refused import Refused, bad_request
from server.threads import in_thread

CONTROL_BYTES = 2**20
"""Enough for every body but workflows, uploads and user data."""
_MOMENT_BYTES = 2**14
"""What is read on the spot; longer bodies would keep the event loop."""
_SLOWEST = 2**10
"""Bytes a second that a body has to bring on average."""


async def pieces(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it comes in. Raises Refused if a client does not go on, or goes on too slowly to be served."""
    loop, patience = asyncio.get_running_loop(), request.app[DEPS].limits.patience
    begun, size = loop.time(), 0
    while True:
        until = min(loop.time() + patience, begun + patience + size / _SLOWEST)
        try:
            async with asyncio.timeout_at(until):
                piece = await request.content.readany()
        except TimeoutError:
            raise Refused(
                408, "body_too_slow", "the body did not come in time", headers={"Connection": "close"}
            ) from None
        if not piece:
            return
        size += len(piece)
        yield piece


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body. Raises Refused if it is longer than `limit` bytes, before reading what is announced too long."""
    if (request.content_length or 0) > limit:
        raise too_long(limit)
    if request.content.is_eof():  # it came with the head: nobody is waited for
        body = request.content.read_nowait()
        if len(body) > limit:
            raise too_long(limit)
        return body
    parts: list[bytes] = []
    size = 0
    async for part in pieces(request):
        size += len(part)
        if size > limit:
            raise too_long(limit)
        parts.append(part)
    return b"".join(parts)


def too_long(limit: int) -> Refused:
    """A body of more than `limit` bytes."""
    return Refused(413, "body_too_large", f"Maximum request body size {limit} exceeded.")


async def read_object(request: web.Request) -> Mapping[str, object]:
    """A small JSON object as the route takes it, whatever the content type; no body is an empty one. Raises Refused."""
    body = await read_body(request, CONTROL_BYTES)
    value = await _value(request, body) if body.strip() else {}
    if not isinstance(value, dict):
        raise bad_request("expected a JSON object")
    check_body(request, value)
    return value


async def read_value(request: web.Request) -> object:
    """A small JSON value of which every number is finite, whatever the content type. Raises Refused."""
    return await _value(request, await read_body(request, CONTROL_BYTES))


async def _value(request: web.Request, body: bytes) -> object:
    return _loads(body) if len(body) <= _MOMENT_BYTES else await in_thread(request.app[THREADS], _loads, body)


def _loads(body: bytes) -> object:
    with refusing_bad_json():
        return loads(body.decode("utf-8-sig"), decoder())


def object_in(body: bytes) -> Mapping[str, object]:
    """The JSON object that a body holds. Raises Refused."""
    value = _loads(body)
    if not isinstance(value, dict):
        raise bad_request("expected a JSON object")
    return value


def decoder(json_object: Callable[[Pairs], object] | None = None) -> json.JSONDecoder:
    """Reads JSON of which every number is finite, and raises ValueError otherwise. json_object: makes its objects."""
    return json.JSONDecoder(object_pairs_hook=json_object, parse_constant=_no_constant, parse_float=_finite)


@contextmanager
def refusing_bad_json() -> Iterator[None]:
    """Turns what is wrong with a JSON text into Refused."""
    try:
        yield
    except RecursionError:
        raise Refused(400, "invalid_json", "brackets are nested too deeply") from None
    except UnicodeDecodeError as error:
        raise Refused(400, "invalid_json", f"not valid UTF-8: {error.reason} at byte {error.start}") from None
    except TooLarge as error:
        raise Refused(413, "too_many_values", str(error)) from None
    except ValueError as error:
        raise Refused(400, "invalid_json", f"not valid JSON: {error}") from None


def ids_of(value: object) -> list[str]:
    """`["id", …]`; a single id is taken as a list of one. Raises Refused."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise bad_request("expected a list of prompt ids")
    return [text for text in values if is_text(text)]


def whole(request: web.Request, name: str, default: int | None, low: int = 0) -> int | None:
    """A whole number of the query. Raises Refused."""
    text = request.query.get(name)
    if text is None or text == "":
        return default
    if not (text.removeprefix("-").isascii() and text.removeprefix("-").isdigit()) or len(text) > 15:
        raise bad_request(f"{name}: expected a whole number")
    number = int(text)
    if number < low:
        return None if number == -1 else low
    return number


def seconds(request: web.Request, name: str) -> float | None:
    """A time of the query, in seconds since 1970. Raises Refused."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise bad_request(f"{name}: expected seconds since 1970")
    return number


def is_text(value: object) -> bool:
    """Whether a value is a text that UTF-8 can hold."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text[:20]} is too large a number")
    return number
