"""A file whose columns v0, v1, … are the numbers of a vector."""

from functools import partial

import numpy as np
from pipeline.samples.vectors.kind import point

from pipeline.graph import pack
from pipeline.rows.table import open_table, read_rows
from pipeline.samples.packed import Piece
from pipeline.samples.source import Data, Part, questions_of
from pipeline.schema import Column


class VectorSource:
    has_scaffolds = False
    has_descriptors = False

    def claim(self, path):
        return 2 * path.name.endswith(".vectors.csv")

    def columns(self, path):
        return open_table(path).columns

    def open(self, path, options, targets, workers):
        table = open_table(path)
        numbers = tuple(Column(name, "numeric") for name in table.columns if name.startswith("v"))
        facts = {"node_columns": (), "edge_columns": (), "graph_columns": numbers}
        return Data(table.columns, "id", table.decimal_of, facts, partial(read_rows, table), partial(parts, table))

    def keys(self, found, spooled, limits, workers):
        return found, found

    def questions(self, path, schema, options, chunk_rows):
        return questions_of(open_table(path), {}, schema, chunk_rows)

    def requests(self, stored, indices):
        return {}

    def example(self, schema):
        return None

    def describe(self, stored, indices, pool):
        return np.zeros((len(indices), 0), np.float32)

    def groups(self, names):
        return None

    def clusters(self, names, *, named):
        return []

    def draw(self, name, size=(0, 0)):
        return None


def parts(table, columns, schema, scaffolds):
    for rows in read_rows(table, ("id", *columns)):
        keys = np.stack([rows.number, np.zeros_like(rows.number)], axis=1).astype(np.uint64)
        piece, good = Piece.of(pack([point([])] * len(rows.number))), np.arange(len(rows.number))
        yield Part(rows, piece, good, rows.errors, keys, np.empty((0, 2), np.uint64), rows.values["id"])
