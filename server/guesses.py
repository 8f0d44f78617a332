"""Wrong tokens, by the address they come from: whoever guesses has to wait longer each time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TypeVar

from server.refused import Refused

T = TypeVar("T")

FREE = 10
"""Wrong tokens that an address may send before it has to wait."""
LONGEST_SECONDS = 60.0
FORGIVEN_SECONDS = 600.0
"""After so long without a wrong token an address begins anew."""
ADDRESSES = 10_000


@dataclass(slots=True)
class _Tries:
    wrong: int = 0
    last: float = 0.0
    until: float = 0.0


class Guesses:
    """What addresses have tried. One that has shown the right token before is never kept out: its owner may share it
    with whoever guesses, behind a proxy. Everything here happens on the event loop.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tries: OrderedDict[str, _Tries] = OrderedDict()
        self._trusted: OrderedDict[str, None] = OrderedDict()

    def look(self, address: str | None) -> None:
        """Raise Refused while an address has to wait; its token is not even read then."""
        if not self._tries:
            return
        who = _neighbourhood(address)
        tries, now = self._tries.get(who), self._clock()
        if tries is not None and who not in self._trusted and now < tries.until:
            seconds = str(max(1, round(tries.until - now)))
            raise Refused(
                429, "too_many_guesses", "too many wrong tokens; try again later", headers={"Retry-After": seconds}
            )

    def right(self, address: str | None) -> None:
        """The token was right."""
        who = _neighbourhood(address)
        self._tries.pop(who, None)
        _keep(self._trusted, who, None)

    def wrong(self, address: str | None) -> None:
        """The token was wrong: from the eleventh on the address waits, each time twice as long."""
        who, now = _neighbourhood(address), self._clock()
        tries = self._tries.get(who)
        if tries is None or now - tries.last > FORGIVEN_SECONDS:
            tries = _Tries()
        tries.wrong, tries.last = tries.wrong + 1, now
        if tries.wrong > FREE:
            tries.until = now + min(LONGEST_SECONDS, 2.0 ** min(tries.wrong - FREE - 1, 10))
        _keep(self._tries, who, tries)


def _keep(kept: OrderedDict[str, T], who: str, what: T) -> None:
    kept[who] = what
    kept.move_to_end(who)
    if len(kept) > ADDRESSES:
        kept.popitem(last=False)


def _neighbourhood(address: str | None) -> str:
    """An IPv6 user holds a whole /64."""
    try:
        parsed = ip_address((address or "").partition("%")[0])
    except ValueError:
        return ""
    return str(ip_network((parsed, 64), strict=False)) if isinstance(parsed, IPv6Address) else str(parsed)
