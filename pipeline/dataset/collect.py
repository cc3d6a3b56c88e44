"""Rows become a store: read, featurise on all cores, merge replicates, split, write; every row that leaves is counted.

Two passes over the source: the first sees the labels (kinds, classes), the second makes graphs. Memory: what one
chunk needs, and per graph its two keys, labels, features, side and row number.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.opened import Opened
from pipeline.dataset.replicates import merge_replicates
from pipeline.dataset.rowtable import read_row_table
from pipeline.dataset.split import NO_SIDE, TRAIN, earliest, split_graphs
from pipeline.dataset.spool import Spool
from pipeline.errors import DataError, SplitError
from pipeline.samples.source import Keys
from pipeline.samples.workers import Workers
from pipeline.schema import Schema

Floats = NDArray[np.float64]
MAX_SHOWN = 1_000  # characters of a value in the quarantine


class Collected(NamedTuple):
    """Every graph that could be read, in source order; the graphs themselves lie in the spool."""

    keys: Keys  # as in `Part`
    scaffold: Keys  # (G, 2) or (0, 2)
    u: NDArray[np.float32]
    y: NDArray[np.float32]
    given: NDArray[np.int8]
    time: Floats
    row: NDArray[np.int64]
    rows_read: int
    left: Counter[str]  # rows that went to the quarantine, by code
    labels_left: Counter[str]  # labels that became missing while their row stayed, by code
    bounds: int  # labels like `>10` that were taken as 10


def collect(
    opened: Opened, config: PrepareConfig, spool: Spool, quarantine: TextIO, progress: Callable[[int], object]
) -> Collected:
    """Read all rows: graphs to the spool, bad rows to the quarantine, labels and keys to memory.

    Raises:
        DataError: with `on_error=fail`, at the first bad row; and if no row could be read.
    """
    writer = csv.writer(quarantine)
    writer.writerow(["row", "value", "code", "reason"])
    columns: dict[str, list[NDArray[Any]]] = {}
    left: Counter[str] = Counter()
    labels_left: Counter[str] = Counter()
    rows_read = bounds = 0
    first = ""
    for part in opened.parts():
        rows_read += len(part.rows.number)
        table = read_row_table(part, opened, config)
        bounds += table.bounds
        for position, error in sorted(table.errors.items()):
            if config.on_error == "fail":
                raise DataError(
                    f"{opened.source.path} row {part.rows.number[position]}: {error.detail} ({error.code}). "
                    "Mend the row, or pass on_error=skip."
                )
            (left if position in table.leaving else labels_left)[error.code] += 1
            first = first or f"row {part.rows.number[position]}: {error.detail}"
            writer.writerow([part.rows.number[position], _shown(part.ids[position]), error.code, error.detail])
        keep = ~np.isin(part.good, list(table.leaving)) if table.leaving else np.ones(len(part.good), dtype=bool)
        good = part.good[keep]
        if keep.any():
            piece = part.piece._replace(u=np.concatenate([table.u[part.good], part.piece.u], axis=1))
            spool.append(piece.select(keep), [str(part.ids[position]) for position in good])
            found = {
                "keys": part.keys[keep],
                "scaffold": part.scaffold[keep] if len(part.scaffold) else part.scaffold,
                "u": table.u[good],
                "y": table.y[good],
                "given": table.given[good],
                "time": table.time[good],
                "row": part.rows.number[good],
            }
            for key, values in found.items():
                columns.setdefault(key, []).append(values)
        progress(len(part.rows.number))
    if not columns:
        reasons = ", ".join(f"{count} {code}" for code, count in left.most_common()) or "it has no rows"
        raise DataError(f"{opened.source.path}: no usable row ({reasons}); {first.rstrip('.') or 'bring some'}.")
    joined = {key: np.concatenate(values) for key, values in columns.items()}
    return Collected(**joined, rows_read=rows_read, left=left, labels_left=labels_left, bounds=bounds)


def mix_keys(keys: Keys, u: NDArray[np.float32]) -> Keys:
    """A molecule at another temperature is no replicate: graph features join the identity."""
    mixed = keys.copy()
    for c in range(u.shape[1]):
        bits = np.ascontiguousarray(u[:, c] + 0.0).view(np.uint32).astype(np.uint64)  # + 0.0: -0 is 0
        mixed = (mixed ^ bits[:, None]) * np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing, Knuth vol. 3, 6.4
    return mixed


class Merged(NamedTuple):
    """What is written: which graphs stay, with which labels, on which side."""

    schema: Schema  # without targets that do not vary in training
    keep: NDArray[np.bool_]  # (G,)
    y: NDArray[np.float32]  # (G, T)
    side: NDArray[np.int8]  # (G,)
    conflicts: NDArray[np.bool_]  # (G,) rows of which a class label left, because equal graphs contradict it
    report: dict[str, Any]


def merge_and_split(found: Collected, opened: Opened, config: PrepareConfig, spool: Spool, workers: Workers) -> Merged:
    """Merge replicates, drop conflicts, split, take leaks out, check that every side is fit for use.

    Raises:
        SplitError: a side is empty, or no target varies in training.
    """
    targets = opened.schema.targets
    identity, group = opened.kind.keys(found.keys, spool, opened.schema.limits, workers)
    # Rows that the data puts on two sides are no replicates: a label of test must not reach training by a median.
    sides = found.given[:, None].astype(np.float32) if opened.side_column else found.u[:, :0]
    identity = mix_keys(mix_keys(identity, found.u), sides)
    replicates = merge_replicates(identity, found.y, targets)
    alive = np.flatnonzero(replicates.keep & ~replicates.conflicts & ~np.isnan(replicates.y).all(axis=1))
    if not len(alive):
        raise DataError(f"{opened.source.path}: all labels contradict each other; no graph is left.")
    method = "given" if opened.side_column else opened.source.split
    split = split_graphs(
        method,
        group[alive],
        y=replicates.y[alive],
        targets=targets,
        seed=config.split_seed,
        scaffold=found.scaffold[alive] if len(found.scaffold) else None,
        given=found.given[alive] if method == "given" else None,
        time=earliest(found.time, identity)[alive] if method == "time" else None,
    )
    side = np.full(len(found.row), NO_SIDE, dtype=np.int8)
    side[alive] = split.side
    keep = side != NO_SIDE
    flat = [t for t in range(len(targets)) if not _varies(replicates.y[keep & (side == TRAIN), t])]
    if len(flat) == len(targets):
        raise SplitError(
            f"no target varies in training ({', '.join(target.name for target in targets)}); "
            "pass another split= or split_seed=, or bring more rows."
        )
    if flat:
        others = np.delete(found.y, flat, axis=1)
        fewer = opened.without([targets[t].name for t in flat])
        return merge_and_split(found._replace(y=others), fewer, config, spool, workers)
    lost = ~np.isnan(found.y) & np.isnan(replicates.y)  # (G, T)
    report = {
        "rows": found.rows_read,
        "graphs": int(keep.sum()),
        "quarantined": dict(found.left) | _some("conflicting_labels", int(replicates.conflicts.sum())),
        "labels_left": dict(found.labels_left)
        | _some("conflicting_labels", int(np.count_nonzero(lost[~replicates.conflicts]))),
        "bounds": found.bounds,
        "strays": {name: count for name, count in opened.data.strays.items() if count},
        "replicates": replicates.report,
        "split": {"method": opened.source.split, "seed": config.split_seed} | split.report,
        "built_in": opened.source.recipe,
    }
    if opened.constant:
        report["constant"] = list(opened.constant)
    if opened.unused_split:
        report["unused_split"] = opened.unused_split
    return Merged(opened.schema, keep, replicates.y, side, np.asarray(lost.any(axis=1)), report)


def _varies(labels: NDArray[np.float32]) -> bool:
    return len(np.unique(labels[~np.isnan(labels)])) > 1


def quarantine_conflicts(found: Collected, merged: Merged, spool: Spool, quarantine: TextIO) -> None:
    """Add the rows that lost a label because equal graphs carry unequal class labels."""
    if not merged.conflicts.any():
        return
    writer = csv.writer(quarantine)
    start = 0
    for _, packed in spool:
        ids = packed.list()
        for position in np.flatnonzero(merged.conflicts[start : start + len(ids)]):
            reason = "the same molecule or graph carries different class labels"
            writer.writerow([found.row[start + position], ids[position], "conflicting_labels", reason])
        start += len(ids)


def _shown(value: object) -> object:
    """A value as the quarantine shows it: a cell of megabytes is cut."""
    return f"{value[:MAX_SHOWN]}…" if isinstance(value, str) and len(value) > MAX_SHOWN else value


def _some(name: str, count: int) -> dict[str, int]:
    return {name: count} if count else {}
