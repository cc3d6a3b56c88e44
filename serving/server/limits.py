"""All limits of a server, each with its reason.

Those of one graph are the schema's, those of a table of rows the bundle's (`pipeline.serveconfig`): they hold wherever
a bundle answers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What clients, requests and workers may take; who serves sets some and hands all down.

    A worker, which is a process of its own, takes its defaults: `Limits.json_depth`.

    Attributes:
        connections: open at the same time; each holds a file and some memory.
        head_s: until the head of a request must have come, from the start or from the last answer.
        read_s: in which a client must read on.
        body_bytes: of one request.
        body_s: in which a body must come.
        held_bytes: of all requests that are here at the same time.
        queue: requests that may wait for a worker.
        time_s: from the whole body to the answer, waiting included.
        json_depth: levels of brackets; lists in the objects of a row are five.
        json_containers: arrays and objects; ten of them a row, at the most rows a request may have.
        json_digits: characters of one number; a float64 never needs more than 25.
        table_cells: of a table once it is read; a small body may stand for any number of empty ones.
        parquet_rows, parquet_bytes: unpacked; a small file may unpack to any size.
        places: requests that one worker computes at the same time, each in a thread; they share its network.
        large_bytes: of a request or of an answer that stands apart: its memory is given back at once, small ones do
            not wait.
        worker_bytes: of a worker's private memory; what needs more fails by itself, before the container does.
        start_s: until a worker must have loaded the bundle and answered its example.
        grace_s: that work may go on beyond its deadline, inside a library that does not look, before its worker is
            killed; and that a worker may take to end.
    """

    connections: int = 4096
    head_s: float = 10.0
    read_s: float = 30.0
    body_bytes: int = 10 << 20
    body_s: float = 30.0
    held_bytes: int = 256 << 20
    queue: int = 64
    time_s: float = 30.0
    json_depth: int = 32
    json_containers: int = 1_000_000
    json_digits: int = 64
    table_cells: int = 4_000_000
    parquet_rows: int = 1_000_000
    parquet_bytes: int = 256 << 20
    places: int = 4
    large_bytes: int = 1 << 20
    worker_bytes: int = 2 << 30
    start_s: float = 300.0
    grace_s: float = 5.0
