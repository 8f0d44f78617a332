"""The log: lines for people, JSON for programs, and the newest of them for the browser."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

TAIL = 300
"""Lines that `/internal/logs` shows."""

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class LogTail(logging.Handler):
    """Keeps the newest lines, and hands each to `listener`, on whatever thread it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[tuple[float, str]] = deque(maxlen=TAIL)
        self.listener: Callable[[float, str], None] | None = None

    def entries(self, redact: Callable[[str], str]) -> Iterator[tuple[str, str]]:
        """Time and text of each line, without the machine's paths."""
        for when, text in list(self.lines):
            yield time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(when)), redact(text)

    def texts(self, redact: Callable[[str], str]) -> Iterator[str]:
        """The lines as texts."""
        return (f"{when} - {text}" for when, text in self.entries(redact))

    def emit(self, record: logging.LogRecord) -> None:
        line = record.created, self.format(record).partition("\n")[0]
        self.lines.append(line)
        if (listener := self.listener) is not None:
            listener(*line)


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class Discreet(logging.Formatter):
    """What another formatter writes, but for a secret; for all that is written, whoever wrote it."""

    def __init__(self, inner: logging.Formatter, secret: str | None) -> None:
        super().__init__()
        self._inner = inner
        self._forms = () if secret is None else (secret, json.dumps(secret)[1:-1], quote(secret, safe=""))

    def format(self, record: logging.LogRecord) -> str:
        text = self._inner.format(record)
        for form in self._forms:
            text = text.replace(form, "…")
        return text


def set_up_logs(
    tail: LogTail,
    level: str = "INFO",
    as_json: bool = False,
    file: Path | None = None,
    secret: str | None = None,
) -> None:
    """Send the log to standard error and, if given, to `file`. `secret` never stands in it."""
    plain = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file is not None:
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    root = logging.getLogger()
    for handler in handlers:
        handler.setFormatter(Discreet(JsonLines() if as_json else plain, secret))
        root.addHandler(handler)
    tail.setFormatter(Discreet(logging.Formatter("%(message)s"), secret))
    root.addHandler(tail)
    root.setLevel(level)
    logging.getLogger("aiohttp.access").setLevel("WARNING")
