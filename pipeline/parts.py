"""Rows become packed graphs, chunk by chunk, in source order, on all cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RowError
from pipeline.featurize import Featurized, featurize_smiles
from pipeline.graph import GraphChunk
from pipeline.graphtable import GraphTables, read_graph_chunks
from pipeline.machine import usable_cores
from pipeline.schema import Limits
from pipeline.table import Rows, Table, read_rows

CHUNK_ROWS = 2048
Keys = NDArray[np.uint64]


class Part(NamedTuple):
    """One chunk of the source after featurisation."""

    rows: Rows
    chunk: GraphChunk  # K good graphs; u and y still empty
    good: NDArray[np.int64]  # (K,) positions in `rows`
    errors: dict[int, RowError]
    identity: Keys  # (K, 2) the same molecule, stereo kept
    group: Keys  # (K, 2) the same molecule without stereo: never on two sides
    scaffold: Keys  # (K, 2), or (0, 2) where graphs have none
    ids: NDArray[np.object_]  # (B,) SMILES or graph id of every row


def graph_parts(tables: GraphTables, columns: tuple[str, ...], limits: Limits) -> Iterator[Part]:
    """Read a folder of graph tables."""
    for part in read_graph_chunks(tables, columns, limits):
        yield Part(
            rows=part.rows,
            chunk=part.chunk,
            good=part.good,
            errors=part.errors,
            identity=part.keys,
            group=part.keys,
            scaffold=np.empty((0, 2), dtype=np.uint64),
            ids=part.rows.values["graph_id"],
        )


def molecule_parts(
    table: Table, smiles: str, columns: tuple[str, ...], limits: Limits, processes: int, descriptors: bool
) -> Iterator[Part]:
    """Read a table of molecules.

    Args:
        smiles: the column of the molecules.
        columns: other columns to read.
        descriptors: also describe each molecule as a whole.
        processes: workers; 0 is all cores this process may use. A table of one chunk stays in this process.
    """
    chunks = read_rows(table, (smiles, *columns), CHUNK_ROWS)
    first = list(islice(chunks, 2))
    workers = processes or usable_cores()
    if len(first) < 2 or workers == 1:
        for rows in chain(first, chunks):
            yield _molecule_part(
                rows, smiles, featurize_smiles(list(rows.values[smiles]), limits, keys=True, descriptors=descriptors)
            )
        return
    waiting: deque[tuple[Rows, Future[Featurized]]] = deque()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for rows in chain(first, chunks):
            waiting.append(
                (
                    rows,
                    pool.submit(
                        featurize_smiles, list(rows.values[smiles]), limits, keys=True, descriptors=descriptors
                    ),
                )
            )
            if len(waiting) > 2 * workers:  # bounds memory: no more chunks wait than the workers soon need
                done, future = waiting.popleft()
                yield _molecule_part(done, smiles, future.result())
        for done, future in waiting:
            yield _molecule_part(done, smiles, future.result())


def _molecule_part(rows: Rows, smiles: str, made: Featurized) -> Part:
    return Part(
        rows=rows,
        chunk=made.chunk,
        good=made.good,
        errors=made.errors,
        identity=made.identity,
        group=made.group,
        scaffold=made.scaffold,
        ids=rows.values[smiles],
    )
