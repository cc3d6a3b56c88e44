"""Which kinds of data there are: a new kind is a folder and a line here.

The imports are literal, so that they can be followed; a step or a bundle follows those of its own kind only.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import StoreError
from pipeline.samples.kind import DataKind
from pipeline.schema import Schema


def kind_of(name: str) -> DataKind:
    """The kind that a schema names.

    Raises:
        StoreError: if this version knows no such kind.
    """
    if name == "molecule":
        from pipeline.samples.molecule.kind import KIND as MOLECULE

        return MOLECULE
    if name == "graph":
        from pipeline.samples.graph.kind import KIND as GRAPH

        return GRAPH
    raise StoreError(f"data of the kind '{name}' are not known here; use the graphline that made them.")


def find_kind(path: Path) -> DataKind:
    """The kind of the data at a path: the one that is surest."""
    names = sorted(place.parent.name for place in Path(__file__).parent.glob("*/kind.py"))
    return max(map(kind_of, names), key=lambda kind: kind.source().claim(path))


def request_columns(schema: Schema) -> tuple[str, ...]:
    """Names of the columns that a request must have."""
    return tuple(ask.name for ask in kind_of(schema.data_kind).columns(schema))
