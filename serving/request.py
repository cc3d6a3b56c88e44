"""From the columns of a request to graphs and per-row errors; from predictions back to columns.

A row is checked here and nowhere else: what is wrong with one row becomes its `error`, never a failure of the request.
No detail repeats what the client sent.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.answer import ERROR, ERROR_DETAIL, PREDICTION, WARNING, AnswerColumn
from pipeline.errors import DataError, RowError
from pipeline.samples.kind import Read
from pipeline.samples.kinds import kind_of, request_columns
from pipeline.schema import Schema
from pipeline.serveconfig import ServeConfig
from serving import deadline

Objects = NDArray[np.object_]


def read_request(table: pd.DataFrame, schema: Schema, limits: ServeConfig) -> Iterator[Read]:
    """Read the rows of a request, piece by piece in order, so that memory is bounded for any number of rows.

    Further columns are ignored.

    Raises:
        DataError: at once if a column is missing or stands twice, naming it, or a limit of the request is passed.
        DeadlineError: between two pieces.
    """
    wanted = request_columns(schema)
    came = list(table.columns)  # asked about a name, the index would build a hash table for each request
    if missing := [name for name in wanted if name not in came]:
        raise DataError(f"The request has no column {missing}; expected the columns {list(wanted)}.")
    if twice := [name for name in wanted if came.count(name) > 1]:
        raise DataError(f"The request has the columns {twice} more than once.")
    if len(table) > limits.max_rows:
        raise DataError(f"The request has {len(table)} rows, more than max_rows={limits.max_rows}; send several.")
    values = table.to_numpy(dtype=object)  # a third of the time of taking one column out
    columns = {name: _objects(values[:, came.index(name)]) for name in wanted}
    if _size(columns.values(), limits.max_bytes) > limits.max_bytes:
        raise DataError(f"The request has more than max_bytes={limits.max_bytes} in {list(wanted)}; send several.")
    return _in_time(kind_of(schema.data_kind).read(columns, schema))


def _in_time(pieces: Iterator[Read]) -> Iterator[Read]:
    """The pieces, each read only while there is time left."""
    while True:
        deadline.time_left()
        piece = next(pieces, None)
        if piece is None:
            return
        yield piece


class AnswerTable(pd.DataFrame):  # type: ignore[misc] # pandas has no types that strict accepts
    """A table of plain Python values that is quick to turn into records, which is how MLflow's server writes it."""

    def to_dict(self, orient: Any = "dict", **more: Any) -> Any:
        """As of any table. pandas looks into each column for what is no plain value: 0.2 ms even for one row."""
        if orient != "records" or more:
            return super().to_dict(orient, **more)
        names = list(self.columns)
        return [dict(zip(names, row, strict=True)) for row in self.to_numpy(dtype=object).tolist()]

    def __reduce__(self) -> Any:
        return pd.DataFrame, (pd.DataFrame(self),)  # who reads the pickle need not have this class


class Answers:
    """The answers to one request, filled piece by piece; what is never filled stays None.

    Args:
        table: the columns that the bundle answers, of `schema.answer_columns`.
        num_rows: rows of the request.
    """

    def __init__(self, schema: Schema, table: Sequence[AnswerColumn], num_rows: int) -> None:
        self._schema, self._table = schema, table
        names = [column.name for column in table]
        self._values: Objects = np.full((len(names), num_rows), None, dtype=object)
        self._columns: dict[str, Objects] = dict(zip(names, self._values, strict=True))  # views

    def add_errors(self, errors: Mapping[int, RowError]) -> None:
        """Say of each row why it has no answer."""
        for row, error in errors.items():
            self._columns[ERROR][row] = error.code
            self._columns[ERROR_DETAIL][row] = error.detail

    def add(
        self, good: NDArray[np.int64], outputs: Mapping[str, NDArray[np.float32]], warnings: Sequence[str | None]
    ) -> None:
        """Fill in the answers of some rows.

        Args:
            good: (G,) rows.
            outputs: name -> (G, O): `prediction` in original units and probabilities, and further ones.
            warnings: (G,) str or None.
        """
        finite = np.logical_and.reduce([np.isfinite(values).all(axis=1) for values in outputs.values()])
        # JSON has no infinity, and an answer that left the range of float32 is none.
        self._columns[WARNING][good] = warnings
        values = outputs
        if not finite.all():
            self.add_errors({int(row): _overflow() for row in good[~finite]})
            self._columns[WARNING][good[~finite]] = None
            good = good[finite]
            values = {name: array[finite] for name, array in outputs.items()}
        parts = {
            target.name: (target.classes, {name: array[:, place] for name, array in values.items()})
            for target, place in zip(self._schema.targets, self._schema.slices, strict=True)
        }
        for column in self._table:
            if column.target is not None:
                self._columns[column.name][good] = _said(column, *parts[column.target])

    def table(self) -> pd.DataFrame:
        """All rows in the order of the request; every column of dtype object, with None and never NaN."""
        # The dtype is given: pandas would turn None into NaN, which is no JSON. One array for all columns: a table
        # of as many Series takes ten times as long, half a millisecond.
        return AnswerTable(self._values.T, columns=_index(tuple(self._columns)).view(), dtype=object, copy=False)


def _objects(values: Objects) -> Objects:
    """The same values; what pandas calls missing becomes None."""
    return np.array([None if _is_missing(value) else value for value in values] + [None], dtype=object)[:-1]


def _size(values: Iterable[object], most: int) -> int:
    """Bytes of text and numbers in nested values, 8 a number; stops counting beyond `most`."""
    size = 0
    waiting = [values]
    while waiting and size <= most:
        for value in waiting.pop():
            if isinstance(value, str | bytes):
                size += len(value)
            elif isinstance(value, Mapping):
                waiting.append(value.values())
            elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
                waiting.append(value)
            else:
                size += getattr(value, "nbytes", 8)
    return size


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def _numbers(values: NDArray[np.float32]) -> list[float]:
    """Floats as short as float32 allows: 0.1, not 0.10000000149011612."""
    return [float(str(value)) for value in values]


@functools.cache
def _index(names: tuple[str, ...]) -> pd.Index:
    """One index serves all requests: to make it takes as long as the rest. Hand out views, an index has a name."""
    return pd.Index(names)


def _said(column: AnswerColumn, classes: Sequence[str], outputs: Mapping[str, NDArray[np.float32]]) -> Sequence[object]:
    """What a column says of some rows.

    Args:
        outputs: name -> (G, width of the target).
    """
    values = outputs[column.output]
    if column.label is not None:
        return _numbers(values[:, classes.index(column.label)])
    if column.threshold is not None:
        return [classes[value >= column.threshold] for value in _numbers(values[:, 0])]
    likeliest = outputs[PREDICTION].argmax(axis=1)
    if column.holds == "text":
        return [classes[k] for k in likeliest]
    return _numbers(values[np.arange(len(values)), likeliest])


def _overflow() -> RowError:
    return RowError("not_finite", "The model's answer is no finite number.")
