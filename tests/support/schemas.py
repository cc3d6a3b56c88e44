"""The schemas of the tests: one with columns of everything for each data kind, and `toy_schema` for all others."""

from __future__ import annotations

import dataclasses
from typing import Any

from pipeline.samples.molecule.featurize import EDGE_COLUMNS, FEATURIZER_VERSION, NODE_COLUMNS
from pipeline.schema import Column, Schema, Target

GRAPHS = Schema(
    name="toy",
    data_kind="graph",
    targets=(
        Target("size", "regression"),
        Target("active", "binary", classes=("no", "yes")),
        Target("colour", "multiclass", classes=("red", "green", "blue")),
    ),
    node_columns=(Column("symbol", "categorical", ("C", "N", "O"), (5, 5, 1)), Column("charge", "numeric")),
    edge_columns=(Column("order", "categorical", ("1", "2")),),
    graph_columns=(Column("temperature", "numeric"),),
)
MOLECULES = Schema(
    name="atoms",
    data_kind="molecule",
    targets=(Target("size", "regression"),),
    node_columns=NODE_COLUMNS,
    edge_columns=EDGE_COLUMNS,
    graph_columns=(Column("temperature", "numeric"),),
    featurizer_version=FEATURIZER_VERSION,
)

RINGS = Schema(
    name="rings",
    data_kind="graph",
    targets=(
        Target("length", "regression"),
        Target("has O", "binary", classes=("no", "yes")),
        Target("size", "multiclass", classes=("small", "middle", "large")),
    ),
    node_columns=(Column("symbol", "categorical", ("C", "O")),),
    edge_columns=(Column("order", "categorical", ("1", "2")),),
)


def toy_schema(*targets: Target, **changes: Any) -> Schema:
    """A schema of these targets (default: one regression) that asks for no columns, but for `changes` of its fields."""
    targets = targets or (Target("y", "regression"),)
    bare = Schema("toy", "molecule", targets, node_columns=(), edge_columns=())
    return dataclasses.replace(bare, **changes)


def without_features(schema: Schema) -> Schema:
    return dataclasses.replace(schema, graph_columns=())
