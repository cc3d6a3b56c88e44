"""Molecules: a file of rows with a column of SMILES, or of mol blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError, RowError
from pipeline.graph import Floats, Ints
from pipeline.rows.table import Table, count_rows_hint, find_smiles_column, open_table, read_rows
from pipeline.samples.packed import Names, Piece
from pipeline.samples.source import Data, Keys, Options, Part, Questions, Stored, questions_of
from pipeline.samples.workers import Workers
from pipeline.schema import Limits, Schema


class MoleculeSource:
    """See `pipeline.samples.source.Source`. RDKit is imported where it is needed: to find a source needs none.

    Args:
        column: of the molecules in a request.
    """

    has_scaffolds = True
    has_descriptors = True

    def __init__(self, column: str) -> None:
        self._column = column

    def claim(self, path: Path) -> int:
        return int(path.is_file())

    def columns(self, path: Path) -> tuple[str, ...]:
        return open_table(path).columns

    def open(self, path: Path, options: Options, targets: Sequence[str], workers: Workers) -> Data:
        from pipeline.samples.molecule.descriptors import DESCRIPTOR_COLUMNS, FINGERPRINT_SIZE
        from pipeline.samples.molecule.featurize import EDGE_COLUMNS, FEATURIZER_VERSION, NODE_COLUMNS
        from pipeline.samples.molecule.parts import CHUNK_ROWS

        if options.directed or options.numeric or options.categorical:
            raise ConfigError(
                "directed=, numeric= and categorical= are for folders of graph tables; molecules fix their own."
            )
        table = open_table(path, header=options.header)
        smiles = find_smiles_column(table, options.smiles)
        if (count_rows_hint(table) or 0) > CHUNK_ROWS:
            workers.start()  # while this process looks at the labels
        facts = {
            "node_columns": NODE_COLUMNS,
            "edge_columns": EDGE_COLUMNS,
            "descriptor_columns": DESCRIPTOR_COLUMNS if options.descriptors or options.forest else (),
            "fingerprint_size": FINGERPRINT_SIZE if options.forest else 0,
            "featurizer_version": FEATURIZER_VERSION,
        }
        parts = partial(_parts, table, smiles, workers)
        return Data(table.columns, smiles, table.decimal_of, facts, partial(read_rows, table), parts)

    def keys(
        self, found: Keys, spooled: Iterable[tuple[Piece, Names]], limits: Limits, workers: Workers
    ) -> tuple[Keys, Keys]:
        from pipeline.samples.molecule.parts import exact_keys

        return exact_keys(found[:, 0], spooled, limits, workers)

    def questions(self, path: Path, schema: Schema, options: Options, chunk_rows: int) -> Questions:
        if path.is_dir():
            raise DataError(
                f"{path.absolute()} is a folder, but this model takes molecules; "
                "pass a CSV, Parquet, SDF or SMILES file."
            )
        table = open_table(path, header=options.header)
        return questions_of(table, {self._column: find_smiles_column(table, options.smiles)}, schema, chunk_rows)

    def requests(self, stored: Stored, indices: Ints) -> dict[str, list[Any]]:
        return {self._column: stored.ids(indices)}

    def example(self, schema: Schema) -> dict[str, list[Any]] | None:
        return {self._column: ["CCO", "c1ccccc1O"]}

    def describe(self, stored: Stored, indices: Ints, pool: Executor) -> Floats:
        from pipeline.samples.molecule.describe import describe_molecules

        return describe_molecules(stored.ids(indices), pool)

    def groups(self, names: Sequence[str]) -> list[str] | None:
        """Molecules are the same when they are without stereo, as in splitting."""
        return [_group(name) for name in names]

    def clusters(self, names: Sequence[str], *, named: bool) -> list[tuple[str, NDArray[np.bool_]]]:
        from pipeline.samples.molecule.clusters import cluster_scaffolds

        return cluster_scaffolds(names, named=named)

    def draw(self, name: str, size: tuple[int, int] = (260, 180)) -> str | None:
        from pipeline.samples.molecule.drawing import draw_molecule

        return draw_molecule(name, size)


def _parts(
    table: Table, smiles: str, workers: Workers, columns: Sequence[str], schema: Schema, scaffolds: bool
) -> Iterator[Part]:
    from pipeline.samples.molecule.parts import Wanted, molecule_parts

    wanted = Wanted(schema.limits, scaffolds, bool(schema.descriptor_columns), bool(schema.fingerprint_size))
    return molecule_parts(table, smiles, columns, wanted, workers)


def _group(smiles: str) -> str:
    from pipeline.samples.molecule.smiles import group_key, parse_smiles

    try:
        return group_key(parse_smiles(smiles, Limits()))
    except RowError:  # a larger molecule than this version takes
        return smiles
