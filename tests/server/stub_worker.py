"""`python -m tests.server.stub_worker BASE`: a worker's process over the stub nodes."""

from __future__ import annotations

import sys
from pathlib import Path

from graph.files import Folders
from server.worker_process import own_streams, work
from tests.server.stub_nodes import factory

if __name__ == "__main__":
    folders = Folders.standard(Path(sys.argv[1]))
    into, out = own_streams()
    sys.exit(work(factory(folders), folders, into, out))
