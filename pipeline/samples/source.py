"""The other half of the seam: how the data of a kind are read, described and shown. It never ships in a bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RowError
from pipeline.graph import Floats, Graph, Ints
from pipeline.rows.table import Rows, Table, check_columns, count_rows_hint, parse_numbers, read_rows
from pipeline.samples.packed import Names, Piece
from pipeline.samples.workers import Workers
from pipeline.schema import Column, Limits, Schema

Keys = NDArray[np.uint64]
Objects = NDArray[np.object_]


@dataclass(frozen=True)
class Options:
    """The parameters of `prepare` that belong to some kinds only; a kind refuses those of others."""

    smiles: str | None = None
    header: bool = True
    descriptors: bool = False
    forest: bool = False
    directed: bool = False
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()


class Part(NamedTuple):
    """One chunk of the rows, made into samples."""

    rows: Rows
    piece: Piece  # K good samples; of u only what the kind computes
    good: NDArray[np.int64]  # (K,) positions in `rows`
    errors: dict[int, RowError]
    keys: Keys  # (K, 2), which `Source.keys` makes exact
    scaffold: Keys  # (K, 2), or (0, 2) where there are none or they are not asked for
    ids: NDArray[np.object_]  # (B,) name of every row


@dataclass(frozen=True)
class Data:
    """Data whose columns and kinds are known.

    Attributes:
        columns: of the table of rows: the id, targets, features, sides.
        decimal_of: the decimal sign of the numbers of a column.
        facts: the fields of a schema that the kind settles.
        values: reads named columns of all rows, a chunk at a time.
        parts: makes samples of all rows; takes the columns to read along, the schema, and whether scaffolds are asked.
        strays: table -> rows that belong to no sample; they are left out.
    """

    columns: tuple[str, ...]
    id_column: str
    decimal_of: Callable[[str], str]
    facts: Mapping[str, Any]
    values: Callable[[Sequence[str]], Iterator[Rows]]
    parts: Callable[[Sequence[str], Schema, bool], Iterator[Part]]
    strays: Mapping[str, int] = field(default_factory=dict)


class Question(NamedTuple):
    """Some rows of a file, B of them, and what a bundle is asked about them."""

    values: dict[str, Objects]  # all columns of the file (B,)
    asked: NDArray[np.int64]  # (K,) positions of the rows that the bundle is asked
    columns: dict[str, list[Any]]  # the request's columns (K,)
    errors: dict[int, RowError]  # position -> why the bundle is not asked

    @property
    def num_rows(self) -> int:
        return len(self.asked) + len(self.errors)


class Questions(NamedTuple):
    """A file of rows to be answered, opened; of its rows nothing is read yet."""

    columns: tuple[str, ...]
    files: tuple[Path, ...]
    total: int | None  # rows, about; None where that is not cheap to know
    questions: Iterator[Question]


class Stored(Protocol):
    """What a source asks of a store."""

    @property
    def schema(self) -> Schema: ...
    def ids(self, indices: Ints) -> list[str]: ...
    def graph(self, i: int) -> Graph: ...


class Source(Protocol):
    """How the data of a kind are read, described and shown.

    Attributes:
        has_scaffolds: whether samples have scaffolds to split and slice by.
        has_descriptors: whether a forest may answer beside the network, on descriptors.
    """

    @property
    def has_scaffolds(self) -> bool: ...
    @property
    def has_descriptors(self) -> bool: ...

    def claim(self, path: Path) -> int:
        """Whether data at this path are of this kind: 0 no, 1 perhaps, 2 surely."""

    def columns(self, path: Path) -> tuple[str, ...]:
        """The columns of the rows, among which targets are named."""

    def open(self, path: Path, options: Options, targets: Sequence[str], workers: Workers) -> Data:
        """Look at the columns, and settle what the kind says of a schema.

        Raises:
            DataError: if it cannot be read.
            ConfigError: at an option that does not belong to this kind.
        """

    def keys(
        self, found: Keys, spooled: Iterable[tuple[Piece, Names]], limits: Limits, workers: Workers
    ) -> tuple[Keys, Keys]:
        """Identity and group of each sample: (G, 2) and (G, 2), from the keys of its parts."""

    def questions(self, path: Path, schema: Schema, options: Options, chunk_rows: int) -> Questions:
        """Open a file or folder whose rows are to be answered, at most `chunk_rows` at a time.

        Args:
            options: of which `smiles` and `header` say how a file is read.

        Raises:
            DataError: if it lacks what the model needs.
        """

    def requests(self, stored: Stored, indices: Ints) -> dict[str, list[Any]]:
        """Stored samples as a client would send them: the kind's own columns, without graph features."""

    def example(self, schema: Schema) -> dict[str, list[Any]] | None:
        """Two rows to try a model with, its own columns; None where only the data themselves can say."""

    def describe(self, stored: Stored, indices: Ints, pool: Executor) -> Floats:
        """Describe samples for a forest that does not see who is bound to whom.  # (K, W), finite"""

    def groups(self, names: Sequence[str]) -> list[str] | None:
        """What makes two samples one when a split is made, by name; None where names do not tell."""

    def clusters(self, names: Sequence[str], *, named: bool) -> list[tuple[str, NDArray[np.bool_]]]:
        """Kinds of samples on which a model may be worse than on others: title and rows (n,).

        Args:
            named: whether a title may show a part of a sample.
        """

    def draw(self, name: str, size: tuple[int, int] = (260, 180)) -> str | None:
        """A sample as SVG; None where there is no picture of it."""


def questions_of(table: Table, columns: Mapping[str, str], schema: Schema, chunk_rows: int) -> Questions:
    """Questions about the rows of a file.

    Args:
        columns: column of a request -> column of the file that holds it.
    """
    check_columns(table, [*columns.values(), *(column.name for column in schema.graph_columns)])

    def ask(rows: Rows) -> Question:
        u, errors = parse_features(rows.values, schema.graph_columns, table.decimal_of, len(rows.number))
        errors |= rows.errors
        asked = np.array([row for row in range(len(rows.number)) if row not in errors], dtype=np.int64)
        own = {name: [rows.values[column][row] for row in asked] for name, column in columns.items()}
        return Question(rows.values, asked, own | features_of(u[asked], schema.graph_columns), errors)

    questions = map(ask, read_rows(table, table.columns, chunk_rows))
    return Questions(table.columns, (table.path,), count_rows_hint(table), questions)


def features_of(u: Floats, columns: Sequence[Column]) -> dict[str, list[Any]]:
    """Graph features (K, U) as the columns of a request."""
    return {column.name: u[:, c].astype(float).tolist() for c, column in enumerate(columns)}


def parse_features(
    values: Mapping[str, Objects], columns: Sequence[Column], decimal_of: Callable[[str], str], num_rows: int
) -> tuple[Floats, dict[int, RowError]]:
    """Read the features of the rows of a file.

    Returns:
        (B, U) float32; row -> `wrong_type`, `missing` or `not_finite`, the first that is wrong with it.
    """
    u = np.zeros((num_rows, len(columns)), dtype=np.float32)
    errors: dict[int, RowError] = {}
    for c, column in enumerate(columns):
        numbers, bad = parse_numbers(values[column.name], decimal_of(column.name))
        with np.errstate(over="ignore"):
            u[:, c] = numbers
        wrong = (("wrong_type", "is not a number"), ("missing", "is empty"), ("not_finite", "is too large for float32"))
        for (code, reason), rows in zip(wrong, (bad, np.isnan(u[:, c]), np.isinf(u[:, c])), strict=True):
            for position in np.flatnonzero(rows):
                errors.setdefault(int(position), RowError(code, f"feature '{column.name}' {reason}"))
    return u, errors


def finite(table: NDArray[Any]) -> Floats:
    """Forests take finite float32: what is not a number is zero, what is too large is the largest."""
    limit = float(np.finfo(np.float32).max)
    return np.clip(np.nan_to_num(table.astype(np.float64), posinf=limit, neginf=-limit), -limit, limit).astype(
        np.float32
    )
