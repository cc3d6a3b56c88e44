"""What `prepare` is asked to do: its settings, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.errors import ConfigError


@dataclass(frozen=True)
class PrepareConfig:
    """What `prepare` is asked to do; every field is a parameter of the same name.

    Attributes:
        data: name of a built-in set, or path of a CSV, Parquet, SDF or SMILES file, or of a folder of graph tables.
        target: column(s) to predict, comma-separated.
        smiles: column of the molecules; recognised when there is one obvious column.
        header: false where the first row of a CSV file is a row like the others; its columns are column1, column2, ….
        name: name of the model; default: the built-in name or the file's stem.
        dataset: `module:function` that returns PyG `Data` objects, instead of `data`.
        features: number columns of the row that join the graph vector, comma-separated.
        descriptors: molecules only: RDKit's descriptors join the graph vector; serving computes them, too.
        forest: molecules only: beside the network, which gets the descriptors, answer trees on descriptors and counted
            substructures; the answer is a mean of both, in serving, too.
        kind: regression, binary or multiclass, for all targets or as `target:kind,…`; default: inferred.
        positive: name of the positive class of a binary target.
        transform: log10 or p, for all targets or as `target:log10,…`.
        unit: unit of the targets, for all or as `target:unit,…`.
        description: what the targets are, for all or as `target:text,…`.
        censored: `drop` leaves labels like `>10` out, `bound` takes them as 10.
        split: given, random, scaffold, time, or the name of a column that holds the sides.
        time_column: column that `split=time` sorts by.
        time_format: how its dates are written, as strptime knows it, such as `%d/%m/%Y`; default: numbers or ISO dates.
        on_error: `skip` puts a bad row into quarantine.csv, `fail` ends the step at the first one.
        directed: graph tables only: each row of edges is one edge, not a pair.
        numeric: graph tables only: columns to read as numbers, comma-separated.
        categorical: graph tables only: columns to read as categories, comma-separated.
        share_rows: false keeps structures out of logged tables, cards and artifacts.
        processes: how many work, the main one among them; 0 is all cores this process may use.
    """

    data: str = "solubility"
    target: str | None = None
    smiles: str | None = None
    header: bool = True
    name: str | None = None
    dataset: str | None = None
    features: str | None = None
    descriptors: bool = False
    forest: bool = False
    kind: str | None = None
    positive: str | None = None
    transform: str | None = None
    unit: str | None = None
    description: str | None = None
    censored: Literal["drop", "bound"] = "drop"
    split: str | None = None
    time_column: str | None = None
    time_format: str | None = None
    split_seed: int = 0
    on_error: Literal["skip", "fail"] = "skip"
    directed: bool = False
    numeric: str | None = None
    categorical: str | None = None
    max_nodes: int = 10_000
    max_edges: int = 100_000
    share_rows: bool = True
    processes: int = 0

    def __post_init__(self) -> None:
        if self.split == "time" and not self.time_column:
            raise ConfigError("split=time needs the column to sort by; pass time_column=COLUMN.")
        if self.time_format and not self.time_column:
            raise ConfigError("time_format= says how dates are written; pass time_column=COLUMN, too.")
        if self.max_nodes < 1 or self.max_edges < 0 or self.processes < 0 or self.split_seed < 0:
            raise ConfigError("max_nodes must be at least 1; max_edges, processes and split_seed at least 0.")
