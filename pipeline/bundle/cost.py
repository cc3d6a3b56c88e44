"""What an answer costs: time and memory of one or two bundles, measured in turn on the same rows.

Each bundle has a process of its own. They are asked alternately, so that whatever else the machine does slows both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from pipeline import digests
from pipeline.bundle.child import Child

BATCH = 256
_WARM, _SINGLES, _BATCHES = 3, 60, 7


class Cost(NamedTuple):
    """What a bundle takes to answer; names as in `gate.yaml`.

    Attributes:
        ms_per_request: median time of a request of one row.
        ms_per_row: median time a row in requests of 256 rows.
        peak_memory_mb: largest resident memory of the process, libraries included.
    """

    ms_per_request: float
    ms_per_row: float
    peak_memory_mb: float


def measure_costs(folders: Sequence[Path], columns: Mapping[str, Sequence[Any]]) -> list[Cost]:
    """Measure bundles beside each other.

    Args:
        folders: of the bundles; each is copied, verified and run in a process of its own.
        columns: a request, at least one row; asked again from the start where it is shorter than 256 rows.

    Raises:
        BundleError: if a bundle's bytes are not what was signed off.
        PipelineError: if a process fails, with its reason.
    """
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    singles = [_table([row]) for row in islice(cycle(rows), _WARM + _SINGLES)]
    batch = _table(list(islice(cycle(rows), BATCH)))
    with ExitStack() as stack:
        copies = [stack.enter_context(digests.private_copy(folder)) for folder in folders]
        children = [stack.enter_context(Child(copy)) for copy in copies]
        one = [[child.ask(table).seconds for child in children] for table in singles][_WARM:]
        many = [[child.ask(batch) for child in children] for _ in range(_BATCHES)]
    return [
        Cost(
            1e3 * median(seconds[k] for seconds in one),
            1e3 * median(replies[k].seconds for replies in many) / BATCH,
            many[-1][k].peak_memory_bytes / 1e6,
        )
        for k in range(len(folders))
    ]


def _table(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}
