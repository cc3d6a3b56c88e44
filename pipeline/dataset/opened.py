"""A source whose columns and kinds are known: what a store's schema will be, and how its parts are read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.labels import LabelScan
from pipeline.dataset.source import Source, names, per_target, split_columns
from pipeline.dataset.split import NO_SIDE, parse_sides
from pipeline.errors import ConfigError, DataError
from pipeline.rows.table import Rows
from pipeline.samples import source as samples
from pipeline.samples.kinds import kind_of
from pipeline.samples.workers import Workers
from pipeline.schema import Column, Limits, Schema, Target

_GREEK_MU, _MICRO = "\u03bc", "\u00b5"  # they look the same, and keyboards have either


@dataclass(frozen=True)
class Opened:
    """A source whose columns and kinds are known.

    Attributes:
        kind: how its samples are read.
        parts: reads all rows and makes samples of them.
        side_column: the column that names the side of a row, if one does.
        constant: targets that were asked for and left out, since their labels do not vary.
        unused_split: a column `split` that names sides, which nobody asked for.
    """

    source: Source
    kind: samples.Source
    data: samples.Data
    schema: Schema
    parts: Callable[[], Iterator[samples.Part]]
    side_column: str | None
    constant: tuple[str, ...] = ()
    unused_split: str | None = None

    def without(self, names: Collection[str]) -> Opened:
        """The same without some targets."""
        targets = tuple(target for target in self.schema.targets if target.name not in names)
        return replace(self, schema=replace(self.schema, targets=targets), constant=(*self.constant, *names))


def open_source(config: PrepareConfig, source: Source, workers: Workers) -> Opened:
    """Look at the columns, read all labels once, and find what the model takes and answers.

    Raises:
        DataError: a missing column, an empty file, a target without variation.
        ConfigError: an option that does not fit the data.
    """
    kind = kind_of(source.kind).source()
    options = samples.Options(
        smiles=source.smiles,
        header=config.header,
        descriptors=config.descriptors,
        forest=config.forest,
        directed=config.directed,
        numeric=names(config.numeric),
        categorical=names(config.categorical),
    )
    data = kind.open(source.path, options, source.targets, workers)
    if not source.targets:
        raise DataError(
            f"{source.path}: no target is named. Pass target= with one or several of the columns "
            f"{', '.join(data.columns)}."
        )
    if source.split == "scaffold" and not kind.has_scaffolds:
        raise ConfigError("split=scaffold needs molecules; pass split=random, given, time or a column.")
    side_column, extra = split_columns(source, config)
    asked = (*source.targets, *names(config.features), *extra)
    _require(asked, data.columns, source, side_column)
    stray = [name for name, count in data.strays.items() if count]
    if stray and config.on_error == "fail":
        raise DataError(
            f"{source.path}: rows of {' and '.join(stray)} name no graph of the table of graphs. "
            "Mend them, or pass on_error=skip."
        )
    targets = _find_targets(config, source, data.values(source.targets), data.decimal_of)
    features = tuple(Column(name, "numeric") for name in names(config.features))
    schema = Schema(
        name=source.name,
        data_kind=source.kind,
        targets=targets,
        limits=Limits(max_nodes=config.max_nodes, max_edges=config.max_edges),
        description=source.recipe.get("description"),
        **{**data.facts, "graph_columns": (*features, *data.facts.get("graph_columns", ()))},
    )
    asked = (*asked, *(column.name for column in schema.graph_columns if column.name not in asked))
    parts = partial(data.parts, asked, schema, source.split == "scaffold")
    constant = tuple(name for name in source.targets if name not in {target.name for target in targets})
    return Opened(source, kind, data, schema, parts, side_column, constant, _unused_split(data, asked))


def _find_targets(
    config: PrepareConfig, source: Source, rows: Iterator[Rows], decimal_of: Callable[[str], str]
) -> tuple[Target, ...]:
    scans = {name: LabelScan(name) for name in source.targets}
    for part in rows:
        for name, scan in scans.items():
            scan.add(part.values[name], decimal_of(name))
    recipe = source.recipe
    options: dict[str, dict[str, Any]] = {
        option: dict(per_target(option, getattr(config, option) or recipe.get(option), source.targets))
        for option in ("kind", "unit", "description", "transform", "positive")
    }
    options["unit"] = {name: unit and unit.replace(_GREEK_MU, _MICRO) for name, unit in options["unit"].items()}
    if any(scan.varies for scan in scans.values()):
        scans = {name: scan for name, scan in scans.items() if scan.varies}
    return tuple(
        scan.target(**{option: values[name] for option, values in options.items()}) for name, scan in scans.items()
    )


def _unused_split(data: samples.Data, asked: Collection[str]) -> str | None:
    for name in data.columns:
        if name.strip().lower() == "split" and name not in asked:
            first = next(iter(data.values((name,))), None)
            if first is not None and (parse_sides(first.values[name]) != NO_SIDE).any():
                return name
    return None


def _require(asked: tuple[str, ...], columns: tuple[str, ...], source: Source, side_column: str | None) -> None:
    missing = [name for name in asked if name not in columns]
    if missing == [side_column]:
        raise DataError(
            f"{source.path}: split={source.split} needs a column '{side_column}'; pass split=random, scaffold, time "
            f"or one of the columns {', '.join(columns)}."
        )
    if missing:
        raise DataError(f"{source.path}: no column {str(missing)[1:-1]}. The columns are {', '.join(columns)}.")
