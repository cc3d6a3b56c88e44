"""Vectors of numbers of one length: a request's row holds a column a number."""

import numpy as np

from pipeline.errors import RowError
from pipeline.graph import Graph, pack
from pipeline.samples.graph.columns import read_feature
from pipeline.samples.kind import Ask, Nouns, Read


class VectorKind:
    name = "vectors"
    nouns = Nouns("vector", "vectors", "node", "nodes", "a vector: a column for each of its numbers")
    fixed_columns = False
    few_edges = False

    def columns(self, schema):
        return tuple(Ask(column.name, "double") for column in schema.graph_columns)

    def read(self, columns, schema):
        good, errors, points = [], {}, []
        for row in range(len(next(iter(columns.values())))):
            try:
                points.append(point([read_feature(columns[one.name][row], one) for one in schema.graph_columns]))
            except RowError as error:
                errors[row] = error
            else:
                good.append(row)
        if good or errors:
            yield Read(pack(points) if points else None, np.array(good, dtype=np.int64), errors)

    def smallest(self, schema):
        return {column.name: [0.0] for column in schema.graph_columns}

    def mismatch(self, schema):
        return None

    def source(self):
        from pipeline.samples.vectors.source import VectorSource

        return VectorSource()


KIND = VectorKind()


def point(u):
    """A sample without nodes: all of it is its graph features."""
    codes, numbers, ends = np.zeros((0, 0), np.int32), np.zeros((0, 0), np.float32), np.zeros((2, 0), np.int32)
    return Graph(codes, numbers, ends, codes, numbers, np.array(u, np.float32), np.zeros(0, np.float32))
