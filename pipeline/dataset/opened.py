"""A source whose columns and kinds are known: what a store's schema will be, and how its parts are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.labels import LabelScan
from pipeline.dataset.parts import CHUNK_ROWS, Part, Wanted, Workers, graph_parts, molecule_parts
from pipeline.dataset.source import Source, names, per_target, split_columns
from pipeline.errors import ConfigError, DataError
from pipeline.rows.table import Rows, count_rows_hint, find_smiles_column, open_table, read_rows
from pipeline.samples.graph.tables import open_graph_tables
from pipeline.samples.molecule.descriptors import DESCRIPTOR_COLUMNS, FINGERPRINT_SIZE
from pipeline.samples.molecule.featurize import EDGE_COLUMNS, FEATURIZER_VERSION, NODE_COLUMNS
from pipeline.schema import Column, Limits, Schema, Target


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
