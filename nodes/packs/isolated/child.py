"""The process of a pack: `python -m nodes.packs.isolated.child`, begun by Darkroom, restrained before anything is loaded."""

from __future__ import annotations

import sys

from nodes.packs.isolated.sandbox import restrain
from nodes.packs.isolated.settings import Settings


def main(settings: Settings) -> None:
    """Never returns while Darkroom is there."""
    restraint = restrain(*settings.places, network=settings.network)
    _limit(settings.memory)
    from nodes.packs.isolated.worker import work

    work(settings, restraint)


def _limit(memory: int) -> None:
    """Have the system refuse more memory of its own to this process than so many bytes, and keep no picture of a crash."""
    import resource

    for kind, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (most, most))
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))  # each message whose tensors a pack keeps is one


if __name__ == "__main__":
    main(Settings.read(sys.argv[1]))
