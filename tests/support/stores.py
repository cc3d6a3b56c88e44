"""Stores of given graphs and molecules, spooled and written as `prepare` does."""

from __future__ import annotations

import numpy as np

from pipeline.dataset.spool import Piece, Spool
from pipeline.graph import pack
from pipeline.samples.molecule.featurize import featurize_smiles
from pipeline.schema import Column, Limits, Schema, Target
from pipeline.store.store import write_store
from tests.support.schemas import MOLECULES, without_features

SCHEMA = Schema(
    name="toy",
    data_kind="graph",
    targets=tuple(Target(name, "regression") for name in ("a", "b", "c")),
    node_columns=(
        Column("symbol", "categorical", ("C", "N", "O", "S")),
        Column("mass", "numeric"),
        Column("kind", "categorical", ("p", "q", "r", "s")),
    ),
    edge_columns=(
        Column("order", "categorical", ("1", "2")),
        Column("length", "numeric"),
        Column("type", "categorical", ("s", "d")),
    ),
    graph_columns=(Column("temperature", "numeric"), Column("pressure", "numeric")),
)


def build(folder, many, *, schema=SCHEMA, keep=None, split=None, chunk=3, y=None):
    """A store of graphs, spooled in chunks; graph g is called `graph g` and comes from row g + 1."""
    spool = Spool(folder.parent / f"{folder.name}.spool")
    for start in range(0, len(many), chunk):
        part = many[start : start + chunk]
        spool.append(Piece.of(pack(part), directed=schema.directed), [f"graph {start + i}" for i in range(len(part))])
    size = len(many)
    return write_store(
        folder,
        spool,
        schema=schema,
        keep=np.ones(size, bool) if keep is None else np.array(keep),
        y=np.stack([g.y for g in many]) if y is None else y,
        split=np.arange(size, dtype=np.int8) % 3 if split is None else np.array(split, dtype=np.int8),
        row=np.arange(1, size + 1),
        source={"file": "toy.csv"},
    )


def build_molecules(folder, smiles):
    found = featurize_smiles(smiles, Limits())
    spool = Spool(folder.parent / f"{folder.name}.spool")
    spool.append(found.chunk, smiles)
    size = len(smiles)
    return write_store(
        folder,
        spool,
        schema=without_features(MOLECULES),
        keep=np.ones(size, bool),
        y=np.zeros((size, 1), np.float32),
        split=np.zeros(size, np.int8),
        row=np.arange(1, size + 1),
        source={},
    )
