"""`python -m tests.server.editor_server BASE FRONT_END`: the real nodes for the official editor.

Its combo widgets fail unless some node types exist that this project has not (yet); they are stood in for here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import main
from graph.context import Context
from graph.files import FileRef, Folders
from graph.result import Outputs
from graph.sockets import File
from graph.spec import NodeSpec, Registry, node
from server.backend import Engine, LocalBackend
from server.deps import Deps
from server.launch import Listen, serve
from server.logs import LogTail, set_up_logs
from server.options import parser

EXPECTED = (
    *("ImageOnlyCheckpointLoader", "LoraLoader", "LoraLoaderModelOnly", "VAELoader", "ControlNetLoader"),
    *("UNETLoader", "UpscaleModelLoader", "StyleModelLoader", "GLIGENLoader"),
)


def stand_in(name: str) -> NodeSpec:
    """A node type that is only there to be listed."""

    @node(name, category="stub")
    def nothing(ctx: Context[Any], *, file: Annotated[FileRef, File("vae")]) -> Outputs:
        """Nothing."""
        return Outputs()

    return nothing


def engine(base: Path, folders: Folders) -> Engine:
    """What main.py builds, with the stand-ins."""
    options = parser().parse_args(["serve", "--cpu", "--base-directory", str(base)])
    known = main.open_registry()
    registry = Registry([*known.values(), *(stand_in(name) for name in EXPECTED if name not in known)])
    services, cache = main.open_services(options, folders), main.open_cache(options)
    return Engine(main.open_executor(options, registry, folders, (), services, cache), registry)


if __name__ == "__main__":
    base, front_end = Path(sys.argv[1]), Path(sys.argv[2])
    folders = Folders.standard(base)
    set_up_logs(LogTail(), "INFO")
    backend = LocalBackend(lambda: engine(base, folders), folders)
    sys.exit(serve(Deps(folders, base / "darkroom.db", backend, front_end=front_end), Listen(port=0)))
