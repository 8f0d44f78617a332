"""The environment of a pack: `.venv` in its folder, which has what its requirements ask for and Darkroom has not."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from nodes.packs.found import Pack

VENV = ".venv"


def interpreter(pack: Pack) -> Path:
    """The Python that runs the pack: that of its environment, or Darkroom's."""
    own = _python(pack.folder / VENV)
    return own if pack.path.is_dir() and own.exists() else Path(sys.executable)


def install(pack: Pack) -> Path:
    """Make the pack's environment anew and install its `requirements.txt` there, unless Darkroom has what it asks for.

    Only built packages are taken, so that nothing of theirs runs meanwhile. Raises ValueError if the pack has no
    requirements, OSError, and subprocess.CalledProcessError if pip does not find or install something.
    """
    requirements = pack.folder / "requirements.txt"
    if not pack.path.is_dir() or not requirements.is_file():
        raise ValueError(f"pack {pack.name} has no requirements.txt")
    place = pack.folder / VENV
    venv.create(place, clear=True, symlinks=os.name != "nt")
    site = sysconfig.get_path("purelib", "venv", {"base": str(place), "platbase": str(place)})
    Path(site, "darkroom.pth").write_text(f"{sysconfig.get_path('purelib')}\n", "utf-8")
    command = [sys.executable, "-m", "pip", "--python", str(_python(place)), "install", "--only-binary", ":all:"]
    subprocess.run([*command, "-r", str(requirements)], check=True)
    return place


def _python(place: Path) -> Path:
    return place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
