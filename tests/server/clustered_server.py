"""`python -m tests.server.clustered_server BASE ADDRESS N [RESOURCE]`: a server over the stub nodes with N workers on a Ray
cluster, on machines that have the resource."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from graph.files import Folders
from server.backend import LocalBackend
from server.deps import Deps
from server.exchange import Exchange
from server.launch import Listen, serve
from server.logs import LogTail, set_up_logs
from server.process_backend import ProcessBackend
from server.ray_cluster import Cluster, Place, Work
from tests.server.stub_nodes import factory

SOURCE = Path(__file__).resolve().parents[2]


def stub_workers(
    cluster: Cluster, base: Path, number: int, place: Place | None = None, exchange: Exchange | None = None
) -> Sequence[ProcessBackend]:
    """Workers of the stub nodes on a cluster."""
    surroundings = {"PYTHONPATH": str(SOURCE)}
    command = ["-m", "tests.server.stub_worker"]
    work = Work([*command, str(base)], [*command, "{base}"], SOURCE, base, number, surroundings)
    return cluster.backends(number, place or Place(), work, lambda event, data, client_id: None, exchange)


if __name__ == "__main__":
    set_up_logs(LogTail(), "WARNING")
    base = Path(sys.argv[1])
    folders = Folders.standard(base)
    cluster = Cluster(sys.argv[2], SOURCE)
    backend = LocalBackend(factory(folders), folders)
    place = Place(resources=dict.fromkeys(sys.argv[4:], 1.0))
    workers = stub_workers(cluster, base, int(sys.argv[3]), place, Exchange(folders, backend.wait))
    status = serve(Deps(folders, base / "darkroom.db", backend, workers), Listen(port=0))
    cluster.close()
    sys.exit(status)
