"""`python -m tests.server.stub_server BASE`: a server over the stub nodes, to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

from server.launch import Listen, serve
from server.logs import LogTail, set_up_logs
from tests.server.support import deps_of

if __name__ == "__main__":
    set_up_logs(LogTail(), "WARNING")
    sys.exit(serve(deps_of(Path(sys.argv[1])), Listen(port=0)))
