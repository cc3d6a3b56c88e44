"""What Prometheus reads. One process counts for all workers, so nothing is shared and nothing is written to disk."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

from serving.server.fleet import Answer, Fleet

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 100000)


class Metrics:
    """Counters of one server.

    Args:
        fleet: whose queue and workers are shown.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        name = "graphline_"
        self.requests = Counter(
            f"{name}requests", "Requests by route and outcome.", ["route", "outcome"], registry=registry
        )
        self.rows = Counter(f"{name}rows", "Rows of answered requests.", registry=registry)
        self.row_errors = Counter(f"{name}row_errors", "Rows without an answer, by code.", ["code"], registry=registry)
        self.request_rows = Histogram(f"{name}request_rows", "Rows of a request.", buckets=_ROWS, registry=registry)
        self.batch = Histogram(
            f"{name}batch_graphs", "Graphs of a run of the network.", buckets=_ROWS, registry=registry
        )
        self.shared = Histogram(
            f"{name}batch_requests", "Requests in a run of the network.", buckets=_ROWS[:6], registry=registry
        )
        self.seconds = Histogram(
            f"{name}request_seconds", "From the head of a request to its answer.", ["route"], buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.changes = Counter(
            f"{name}worker_changes", "Workers restarted, releases swapped.", ["kind"], registry=registry
        )
        self.follow = Counter(f"{name}follow", "Looks at the alias, by outcome.", ["outcome"], registry=registry)
        self.model = Gauge(
            f"{name}model_info", "The release that answers.", ["name", "version", "digest"], registry=registry
        )
        self.log_agrees = Gauge(
            f"{name}log_agrees", "Whether the log of decisions agrees: 1 yes, 0 no, -1 not compared.", registry=registry
        )
        gauges = {
            "queue_length": ("Requests that wait for a worker.", lambda: len(fleet.queue)),
            "queue_limit": ("Requests that may wait.", lambda: fleet.limits.queue),
            "in_flight": ("Requests in workers.", lambda: fleet.in_flight),
            "workers": ("Workers that answer.", lambda: len(fleet.workers)),
        }
        for key, (text, value) in gauges.items():
            Gauge(name + key, text, registry=registry).set_function(value)

    def count(self, route: str, outcome: str, seconds: float, answer: Answer | None) -> None:
        """Count one request."""
        self.requests.labels(route, outcome).inc()
        if answer is None:
            return
        self.seconds.labels(route).observe(seconds)
        for graphs, requests in answer.batches:
            self.batch.observe(graphs)
            self.shared.observe(requests)
        if answer.status == 200:
            self.rows.inc(answer.rows)
            self.request_rows.observe(answer.rows)
            for code, rows in answer.errors.items():
                self.row_errors.labels(code).inc(rows)

    def page(self, agrees: bool | None) -> bytes:
        """The text that Prometheus reads.

        Args:
            agrees: whether the log of decisions says of the release that it may answer.
        """
        self.log_agrees.set(-1 if agrees is None else int(agrees))
        self.model.clear()
        if (release := self.fleet.release) is not None:
            self.model.labels(release.name, release.version, release.digest).set(1)
        return bytes(generate_latest(self.registry))
