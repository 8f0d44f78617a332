"""The front end's settings: one JSON object in one file, changed by one at a time."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path

from graph.patient_json import loads
from graph.whole_files import write_whole

FILE = "comfy.settings.json"
"""The file's name, which ComfyUI has for it as well, so that settings may be brought along."""

_logger = logging.getLogger(__name__)


class Settings:
    """What `FILE` in `home` holds. May be used from any thread.

    Raises OSError where the file cannot be used, RecursionError for values that are nested too deeply to be written.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        self._lock = threading.Lock()
        self._known: tuple[tuple[int, ...], dict[str, object]] = (), {}

    def all(self) -> Mapping[str, object]:
        """Every setting."""
        with self._lock:
            return self._read()

    def change(self, changes: Mapping[str, object]) -> None:
        """Set some of them, on disk once this returns; none that others set meanwhile is lost."""
        with self._lock:
            self._write({**self._read(), **changes})

    def replace(self, settings: Mapping[str, object]) -> None:
        """Have these and no others."""
        with self._lock:
            self._write(settings)

    def _read(self) -> dict[str, object]:
        """What the file holds, which is read when it is another. One that is damaged is kept beside it, and there are no
        settings any more.
        """
        try:
            found = self._path.stat()
            stamp = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
            if stamp == self._known[0]:
                return self._known[1]
            value = loads(self._path.read_bytes().decode("utf-8-sig"))
        except FileNotFoundError:
            return {}
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            self._known = stamp, value
            return value
        aside = self._aside()
        self._path.replace(aside)
        _logger.error("%s is damaged; it is kept as %s, and the settings are as at first", FILE, aside.name)
        return {}

    def _write(self, settings: Mapping[str, object]) -> None:
        text = json.dumps(settings, indent=2)
        loads(text)  # what cannot be read again is not written
        write_whole(self._path, text.encode())

    def _aside(self) -> Path:
        number = 1
        while (path := self._path.with_name(f"{FILE}.damaged-{number}")).exists():
            number += 1
        return path
