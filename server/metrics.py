"""Figures for Prometheus; `prometheus_client` alone knows the format."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from graph.events import Event, NodeFinished, NodesCached
from server.job import State

_SECONDS = (0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.queue_depth = Gauge("darkroom_queue_depth", "Jobs that wait or run.", registry=self._registry)
        self.sockets = Gauge("darkroom_websockets", "Open websockets.", registry=self._registry)
        self._jobs = Histogram(
            "darkroom_job_seconds", "How long jobs ran.", ["state"], buckets=_SECONDS, registry=self._registry
        )
        self._nodes = _NodeSeconds()
        self._registry.register(self._nodes)
        self._cached = Counter("darkroom_nodes_cached", "Nodes that did not need to run.", registry=self._registry)
        self._failures = Counter(
            "darkroom_loop_failures",
            "Failures in what runs all the time, by its name.",
            ["loop"],
            registry=self._registry,
        )
        self._running = Gauge(
            "darkroom_loop_running", "1 while what should run all the time does.", ["loop"], registry=self._registry
        )
        self._bytes = Gauge("darkroom_bytes", "Memory held, by what holds it.", ["what"], registry=self._registry)

        self._workers = Gauge(
            "darkroom_worker_state",
            "1 for the state that a worker is in.",
            ["worker", "state"],
            registry=self._registry,
        )
        self._worker_bytes = Gauge(
            "darkroom_worker_bytes",
            "Memory that a worker holds, by what holds it.",
            ["worker", "what"],
            registry=self._registry,
        )
        self._worker_losses = Gauge(
            "darkroom_worker_losses",
            "How often a worker's process was lost with a job since the server began.",
            ["worker"],
            registry=self._registry,
        )

    def observe(self, event: Event) -> None:
        """Count one event of a run."""
        match event:
            case NodesCached(nodes=nodes):
                self._cached.inc(len(nodes))
            case NodeFinished(cached=False, seconds=seconds):
                self._nodes.observe(seconds)
            case _:
                pass

    def job_ended(self, state: State, seconds: float) -> None:
        """Count one job."""
        self._jobs.labels(str(state)).observe(seconds)

    def loop_failed(self, name: str) -> None:
        """Count a failure in one of the loops that live as long as the server."""
        self._failures.labels(name).inc()

    def loop_runs(self, name: str, running: bool) -> None:
        """Set whether one of these loops runs."""
        self._running.labels(name).set(running)

    def held(self, what: str, size: float) -> None:
        """Set how many bytes `what` holds."""
        self._bytes.labels(what).set(size)

    def worker(self, name: str, states: Mapping[str, bool], sizes: Mapping[str, float], lost: int) -> None:
        """Set what is known of a worker."""
        for state, holds in states.items():
            self._workers.labels(name, state).set(holds)
        for what, size in sizes.items():
            self._worker_bytes.labels(name, what).set(size)
        self._worker_losses.labels(name).set(lost)

    def text(self) -> bytes:
        """All figures in Prometheus's text format."""
        return generate_latest(self._registry)


class _NodeSeconds(Collector):
    """A histogram that is quick to add to: thousands of nodes may run in a second."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_SECONDS) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one node."""
        self._counts[bisect_left(_SECONDS, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """What Prometheus asks for: how many took at most so long."""
        bounds = map(floatToGoString, (*_SECONDS, float("inf")))
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily("darkroom_node_seconds", "How long nodes ran.", buckets, self._sum)
