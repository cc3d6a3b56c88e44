"""Rows become packed graphs, chunk by chunk, in source order, on all cores; and which molecules are the same."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from itertools import chain, islice
from multiprocessing import get_context
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RowError
from pipeline.featurize import SKELETON_COLUMNS, featurize_smiles
from pipeline.graphtable import GraphTables, read_graph_chunks
from pipeline.identity import Hashes, skeleton_hashes
from pipeline.machine import usable_cores
from pipeline.molecule import digest, molecule_keys, parse_smiles
from pipeline.schema import Limits
from pipeline.spool import Piece, Spool
from pipeline.table import Rows, Table, read_rows

CHUNK_ROWS = 2048
Keys = NDArray[np.uint64]
Kept = TypeVar("Kept")
Given = TypeVar("Given")
Made = TypeVar("Made")


class Part(NamedTuple):
    """One chunk of the source after featurisation."""

    rows: Rows
    piece: Piece  # K good graphs; u still empty
    good: NDArray[np.int64]  # (K,) positions in `rows`
    errors: dict[int, RowError]
    keys: Keys  # (K, 2) graph tables: the same graph; molecules: hash of the skeleton and 0, see `exact_keys`
    scaffold: Keys  # (K, 2), or (0, 2) where there are none or they are not asked for
    ids: NDArray[np.object_]  # (B,) SMILES or graph id of every row


def graph_parts(tables: GraphTables, columns: tuple[str, ...], limits: Limits) -> Iterator[Part]:
    """Read a folder of graph tables."""
    for part in read_graph_chunks(tables, columns, limits):
        yield Part(
            rows=part.rows,
            piece=Piece.of(part.chunk, directed=tables.directed),
            good=part.good,
            errors=part.errors,
            keys=part.keys,
            scaffold=np.empty((0, 2), dtype=np.uint64),
            ids=part.rows.values["graph_id"],
        )


class Wanted(NamedTuple):
    """What is made of each molecule: `featurize_smiles`."""

    limits: Limits
    scaffolds: bool = False
    descriptors: bool = False


def molecule_parts(
    table: Table, smiles: str, columns: tuple[str, ...], wanted: Wanted, processes: int
) -> Iterator[Part]:
    """Read a table of molecules.

    Args:
        smiles: the column of the molecules.
        columns: other columns to read.
        processes: workers; 0 is all cores this process may use. A table of one chunk stays in this process.
    """
    chunks = ((rows, list(rows.values[smiles])) for rows in read_rows(table, (smiles, *columns), CHUNK_ROWS))
    for rows, made in _in_order(partial(_featurize, wanted=wanted), chunks, processes):
        yield Part(rows, *made, ids=rows.values[smiles])


def exact_keys(skeleton: Hashes, spool: Spool, limits: Limits, processes: int) -> tuple[Keys, Keys]:
    """Build the identity and the group key of each molecule of a spool.

    The canonical SMILES takes about as long as everything else of a molecule. It is written only where a molecule
    shares its skeleton with another one that is written otherwise: the second half of the other keys is 0.

    Args:
        skeleton: (G,) hash of each molecule, equal for molecules of one group.

    Returns:
        (G, 2) and (G, 2): equal for the same molecule, and for the same molecule without stereo and isotopes.
    """
    identity = np.stack([skeleton, np.zeros_like(skeleton)], axis=1)
    group = identity.copy()
    _, place, count = np.unique(skeleton, return_inverse=True, return_counts=True)
    shared = np.flatnonzero(count[place] > 1)
    if not len(shared):
        return identity, group
    pairs = np.stack([place[shared], _text_hashes(spool, shared)])
    (place_of, _), first, of_shared = np.unique(pairs, axis=1, return_index=True, return_inverse=True)
    asked = np.bincount(place_of)[place_of] > 1  # skeletons that are written in several ways
    texts = _texts(spool, shared[np.sort(first[asked])])
    digests = np.zeros((len(first), 2), dtype=np.uint64)
    found = [keys for _, keys in _in_order(partial(_digests, limits=limits), texts, processes)]
    if found:
        digests[np.flatnonzero(asked)[np.argsort(first[asked])]] = np.concatenate(found)
    identity[shared, 1], group[shared, 1] = digests[of_shared.ravel()].T
    return identity, group


def mix_keys(keys: Keys, u: NDArray[np.float32]) -> Keys:
    """A molecule at another temperature is no replicate: graph features join the identity."""
    mixed = keys.copy()
    for c in range(u.shape[1]):
        bits = np.ascontiguousarray(u[:, c] + 0.0).view(np.uint32).astype(np.uint64)  # + 0.0: -0 is 0
        mixed = (mixed ^ bits[:, None]) * np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing, Knuth vol. 3, 6.4
    return mixed


def _text_hashes(spool: Spool, asked: NDArray[np.int64]) -> NDArray[np.int64]:
    """A hash of the name of each asked graph (ascending), good within this process."""
    found = [np.fromiter(map(hash, texts), dtype=np.int64) for _, texts in _texts(spool, asked)]
    return np.concatenate([np.zeros(0, dtype=np.int64), *found])


def _texts(spool: Spool, asked: NDArray[np.int64]) -> Iterator[tuple[None, list[str]]]:
    """The names of the asked graphs (ascending), chunk by chunk."""
    start, chunk = 0, list[str]()
    for _, names in spool if len(asked) else ():
        keep = np.zeros(len(names.size), dtype=bool)
        keep[asked[np.searchsorted(asked, start) : np.searchsorted(asked, start + len(keep))] - start] = True
        chunk += names.select(keep).list()
        start += len(keep)
        if len(chunk) >= CHUNK_ROWS:
            yield None, chunk
            chunk = []
    if chunk:
        yield None, chunk


def _featurize(
    smiles: list[object], *, wanted: Wanted
) -> tuple[Piece, NDArray[np.int64], dict[int, RowError], Keys, Keys]:
    """What a worker makes of a chunk, small enough to send back: the fields of `Part` between rows and ids."""
    made = featurize_smiles(smiles, wanted.limits, scaffolds=wanted.scaffolds, descriptors=wanted.descriptors)
    skeleton = skeleton_hashes(made.chunk, SKELETON_COLUMNS)
    keys = np.stack([skeleton, np.zeros_like(skeleton)], axis=1)
    return Piece.of(made.chunk), made.good, made.errors, keys, made.scaffold


def _digests(smiles: list[str], *, limits: Limits) -> Keys:
    """Digests of the identity and the group key of each molecule.  # (K, 2)"""
    digests = np.empty((len(smiles), 2), dtype=np.uint64)
    for row, text in zip(digests, smiles, strict=True):
        try:
            keys = molecule_keys(parse_smiles(text, limits))
        except (RuntimeError, ValueError):  # a broken invariant inside RDKit: the molecule is like no other
            keys = (text, text)
        row[:] = [digest(key)[0] for key in keys]
    return digests


def _in_order(
    work: Callable[[Given], Made], chunks: Iterator[tuple[Kept, Given]], processes: int
) -> Iterator[tuple[Kept, Made]]:
    """Do the work of each chunk, on workers where there are several chunks, and yield it beside what was kept."""
    first = list(islice(chunks, 2))
    workers = processes or usable_cores()
    if len(first) < 2 or workers == 1:
        for kept, given in chain(first, chunks):
            yield kept, work(given)
        return
    waiting: deque[tuple[Kept, Future[Made]]] = deque()
    # Ctrl-C is for the step: the workers would each print where it met them.
    deaf = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(workers, get_context("spawn"), signal.signal, deaf) as pool:
        for kept, given in chain(first, chunks):
            waiting.append((kept, pool.submit(work, given)))
            if len(waiting) > 2 * workers:  # bounds memory: no more chunks wait than the workers soon need
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()
