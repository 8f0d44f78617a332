"""The directory for passing files is empty when a server starts: what is in it belongs to runs that nobody looks at now."""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

from graph.files import Folders
from server.lock import Held, Lock

_MARK = ".darkroom"

_logger = logging.getLogger(__name__)


def sweep(folders: Folders, held: ExitStack) -> None:
    """Remove what lies in the directory for passing files, and hold it until `held` is closed. Raises OSError.

    Nothing is removed from a directory that had files of others when it was first used, that pictures lie in, or that
    another server uses.
    """
    temp = folders.temp_dir
    if not _is_ours(temp, folders):
        return
    try:
        lock = held.enter_context(Lock(temp / _MARK))
    except Held:
        return
    for entry in os.scandir(temp):
        if Path(entry.path) == lock.path:
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                Path(entry.path).unlink()
        except OSError as error:
            _logger.warning("%s stays in the directory for passing files: %s", entry.name, error.strerror)


def _is_ours(temp: Path, folders: Folders) -> bool:
    real = temp.resolve()
    if any(other.resolve().is_relative_to(real) for other in (folders.base, folders.input_dir, folders.output_dir)):
        return False
    names = [entry.name for entry in temp.iterdir()]
    if not names or f"{_MARK}.lock" in names:  # the lock's file says that it was empty once
        return True
    return temp == folders.base / "temp" and not temp.is_symlink()
