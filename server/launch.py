"""Opens the port, keeps the server running, and closes it in good order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from server.app import create_app
from server.backend import EngineUnavailable
from server.database import Damaged, Newer
from server.deps import PATIENCE, WATCH, Deps
from server.desk import StoreUnavailable
from server.lock import Held
from server.patience import KEEP_ALIVE_SECONDS
from server.security import is_loopback
from server.watch import Watch

SHUTDOWN_SECONDS = 2.0
"""How long requests that are under way may take when the server stops."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the server is to be found."""

    addresses: Sequence[str] = ("127.0.0.1",)
    port: int = 8188
    tls: tuple[Path, Path] | None = None

    @property
    def needs_token(self) -> bool:
        """Whether other machines can reach it."""
        return not all(is_loopback(address) for address in self.addresses)


def choose_token(listen: Listen, file: Path | None, made_in: Path) -> str | None:
    """The token clients need: from a file or DARKROOM_TOKEN, else made where one is needed.

    A made one is shown on a terminal; what goes elsewhere may be kept as a log, so it is told there that the file
    `made_in`, which only this user may read, has the token. Raises ValueError for one that is too short or odd, OSError if the file cannot be read.
    """
    given = file.read_text("utf-8") if file else os.environ.get("DARKROOM_TOKEN")
    if given is not None:
        token = given.strip()
        if len(token) < 8 or not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("the token has to be 8 or more letters, digits and signs without spaces")
        return token
    if not listen.needs_token:
        return None
    token = secrets.token_urlsafe(24)
    if sys.stdout.isatty():
        print(f"Clients from other machines need this token: {token}", flush=True)
    else:
        made_in.unlink(missing_ok=True)
        made_in.touch(mode=0o600, exist_ok=False)
        made_in.write_text(f"{token}\n", "utf-8")
        print(f"Clients from other machines need the token in {made_in}", flush=True)
    return token


def serve(deps: Deps, listen: Listen) -> int:
    """Serve until SIGINT or SIGTERM, or until the server cannot go on. Returns the exit status.

    A node or an engine in the making that did not stop is left behind, and ends with the process, which then waits for
    nothing: what is under way in a thread while Python takes itself apart fails in ways that nobody foresaw.
    """
    try:
        status = asyncio.run(_serve(deps, listen))
        if deps.backend.is_at_work:
            sys.stdout.flush()
            os._exit(status)
        return status
    except (Held, Newer, Damaged, StoreUnavailable, ssl.SSLError, OSError) as error:
        print(f"the server cannot start: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


async def _serve(deps: Deps, listen: Listen) -> int:
    stop = asyncio.Event()
    _favour_short_answers()
    _on_signals(stop)
    app = create_app(deps)
    app[WATCH].overhear(asyncio.get_running_loop())
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, keepalive_timeout=KEEP_ALIVE_SECONDS
    )
    await runner.setup()
    try:
        context = _tls(listen.tls)
        await _open_all(runner, listen, context)
        for backend in (deps.backend, *deps.workers):
            backend.start()
        scheme = "https" if context else "http"
        for host, port, *_ in runner.addresses:
            print(f"Darkroom listens on {scheme}://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        settling = asyncio.create_task(_settle(deps))
        server = runner.server
        assert server is not None  # since `setup`
        watching = app[WATCH].begin("patience", lambda: app[PATIENCE].watch(server))
        reason = await _reason_to_stop(stop, app[WATCH])
        settling.cancel()
        watching.cancel()
        with contextlib.suppress(OSError):  # a terminal that went away
            print(f"the server stops: {reason}" if reason else "stopping", file=sys.stderr, flush=True)
    finally:
        await runner.cleanup()
    return 1 if reason else 0


async def _reason_to_stop(stop: asyncio.Event, watch: Watch) -> str:
    """Wait until the server has to stop; nothing if it was told to."""
    told, gave_up = asyncio.create_task(stop.wait()), asyncio.create_task(watch.gave_up())
    await asyncio.wait((told, gave_up), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    gave_up.cancel()
    return gave_up.result() if gave_up.done() else ""


def _favour_short_answers() -> None:
    """This process is the server's own: threads that build workflows let the event loop in every half millisecond,
    and the garbage collector takes small steps, which no request feels.
    """
    sys.setswitchinterval(0.0005)
    gc.set_threshold(5_000, 5, 2000)


async def _settle(deps: Deps) -> None:
    """What was imported stays; the collector need not look at it again."""
    with contextlib.suppress(EngineUnavailable):
        await deps.backend.engine()
        gc.freeze()


async def _open_all(runner: web.AppRunner, listen: Listen, context: ssl.SSLContext | None) -> None:
    """Listen on all addresses; of several some may be missing, such as all of IPv6. Raises OSError if none is left."""
    port = listen.port
    for address in listen.addresses:
        try:
            await _open(runner, address, port, context)
        except OSError as error:
            if address == listen.addresses[-1] and not runner.addresses:
                raise
            print(error, file=sys.stderr)
        if runner.addresses:
            port = runner.addresses[0][1]


async def _open(runner: web.AppRunner, address: str, port: int, context: ssl.SSLContext | None) -> None:
    try:
        await web.TCPSite(runner, address, port, ssl_context=context).start()
    except OSError as error:
        raise OSError(f"cannot listen on {address}, port {port}: {error.strerror}; see --listen and --port") from error


def _on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))


def _tls(files: tuple[Path, Path] | None) -> ssl.SSLContext | None:
    if files is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    key, certificate = files
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise OSError(f"cannot use the certificate {certificate} with the key {key}: {error.strerror}") from error
    return context
