"""What the graphs of a store hold, found in one pass: counts, distinct feature rows, means and spreads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ShapeError
from pipeline.graph import Ints
from pipeline.samples.packed import Piece, narrow_dtype
from pipeline.schema import Column, Schema

MAX_TABLE_ROWS = 32767  # a row code then fits int16


class Survey:
    """Fed piece by piece; memory does not grow with the number of graphs."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.num_graphs = self.num_nodes = self.num_edges = self.most_nodes = 0
        self.x, self.edge_attr = DistinctRows(), DistinctRows()
        self._x_counts = _CodeCounts(schema.node("categorical"))
        self._edge_counts = _CodeCounts(schema.edge("categorical"))
        self._moments = {name: Moments() for name in ("x_float", "edge_float", "u", "y")}

    def add(self, piece: Piece, y: NDArray[np.float32], train: NDArray[np.bool_]) -> None:
        """Count a piece (edges as they are stored: undirected ones once).

        Args:
            y: (K, T) labels.
            train: (K,) bool, the graphs of the training side: only these make statistics.
        """
        self.num_graphs += piece.num_graphs
        self.num_nodes += len(piece.x_code)
        self.num_edges += len(piece.edge_code)
        self.most_nodes = max(self.most_nodes, int(piece.num_nodes.max(initial=0)))
        self.x.add(piece.x_table[_times(piece.x_table, piece.x_code) > 0])
        self.edge_attr.add(piece.edge_table[_times(piece.edge_table, piece.edge_code) > 0])
        of_train = piece.select(train)
        self._x_counts.add(of_train.x_table, of_train.x_code)
        self._edge_counts.add(of_train.edge_table, of_train.edge_code)
        for name, values in zip(
            self._moments, (of_train.x_float, of_train.edge_float, of_train.u, y[train]), strict=True
        ):
            self._moments[name].add(values)

    @property
    def statistics(self) -> dict[str, dict[str, list[float]]]:
        return {name: moments.result() for name, moments in self._moments.items()}

    def counted_schema(self) -> Schema:
        """The schema with `train_counts` filled in."""
        return replace(
            self.schema,
            node_columns=self._x_counts.fill(self.schema.node_columns),
            edge_columns=self._edge_counts.fill(self.schema.edge_columns),
        )


class DistinctRows:
    """The distinct rows of category codes seen so far; gives up beyond `MAX_TABLE_ROWS`."""

    def __init__(self) -> None:
        self.largest = 0
        self._rows: set[bytes] | None = set()

    def add(self, rows: Ints) -> None:
        self.largest = max(self.largest, int(rows.max(initial=0)))
        if self._rows is None:
            return
        self._rows.update(_row_bytes(rows))
        if len(self._rows) > MAX_TABLE_ROWS:
            self._rows = None

    def table(self, width: int) -> Ints | None:
        """The distinct rows (C, F) in lexicographic order, whatever order they came in; None: too many."""
        if self._rows is None:
            return None
        rows = np.frombuffer(b"".join(self._rows), dtype=np.int32).reshape(len(self._rows), width)
        order = np.lexsort(rows.T[::-1]) if width else np.arange(len(rows))
        return rows[order].astype(narrow_dtype(self.largest))


class RowCoder:
    """Rows of category codes → their place in a table."""

    def __init__(self, table: Ints) -> None:
        self._place = {key: place for place, key in enumerate(_row_bytes(table))}

    def encode(self, table: Ints, code: Ints) -> Ints:
        """The place of each row `table[code]`.  # (N,)"""
        places = np.array([self._place.get(key, -1) for key in _row_bytes(table)], dtype=np.int16)
        encoded = places.take(code)
        assert encoded.min(initial=0) >= 0, "a row that the survey has not seen"
        return encoded


class Moments:
    """Mean and standard deviation of columns, NaN left out, in one stable pass.

    Source: Chan, Golub and LeVeque 1983, doi:10.1080/00031305.1983.10483115, equation 2.1.
    """

    def __init__(self) -> None:
        self._count: Any = 0.0
        self._mean: Any = 0.0
        self._squares: Any = 0.0

    def add(self, values: NDArray[np.float32]) -> None:
        """Take in rows (K, R)."""
        there = ~np.isnan(values)
        filled = np.where(there, values, 0).astype(np.float64)
        count = there.sum(axis=0)
        mean = filled.sum(axis=0) / np.maximum(count, 1)
        squares = (np.where(there, filled - mean, 0) ** 2).sum(axis=0)
        total = self._count + count
        delta = mean - self._mean
        self._squares = self._squares + squares + delta**2 * self._count * count / np.maximum(total, 1)
        self._mean = self._mean + delta * count / np.maximum(total, 1)
        self._count = total

    def result(self) -> dict[str, list[float]]:
        """`mean` and `std` per column; a column that does not vary has std 1."""
        std = np.sqrt(self._squares / np.maximum(self._count, 1))
        # rounding alone gives a constant column a spread of about 1e-16 of its size
        std = np.where(std > 1e-7 * np.abs(self._mean), std, 1.0)
        return {"mean": np.atleast_1d(self._mean).tolist(), "std": np.atleast_1d(std).tolist()}


class _CodeCounts:
    """How often each category of each column stands in the training side."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self._counts = [np.zeros(column.num_codes, dtype=np.int64) for column in columns]

    def add(self, table: Ints, code: Ints) -> None:
        times = _times(table, code)
        for column, counts, codes in zip(self._columns, self._counts, table.T, strict=True):
            if codes[times > 0].max(initial=0) >= column.num_codes:
                raise ShapeError(f"column '{column.name}': a code is beyond its {len(column.categories)} categories.")
            np.add.at(counts, codes[times > 0], times[times > 0])

    def fill(self, columns: Sequence[Column]) -> tuple[Column, ...]:
        counts = {column.name: counts for column, counts in zip(self._columns, self._counts, strict=True)}
        return tuple(
            replace(column, train_counts=tuple(counts[column.name][1:].tolist())) if column.name in counts else column
            for column in columns
        )


def _times(table: Ints, code: Ints) -> Ints:
    """How often each row of a table is named.  # (C,)"""
    return np.bincount(code, minlength=len(table))


def _row_bytes(rows: Ints) -> list[bytes]:
    # one width of integers, so that equal rows of different chunks have equal bytes
    rows = np.ascontiguousarray(rows, dtype=np.int32)
    return rows.view(f"V{rows.shape[1] * rows.itemsize}").ravel().tolist() if rows.shape[1] else [b""] * len(rows)
