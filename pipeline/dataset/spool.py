"""Chunks of graphs on disk, between featurising them and knowing which ones stay and on which side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ShapeError, StoreError
from pipeline.graph import GraphChunk
from pipeline.samples.packed import Names, Piece


class Spool:
    """A file of chunks, written once from front to back and read any number of times.

    One chunk is in memory at a time, whatever the number of graphs. A file that stands in the folder from an
    earlier spool is removed at the start. Labels (`y`) are not kept.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "chunks.bin"
        self.num_graphs = 0
        self._widths: tuple[int, ...] | None = None
        self._chunks: list[list[_Place]] = []  # where the fields of each chunk lie, those of its names last
        folder.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)

    def append(self, graphs: GraphChunk | Piece, ids: Sequence[str]) -> None:
        """Write one chunk.

        Args:
            graphs: a chunk of undirected graphs, or a piece.
            ids: one name a graph.

        Raises:
            ShapeError: if `ids` or the widths of the fields do not fit, or as `Piece.of`.
            StoreError: if the disk is full.
        """
        piece = graphs if isinstance(graphs, Piece) else Piece.of(graphs)
        if len(ids) != piece.num_graphs:
            raise ShapeError(f"spool: {len(ids)} ids came for {piece.num_graphs} graphs; one for each is needed.")
        widths = tuple(
            rows.shape[1] for rows in (piece.x_table, piece.x_float, piece.edge_table, piece.edge_float, piece.u)
        )
        if self._widths not in (None, widths):
            raise ShapeError(f"spool: a chunk has fields of widths {widths}, those before {self._widths}.")
        self._widths = widths
        if piece.num_graphs == 0:
            return
        places = []
        try:
            with self.path.open("ab") as file:
                for array in (*piece, *Names.of(ids)):
                    file.write(bytes(-file.tell() % array.itemsize))  # numpy reads faster where numbers are aligned
                    places.append(_Place(file.tell(), array.dtype, array.shape))
                    file.write(array.tobytes())
        except OSError as error:
            raise StoreError(f"{self.path}: cannot write the store: {error.strerror or error}.") from error
        self._chunks.append(places)
        self.num_graphs += piece.num_graphs

    def __iter__(self) -> Iterator[tuple[Piece, Names]]:
        """The chunks in order, each with the names of its graphs."""
        for places in self._chunks:
            with self.path.open("rb") as file:
                arrays = [place.read(file) for place in places]
            yield Piece(*arrays[:-2]), Names(*arrays[-2:])


class _Place(NamedTuple):
    """Where an array lies in a file."""

    start: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self, file: BinaryIO) -> NDArray[Any]:
        file.seek(self.start)
        return np.fromfile(file, self.dtype, math.prod(self.shape)).reshape(self.shape)
