"""Who may ask: the host they think they talk to, the page they come from, and the token they hold."""

from __future__ import annotations

import contextlib
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

from server.refused import Refused

COOKIE = "darkroom_token"

PAGES = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
"""What our own pages may do (Content Security Policy Level 3): they load and ask nothing but this server."""
OTHERS_PAGES = "object-src 'none'; base-uri 'self'; frame-ancestors 'self'"
"""What another program's editor may do, which brings scripts of its own making."""

_NAME = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?", re.IGNORECASE
)
"""A host name (RFC 1123, with the underscores that home networks have)."""
_HOST = re.compile(rf"(?P<name>\[[0-9a-f:.]+\]|{_NAME.pattern})(?::(?P<port>[0-9]{{1,5}}))?", re.IGNORECASE)
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK = "loopback"


@dataclass(frozen=True, slots=True)
class Guard:
    """The rules of one server.

    `hosts` are names besides addresses and `localhost` under which it may be asked; a name that is none of them
    may be an attacker's that was bound to this machine's address (DNS rebinding). `cors` is the origin whose pages
    may read answers, `*` for all.
    """

    hosts: frozenset[str] = field(default_factory=frozenset)
    token: str | None = None
    cors: str | None = None

    def check(self, request: web.Request) -> None:
        """Raise Refused unless the request comes from where it may; `admits` looks at its token."""
        host = _split(request.headers.get("Host", ""))
        if host is None or not self._is_ours(host[0]):
            raise Refused(403, "host_refused", "this server does not go by that name; see --allowed-host")
        self._check_origin(request, host)

    def admits(self, request: web.Request) -> bool | None:
        """Whether the request holds the right token; None if it holds none at all. Without a token all are admitted."""
        if self.token is None or request.method == "OPTIONS":  # browsers ask without credentials, and learn nothing
            return True
        given = [text for text in _tokens(request) if text is not None]
        return any(_equal(text, self.token) for text in given) if given else None

    def headers(self) -> dict[str, str]:
        """What every answer carries."""
        headers = {
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "X-Frame-Options": "SAMEORIGIN",
        }
        if self.cors is None:
            return headers | {"Cross-Origin-Resource-Policy": "same-origin"}
        return headers | {
            "Access-Control-Allow-Origin": self.cors,
            "Access-Control-Allow-Methods": "POST, GET, DELETE, PUT, PATCH, OPTIONS",
            "Access-Control-Allow-Headers": "Content-Type, Authorization",
            **({} if self.cors == "*" else {"Access-Control-Allow-Credentials": "true", "Vary": "Origin"}),
        }

    def _is_ours(self, name: str) -> bool:
        return name == _LOOPBACK or name in self.hosts or _is_address(name)

    def _check_origin(self, request: web.Request, host: tuple[str, int | None]) -> None:
        origin = request.headers.get("Origin")
        if origin is None:
            crosses = request.headers.get("Sec-Fetch-Site") == "cross-site"
            if crosses and (request.method not in _READS or "Upgrade" in request.headers):
                raise Refused(403, "origin_refused", "another site's page may not do that")
            return
        if self.cors is not None and origin != "null" and self.cors in ("*", origin):
            return
        parts = urlsplit(origin)
        place = _split(parts.netloc) if parts.scheme in ("http", "https") else None
        default = 443 if parts.scheme == "https" else 80
        if place is None or place[0] != host[0] or (place[1] or default) not in ((host[1],) if host[1] else (80, 443)):
            raise Refused(
                403, "origin_refused", "pages of that origin may not use this server; see --enable-cors-header"
            )


def is_loopback(address: str) -> bool:
    """Whether listening there keeps other machines out."""
    return _split(f"[{address}]" if ":" in address else address) == (_LOOPBACK, None)


def allowed(names: Iterable[str]) -> frozenset[str]:
    """Host names as `Guard` compares them."""
    return frozenset(name.lower().rstrip(".") for name in names)


@lru_cache(64)
def _split(netloc: str) -> tuple[str, int | None] | None:
    """Name and port of `host[:port]`; all names of this very machine are one."""
    found = _HOST.fullmatch(netloc)
    if found is None or (port := int(found["port"] or 0)) > 65535:
        return None
    name = found["name"].lower().strip("[]").rstrip(".")
    is_local = name == "localhost" or name.endswith(".localhost")
    with contextlib.suppress(ValueError):
        is_local = is_local or ip_address(name).is_loopback
    return (_LOOPBACK if is_local else name), port or None


def _tokens(request: web.Request) -> Iterator[str | None]:
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    yield bearer.strip() if scheme.lower() == "bearer" else None
    yield request.cookies.get(COOKIE)
    yield request.query.get("token")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())
