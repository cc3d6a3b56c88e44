"""Molecules: a request's row holds a SMILES, in the column `smiles`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import RowError
from pipeline.graph import select
from pipeline.samples.graph.columns import read_feature
from pipeline.samples.kind import Ask, Columns, Nouns, Read
from pipeline.schema import Schema

if TYPE_CHECKING:
    from pipeline.samples.source import Source

SMILES = "smiles"
# A SMILES has no more atoms than characters: this bounds the memory of one piece for any request.
MAX_CHARACTERS = 65_536
MAX_ROWS = 2_048


class MoleculeKind:
    """See `pipeline.samples.kind.DataKind`."""

    name = "molecule"
    nouns = Nouns("molecule", "molecules", "atom", "atoms", "a SMILES string", "without hydrogens")
    fixed_columns = True
    few_edges = True

    def columns(self, schema: Schema) -> tuple[Ask, ...]:
        """Numbers are doubles, so that CSV requests work."""
        return Ask(SMILES, "string"), *(Ask(column.name, "double") for column in schema.graph_columns)

    def read(self, columns: Columns, schema: Schema) -> Iterator[Read]:
        from pipeline.samples.molecule.featurize import featurize_smiles  # RDKit: a schema alone needs none

        smiles = columns[SMILES]
        for start, stop in _spans([len(one) if isinstance(one, str) else 0 for one in smiles]):
            found = featurize_smiles(
                list(smiles[start:stop]),
                schema.limits,
                descriptors=bool(schema.descriptor_columns),
                fingerprint=bool(schema.fingerprint_size),
            )
            features = {name: values[start:stop] for name, values in columns.items()}
            u, errors = _features(features, schema, stop - start)
            kept = np.array([int(i) not in errors for i in found.good], dtype=bool)
            good = np.asarray(found.good, dtype=np.int64)
            with_features = found.chunk._replace(u=np.concatenate([u[good], found.chunk.u], axis=1))
            chunk = select(with_features, kept) if kept.any() else None
            errors |= found.errors
            yield Read(chunk, good[kept] + start, {start + i: error for i, error in errors.items()})

    def smallest(self, schema: Schema) -> dict[str, list[Any]]:
        return {SMILES: ["CC"]} | {column.name: [0.0] for column in schema.graph_columns}

    def mismatch(self, schema: Schema) -> str | None:
        from pipeline.samples.molecule.featurize import FEATURIZER_VERSION

        if schema.featurizer_version != FEATURIZER_VERSION:
            return (
                f"its molecules have features of version {schema.featurizer_version}, this code makes version "
                f"{FEATURIZER_VERSION}"
            )
        if schema.descriptor_columns or schema.fingerprint_size:
            from pipeline.samples.molecule.descriptors import DESCRIPTOR_COLUMNS, FINGERPRINT_SIZE

            known = schema.fingerprint_size in (0, FINGERPRINT_SIZE)
            if schema.descriptor_columns not in ((), DESCRIPTOR_COLUMNS) or not known:
                return "its molecules have other descriptors than this RDKit computes"
        return None

    def source(self) -> Source:
        from pipeline.samples.molecule.source import MoleculeSource

        return MoleculeSource(SMILES)


KIND = MoleculeKind()


def _features(columns: Columns, schema: Schema, num_rows: int) -> tuple[Any, dict[int, RowError]]:
    """The numbers of each row that belong to the whole molecule.  # (rows, U) float32"""
    u = np.zeros((num_rows, len(schema.graph_columns)), dtype=np.float32)
    errors: dict[int, RowError] = {}
    for k, column in enumerate(schema.graph_columns):
        for row, value in enumerate(columns[column.name]):
            try:
                u[row, k] = read_feature(value, column)
            except RowError as error:
                errors.setdefault(row, error)
    return u, errors


def _spans(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Consecutive spans of rows whose sizes stay within the budget; at least one row each."""
    start, total = 0, 0
    for row, size in enumerate(sizes):
        if row > start and (total + size > MAX_CHARACTERS or row - start >= MAX_ROWS):
            yield start, row
            start, total = row, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)
