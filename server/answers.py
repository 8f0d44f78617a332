"""JSON answers of any length: long ones leave in pieces, so that neither memory nor other requests feel them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from aiohttp import web

PIECE = 2**18
"""Characters that are sent at once."""


async def send_json(
    request: web.Request, texts: AsyncIterator[str], status: int = 200, headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """Answer with what `texts` make together. Breaks the connection off if they fail half-way."""
    response: web.StreamResponse | None = None
    waiting: list[str] = []
    length = 0
    try:
        async for text in texts:
            for at in range(0, len(text), PIECE):
                waiting.append(text[at : at + PIECE])
                length += len(waiting[-1])
                if length < PIECE:
                    continue
                if request.method == "HEAD":
                    return json_answer("", status, headers)
                if response is None:
                    more = {"Content-Type": "application/json", **(headers or {})}
                    response = web.StreamResponse(status=status, headers=more)
                    await response.prepare(request)
                await response.write("".join(waiting).encode())
                waiting.clear()
                length = 0
    except Exception as error:
        if response is None:
            raise
        raise ConnectionError("an answer broke off") from error
    if response is None:
        return json_answer("".join(waiting), status, headers)
    await response.write("".join(waiting).encode())
    await response.write_eof()
    return response


def json_answer(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with a short text that is JSON."""
    return web.Response(text=text, status=status, content_type="application/json", headers=headers)


async def one(text: str) -> AsyncIterator[str]:
    """A text that is there already."""
    yield text


async def joined(
    read: Callable[[Sequence[int]], Awaitable[tuple[list[str], int]]], places: Sequence[int]
) -> AsyncIterator[str]:
    """What `read` makes of all `places`, with commas between; it takes as many at once as it likes."""
    comma = ""
    while places:
        texts, count = await read(places)
        for text in texts:
            yield f"{comma}{text}"
            comma = ", "
        places = places[count:]


def takes_gzip(accepted: str) -> bool:
    """Whether who sends this `Accept-Encoding` reads gzip (RFC 9110, section 12.5.3)."""
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, weight = part.partition(";q=")
        with suppress(ValueError):
            weights[name.strip()] = float(weight or 1)
    return weights.get("gzip", weights.get("*", 0.0)) > 0
