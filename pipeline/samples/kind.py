"""The seam of data kinds: what a kind must say of itself. All else asks the object and never its name.

A kind is a folder `samples/<name>/`: `kind.py` holds its `KIND` and ships in a bundle with what it imports;
`source.py` (`pipeline.samples.source.Source`) is for preparing, judging and showing, and never ships.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RowError
from pipeline.graph import GraphChunk
from pipeline.schema import Schema

if TYPE_CHECKING:
    from pipeline.samples.source import Source

Columns = Mapping[str, NDArray[np.object_]]
"""Columns of a request by name, (B,) each; None is missing."""


class Nouns(NamedTuple):
    """The words of pages."""

    sample: str
    samples: str
    node: str
    nodes: str
    takes: str  # what a request holds: `a SMILES string`
    node_note: str = ""  # what a reader might count otherwise

    @property
    def counted(self) -> str:
        """Nodes with their note: `atoms (without hydrogens)`."""
        return f"{self.nodes} ({self.node_note})" if self.node_note else self.nodes


class Ask(NamedTuple):
    """A column that a request must have."""

    name: str
    type: Literal["string", "double", "any"]


class Read(NamedTuple):
    """Consecutive rows, read."""

    chunk: GraphChunk | None  # the good rows; None if there are none
    good: NDArray[np.int64]  # (G,) row of each sample
    errors: dict[int, RowError]  # row -> why there is no sample


class DataKind(Protocol):
    """What one row is, in training and in serving.

    Attributes:
        name: as `Schema.data_kind` and the folder have it.
        nouns: words of pages.
        fixed_columns: whether its features are made by code, so that the data cannot name others.
        few_edges: whether a node has few edges, so that a single sample may be answered by the network's small form.
    """

    @property
    def name(self) -> str: ...
    @property
    def nouns(self) -> Nouns: ...
    @property
    def fixed_columns(self) -> bool: ...
    @property
    def few_edges(self) -> bool: ...

    def columns(self, schema: Schema) -> tuple[Ask, ...]:
        """The columns that a request must have."""

    def read(self, columns: Columns, schema: Schema) -> Iterator[Read]:
        """Read the rows of a request, piece by piece in order, so that memory is bounded for any number of rows."""

    def smallest(self, schema: Schema) -> dict[str, list[Any]]:
        """Columns of one row that every model of this schema can answer."""

    def mismatch(self, schema: Schema) -> str | None:
        """Why this code would make other samples than those that `schema` was made from, in a sentence; or None."""

    def source(self) -> Source:
        """How its data are read, described and shown."""
