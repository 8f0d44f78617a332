"""What the server is made of, and the keys under which handlers find it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from graph.files import Folders
from server.assets import Assets
from server.backend import Backend, EngineBackend
from server.blobs import Blobs
from server.crew import Crew
from server.desk import Desk
from server.explaining import Explaining
from server.guesses import Guesses
from server.hub import Hub
from server.job import Numbers
from server.kept import Kept
from server.ledger import StoredLedger
from server.log_stream import LogStream
from server.logs import LogTail
from server.metrics import Metrics
from server.patience import Patience
from server.programs import Programs
from server.reader import Reader
from server.recent import Recent
from server.redact import Redactor
from server.running import Running
from server.security import Guard
from server.settings import Settings
from server.store import TRIES, Store
from server.watch import Watch
from server.webhooks import Webhooks
from server.worker import Sink


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may ask of the server; bytes unless said otherwise."""

    prompt: int = 16 * 2**20
    nodes: int = 20_000  # of one workflow
    values: int = 1_000_000  # numbers, texts, lists and objects of one request, not just of its workflow
    waiting: int = 10_000  # jobs in the queue
    upload: int = 100 * 2**20
    pixels: int = 120_000_000  # of one picture
    history: int = 10_000  # jobs kept; 0 keeps all
    history_days: float = 0.0  # days they are kept; 0 keeps them for ever
    patience: float = 20.0  # seconds that a request may stand still, or take to begin
    tries: int = TRIES  # of a job whose node takes the server down
    idle: float | None = None  # seconds without a job after which weights leave memory


@dataclass(frozen=True, slots=True)
class Deps:
    """What `create_app` is given.

    `sink` makes, of the titles of a job's nodes, what sees all events of its run besides the clients: the terminal's
    progress bar. `previews` is for all who follow a run, for nobody, or, as None, for those who ask. `front_end` holds an editor's static files, `foreign` says that it is another program's, `examples` the
    example workflows and their index,
    `locales` a file of translations by language; `version` is shown in `/system_stats`.
    `set_database_aside` has a damaged database give way to a new one. Jobs run on the `workers`; without any, `backend`
    runs them itself.
    """

    folders: Folders
    database: Path
    backend: EngineBackend
    workers: Sequence[Backend] = ()
    guard: Guard = field(default_factory=Guard)
    limits: Limits = field(default_factory=Limits)
    previews: bool | None = None
    front_end: Path | None = None
    foreign: bool = False
    examples: Path | None = None
    locales: Path | None = None
    version: str = "0.1.0"
    arguments: Sequence[str] = ()
    logs: LogTail = field(default_factory=LogTail)
    sink: Sink | None = None
    webhook_hosts: Sequence[str] = ()
    set_database_aside: bool = False


DEPS = web.AppKey("deps", Deps)
STORE: web.AppKey[Desk[Store]] = web.AppKey("store")
READER: web.AppKey[Desk[Reader]] = web.AppKey("reader")
SEARCHES: web.AppKey[Desk[Reader]] = web.AppKey("searches")
"""A reader of its own: one that looks for words in ten thousand jobs keeps nobody else waiting."""
HUB = web.AppKey("hub", Hub)
CREW = web.AppKey("crew", Crew)
METRICS = web.AppKey("metrics", Metrics)
LEDGER = web.AppKey("ledger", StoredLedger)
RECENT = web.AppKey("recent", Recent)
REDACT = web.AppKey("redact", Redactor)
THREADS = web.AppKey("threads", ThreadPoolExecutor)
ALONE = web.AppKey("alone", ThreadPoolExecutor)
"""One thread, for what takes so much memory that two at once would be too much: large pictures."""
LARGE_BODIES = web.AppKey("large_bodies", asyncio.Lock)
ASSETS: web.AppKey[Desk[Assets]] = web.AppKey("assets")
BLOBS = web.AppKey("blobs", Blobs)
LOOKING: web.AppKey[set[asyncio.Task[None]]] = web.AppKey("looking")
"""The task that looks what the folders contain, if it is at work."""
STREAMS: web.AppKey[set[object]] = web.AppKey("streams")
"""The event streams that are open."""
LOG_STREAM = web.AppKey("log_stream", LogStream)
EXPLAINING = web.AppKey("explaining", Explaining)
GUESSES = web.AppKey("guesses", Guesses)
PATIENCE = web.AppKey("patience", Patience)
RUNNING = web.AppKey("running", Running)
SETTINGS = web.AppKey("settings", Settings)
WATCH = web.AppKey("watch", Watch)
OBJECT_INFO = web.AppKey("object_info", Kept)
NUMBERS = web.AppKey("numbers", Numbers)
WEBHOOKS = web.AppKey("webhooks", Webhooks)
PROGRAMS = web.AppKey("programs", Programs)
