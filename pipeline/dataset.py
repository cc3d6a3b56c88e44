"""Rows become a store: read, featurise on all cores, merge replicates, split, write; every row that leaves is counted.

Two passes over the source: the first sees the labels (kinds, classes), the second makes graphs. Memory: what one
chunk needs, and per graph its two keys, labels, features, side and row number.
"""

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from pipeline.descriptors import DESCRIPTOR_COLUMNS, FINGERPRINT_SIZE
from pipeline.errors import ConfigError, DataError, SplitError
from pipeline.featurize import EDGE_COLUMNS, FEATURIZER_VERSION, NODE_COLUMNS
from pipeline.graphtable import open_graph_tables
from pipeline.labels import LabelScan, merge_replicates
from pipeline.parts import CHUNK_ROWS, Keys, Part, Wanted, Workers, exact_keys, graph_parts, mix_keys, molecule_parts
from pipeline.rowtable import read_row_table
from pipeline.schema import Column, Limits, Schema, Target
from pipeline.source import PrepareConfig, Source, names, per_target, split_columns
from pipeline.split import NO_SIDE, TRAIN, earliest, split_graphs
from pipeline.spool import Spool
from pipeline.table import Rows, count_rows_hint, find_smiles_column, open_table, read_rows

if TYPE_CHECKING:
    from pipeline.store import Store

Floats = NDArray[np.float64]
MAX_SHOWN = 1_000  # characters of a value in the quarantine


@dataclass(frozen=True)
class Opened:
    """A source whose columns and kinds are known."""

    source: Source
    schema: Schema
    id_column: str  # SMILES column, or graph_id
    decimal: str
    columns: tuple[str, ...]  # read beside the id
    parts: Callable[[], Iterator[Part]]
    side_column: str | None
    strays: dict[str, int] = field(default_factory=dict)  # rows of nodes and edges that name no graph


def open_source(config: PrepareConfig, source: Source, workers: Workers) -> Opened:
    """Look at the columns, read all labels once, and settle what the model takes and answers.

    Raises:
        DataError: a missing column, an empty file, a target without variation.
        ConfigError: an option that does not fit the data.
    """
    if not source.targets:
        there = open_graph_tables(source.path) if source.kind == "graph" else open_table(source.path)
        columns = ", ".join(there.columns)
        raise DataError(
            f"{source.path}: no target is named. Pass target= with one or several of the columns {columns}."
        )
    side_column, extra = split_columns(source, config)
    asked = (*source.targets, *names(config.features), *extra)
    if source.kind == "graph":
        return _open_graphs(config, source, asked, side_column)
    return _open_molecules(config, source, asked, side_column, workers)


def _open_graphs(config: PrepareConfig, source: Source, asked: tuple[str, ...], side_column: str | None) -> Opened:
    if config.descriptors:
        raise ConfigError("descriptors=true is for molecules; pass number columns of graphs.csv as features=.")
    if config.forest:
        raise ConfigError("forest=true is for molecules: its trees look at descriptors and substructures.")
    tables = open_graph_tables(
        source.path,
        directed=config.directed,
        numeric=names(config.numeric),
        categorical=names(config.categorical),
        targets=source.targets,
    )
    _require(asked, tables.columns, source, side_column)
    schema = Schema(
        data_kind="graph",
        targets=_settle_targets(config, source, read_rows(tables.graphs, source.targets), tables.graphs.decimal),
        node_columns=tables.node_columns,
        edge_columns=tables.edge_columns,
        directed=config.directed,
        **_shared_facts(config, source),
    )
    strays = {name: count for name, count in tables.strays.items() if count}
    if strays and config.on_error == "fail":
        raise DataError(
            f"{source.path}: rows of {' and '.join(strays)} name no graph of the table of graphs. "
            "Mend them, or pass on_error=skip."
        )
    parts = partial(graph_parts, tables, asked, schema.limits)
    return Opened(source, schema, "graph_id", tables.graphs.decimal, asked, parts, side_column, strays)


def _open_molecules(
    config: PrepareConfig, source: Source, asked: tuple[str, ...], side_column: str | None, workers: Workers
) -> Opened:
    if config.directed or config.numeric or config.categorical:
        raise ConfigError(
            "directed=, numeric= and categorical= are for folders of graph tables; molecules fix their own."
        )
    table = open_table(source.path)
    _require(asked, table.columns, source, side_column)
    smiles = find_smiles_column(table, source.smiles)
    if (count_rows_hint(table) or 0) > CHUNK_ROWS:
        workers.start()  # while this process looks at the labels
    schema = Schema(
        data_kind="molecule",
        targets=_settle_targets(config, source, read_rows(table, source.targets), table.decimal),
        node_columns=NODE_COLUMNS,
        edge_columns=EDGE_COLUMNS,
        descriptor_columns=DESCRIPTOR_COLUMNS if config.descriptors or config.forest else (),
        fingerprint_size=FINGERPRINT_SIZE if config.forest else 0,
        featurizer_version=FEATURIZER_VERSION,
        **_shared_facts(config, source),
    )
    wanted = Wanted(
        schema.limits, source.split == "scaffold", bool(schema.descriptor_columns), bool(schema.fingerprint_size)
    )
    parts = partial(molecule_parts, table, smiles, asked, wanted, workers)
    return Opened(source, schema, smiles, table.decimal, asked, parts, side_column)


def _shared_facts(config: PrepareConfig, source: Source) -> dict[str, Any]:
    """What a schema says of any graphs."""
    return {
        "name": source.name,
        "graph_columns": tuple(Column(name=name, kind="numeric") for name in names(config.features)),
        "limits": Limits(max_nodes=config.max_nodes, max_edges=config.max_edges),
        "description": source.recipe.get("description"),
    }


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


class Settled(NamedTuple):
    """What is written: which graphs stay, with which labels, on which side."""

    keep: NDArray[np.bool_]  # (G,)
    y: NDArray[np.float32]  # (G, T)
    side: NDArray[np.int8]  # (G,)
    conflicts: NDArray[np.bool_]  # (G,) rows of which a class label left, because equal graphs contradict it
    report: dict[str, Any]


def settle(found: Collected, opened: Opened, config: PrepareConfig, spool: Spool, workers: Workers) -> Settled:
    """Merge replicates, drop conflicts, split, take leaks out, check that every side is fit for use.

    Raises:
        SplitError: a side is empty, or a target does not vary in training.
    """
    targets = opened.schema.targets
    if opened.source.split == "scaffold" and opened.schema.data_kind != "molecule":
        raise ConfigError("split=scaffold needs molecules; pass split=random, given, time or a column.")
    identity = group = found.keys
    if opened.schema.data_kind == "molecule":
        identity, group = exact_keys(found.keys[:, 0], spool, opened.schema.limits, workers)
    # Rows that the data puts on two sides are no replicates: a label of test must not reach training by a median.
    sides = found.given[:, None].astype(np.float32) if opened.side_column else found.u[:, :0]
    identity = mix_keys(mix_keys(identity, found.u), sides)
    replicates = merge_replicates(identity, found.y, targets)
    alive = np.flatnonzero(replicates.keep & ~replicates.conflicts)
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
    for t, target in enumerate(targets):
        values = replicates.y[keep & (side == TRAIN), t]
        values = values[~np.isnan(values)]
        if len(np.unique(values)) < 2:
            raise SplitError(
                f"target '{target.name}' has {len(values)} labels in training that do not vary; "
                "pass another split= or split_seed=, or bring more rows."
            )
    lost = ~np.isnan(found.y) & np.isnan(replicates.y)  # (G, T)
    report = {
        "rows": found.rows_read,
        "graphs": int(keep.sum()),
        "quarantined": dict(found.left) | _some("conflicting_labels", int(replicates.conflicts.sum())),
        "labels_left": dict(found.labels_left)
        | _some("conflicting_labels", int(np.count_nonzero(lost[~replicates.conflicts]))),
        "bounds": found.bounds,
        "strays": opened.strays,
        "replicates": replicates.report,
        "split": {"method": opened.source.split, "seed": config.split_seed} | split.report,
        "built_in": opened.source.recipe,
    }
    return Settled(keep, replicates.y, side, np.asarray(lost.any(axis=1)), report)


def quarantine_conflicts(found: Collected, settled: Settled, spool: Spool, quarantine: TextIO) -> None:
    """Add the rows that lost a label because equal graphs carry unequal class labels."""
    if not settled.conflicts.any():
        return
    writer = csv.writer(quarantine)
    start = 0
    for _, packed in spool:
        ids = packed.list()
        for position in np.flatnonzero(settled.conflicts[start : start + len(ids)]):
            reason = "the same molecule or graph carries different class labels"
            writer.writerow([found.row[start + position], ids[position], "conflicting_labels", reason])
        start += len(ids)


def build_store(
    config: PrepareConfig, source: Source, folder: Path, digest: str, progress: Callable[[int], object]
) -> Store:
    """Make the store of `source` at `folder`, with the quarantine at `<folder>.quarantine.csv`.

    Args:
        digest: sha256 of the source's bytes, kept with the store.
        progress: told the number of rows read, chunk by chunk.

    Raises:
        DataError, ConfigError, SplitError: as `open_source`, `collect` and `settle`; nothing is then left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    quarantine = quarantine_path(folder)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        spool = Spool(Path(temporary) / "spool")
        with (
            open(Path(temporary) / "quarantine.csv", "w", newline="", encoding="utf-8") as file,
            Workers(config.processes) as workers,
        ):
            opened = open_source(config, source, workers)
            found = collect(opened, config, spool, file, progress)
            settled = settle(found, opened, config, spool, workers)
            quarantine_conflicts(found, settled, spool, file)
        from pipeline.store import write_store  # torch only here: the other processes have ended and never saw it

        report = settled.report | {"digest": digest, "file": source.path.name, "id_column": opened.id_column}
        store = write_store(
            folder,
            spool,
            schema=opened.schema,
            keep=settled.keep,
            y=settled.y,
            split=settled.side,
            row=found.row,
            source=report,
        )
        Path(file.name).replace(quarantine)
    return store


def quarantine_path(folder: Path) -> Path:
    """Where the rows that left a store are listed."""
    return folder.with_name(f"{folder.name}.quarantine.csv")


def _settle_targets(config: PrepareConfig, source: Source, rows: Iterator[Rows], decimal: str) -> tuple[Target, ...]:
    scans = {name: LabelScan(name) for name in source.targets}
    for part in rows:
        for name, scan in scans.items():
            scan.add(part.values[name], decimal)
    recipe = source.recipe
    options: dict[str, dict[str, Any]] = {
        option: dict(per_target(option, getattr(config, option) or recipe.get(option), source.targets))
        for option in ("kind", "unit", "description", "transform", "positive")
    }
    return tuple(
        scan.target(**{option: values[name] for option, values in options.items()}) for name, scan in scans.items()
    )


def _require(asked: tuple[str, ...], columns: tuple[str, ...], source: Source, side_column: str | None) -> None:
    missing = [name for name in asked if name not in columns]
    if missing == [side_column]:
        raise DataError(
            f"{source.path}: split={source.split} needs a column '{side_column}'; pass split=random, scaffold, time "
            f"or one of the columns {', '.join(columns)}."
        )
    if missing:
        raise DataError(f"{source.path}: no column {str(missing)[1:-1]}. The columns are {', '.join(columns)}.")


def _shown(value: object) -> object:
    """A value as the quarantine shows it: a cell of megabytes is cut."""
    return f"{value[:MAX_SHOWN]}…" if isinstance(value, str) and len(value) > MAX_SHOWN else value


def _some(name: str, count: int) -> dict[str, int]:
    return {name: count} if count else {}
