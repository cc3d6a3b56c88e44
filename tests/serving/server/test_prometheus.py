"""What Prometheus reads, read by its own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from serving.server.prometheus import Metrics
from tests.support.fleets import RELEASE, ToyFleet, answer


def samples(metrics: Metrics, agrees: bool | None = None) -> dict[tuple[str, ...], float]:
    """Name and values of the labels, sorted -> number."""
    families = text_string_to_metric_families(metrics.page(agrees).decode())
    return {
        (one.name, *(one.labels[name] for name in sorted(one.labels))): one.value
        for family in families
        for one in family.samples
    }


def test_what_the_log_of_decisions_says_is_a_number():
    metrics = Metrics(ToyFleet(lambda head, body: None))  # type: ignore[arg-type]
    found = [samples(metrics, agrees)["graphline_log_agrees",] for agrees in (True, False, None)]
    assert found == [1, 0, -1]


def test_counts_by_hand():
    metrics = Metrics(ToyFleet(lambda head, body: None))  # type: ignore[arg-type]
    metrics.count("/invocations", "ok", 0.03, answer(rows=7, missing=2, too_large=1))
    metrics.count("/invocations", "timeout", 30.0, None)
    metrics.count("/invocations", "bad_request", 0.001, answer(status=400, rows=9, missing=9))
    found = samples(metrics)
    assert found["graphline_requests_total", "ok", "/invocations"] == 1
    assert found["graphline_requests_total", "timeout", "/invocations"] == 1
    assert found["graphline_rows_total",] == 7  # those of a refused request are not answered
    assert found["graphline_row_errors_total", "missing"] == 2
    assert found["graphline_request_rows_bucket", "5.0"] == 0
    assert found["graphline_request_rows_bucket", "10.0"] == 1
    assert found["graphline_request_seconds_count", "/invocations"] == 2
    assert found["graphline_batch_graphs_sum",] == 16


def test_the_fleet_is_looked_at_when_the_page_is_read():
    fleet = ToyFleet(lambda head, body: None)
    metrics = Metrics(fleet)  # type: ignore[arg-type]
    found = samples(metrics)
    assert (found["graphline_workers",], found["graphline_queue_limit",]) == (1, 8)
    assert found["graphline_model_info", RELEASE.digest, "toy", "3"] == 1
    fleet.workers, fleet.in_flight, fleet.release = [], 4, None  # type: ignore[assignment]
    found = samples(metrics)
    assert (found["graphline_workers",], found["graphline_in_flight",]) == (0, 4)
    assert not [key for key in found if key[0] == "graphline_model_info"]


def test_two_servers_in_one_process_count_apart():
    first, second = (Metrics(ToyFleet(lambda head, body: None)) for _ in range(2))  # type: ignore[arg-type]
    first.count("/invocations", "ok", 0.1, answer())
    assert ("graphline_requests_total", "ok", "/invocations") not in samples(second)
