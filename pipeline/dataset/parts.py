"""Rows become packed graphs, chunk by chunk, in source order, on all cores; and which molecules are the same."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from itertools import accumulate, chain, pairwise
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.spool import Piece, Spool
from pipeline.errors import RowError
from pipeline.samples.graph.keys import Hashes, skeleton_hashes
from pipeline.samples.molecule.featurize import SKELETON_COLUMNS, featurize_smiles
from pipeline.samples.molecule.smiles import digest, molecule_keys, parse_smiles
from pipeline.schema import Limits

if TYPE_CHECKING:  # what only the main process needs is imported there: the others start in two thirds of the time
    from pipeline.rows.table import Rows, Table
    from pipeline.samples.graph.tables import GraphTables

CHUNK_ROWS = 2048  # read, spooled and written together
UNIT_ROWS = 512  # given to a process: few, so that all end at the same time; fewer would take longer a row
DIGEST_ROWS = 64  # as UNIT_ROWS, for molecules whose keys are asked: often few in all
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
    from pipeline.samples.graph.tables import read_graph_chunks

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
    fingerprint: bool = False


def molecule_parts(
    table: Table, smiles: str, columns: tuple[str, ...], wanted: Wanted, workers: Workers
) -> Iterator[Part]:
    """Read a table of molecules.

    Args:
        smiles: the column of the molecules.
        columns: other columns to read.
    """
    from pipeline.rows.table import read_rows

    chunks = ((rows, list(rows.values[smiles])) for rows in read_rows(table, (smiles, *columns), CHUNK_ROWS))
    for rows, made in workers.in_order(partial(_featurize, wanted=wanted), chunks, UNIT_ROWS):
        yield Part(rows, *_joined(made), ids=rows.values[smiles])


def exact_keys(skeleton: Hashes, spool: Spool, limits: Limits, workers: Workers) -> tuple[Keys, Keys]:
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
    found = [
        keys for _, made in workers.in_order(partial(_digests, limits=limits), texts, DIGEST_ROWS) for keys in made
    ]
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


class _Made(NamedTuple):
    """What is made of a unit, small enough to send back: the fields of `Part` between rows and ids."""

    piece: Piece
    good: NDArray[np.int64]
    errors: dict[int, RowError]
    keys: Keys
    scaffold: Keys


def _joined(made: list[_Made]) -> _Made:
    """The units of a chunk as one."""
    if len(made) == 1:
        return made[0]
    sizes = [len(one.good) + len(one.errors) for one in made]
    starts = list(accumulate(sizes, initial=0))[:-1]
    return _Made(
        Piece.join([one.piece for one in made]),
        np.concatenate([one.good + start for one, start in zip(made, starts, strict=True)]),
        {start + i: error for one, start in zip(made, starts, strict=True) for i, error in one.errors.items()},
        np.concatenate([one.keys for one in made]),
        np.concatenate([one.scaffold for one in made]),
    )


def _featurize(smiles: list[object], *, wanted: Wanted) -> _Made:
    made = featurize_smiles(
        smiles,
        wanted.limits,
        scaffolds=wanted.scaffolds,
        descriptors=wanted.descriptors,
        fingerprint=wanted.fingerprint,
    )
    skeleton = skeleton_hashes(made.chunk, SKELETON_COLUMNS)
    keys = np.stack([skeleton, np.zeros_like(skeleton)], axis=1)
    return _Made(Piece.of(made.chunk), made.good, made.errors, keys, made.scaffold)


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


class Workers:
    """This process, and others that take work from it.

    The others start at the first work for several of them, or earlier by `start`; leaving the block ends them.

    Args:
        processes: this one and the others; 0 is all cores this process may use.
    """

    def __init__(self, processes: int) -> None:
        from pipeline.machine import usable_cores

        self.others = (processes or usable_cores()) - 1
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def start(self) -> None:
        """Let the other processes start while this one goes on."""
        if self.others and self._pool is None:
            self._pool = ProcessPoolExecutor(self.others, get_context("spawn"), _begin)
            for _ in range(self.others):
                self._pool.submit(int)  # a process starts when there is something to do

    def in_order(
        self, work: Callable[[list[Given]], Made], chunks: Iterator[tuple[Kept, list[Given]]], unit_rows: int
    ) -> Iterator[tuple[Kept, list[Made]]]:
        """Do the work of each chunk, and yield what was made of its units beside what was kept.

        Where there are several chunks, they are cut into units for all processes; this one works on those that the
        others have no need of yet.
        """
        waiting: deque[tuple[Kept, list[Future[Made]]]] = deque()
        away: list[Future[Made]] = []
        end: tuple[None, ...] = (None,)
        for chunk, after in pairwise(chain(chunks, end)):
            assert chunk is not None
            kept, given = chunk
            if after is not None:
                self.start()
            if self._pool is None:
                yield kept, [work(given)]
                continue
            units: list[Future[Made]] = []
            rows = unit_rows if after is not None else unit_rows // 4  # so that all end at the same time
            for start in range(0, len(given), rows):
                unit = given[start : start + rows]
                away = [future for future in away if not future.done()]
                if len(away) < 2 * self.others:  # each has one to work on and one at hand
                    units.append(self._pool.submit(work, unit))
                    away.append(units[-1])
                else:
                    units.append(Future())
                    units[-1].set_result(work(unit))
            waiting.append((kept, units))
            # bounds memory: where a unit takes long, no more chunks wait than are soon needed
            while waiting and (len(waiting) > 2 * (self.others + 1) or all(unit.done() for unit in waiting[0][1])):
                done, units = waiting.popleft()
                yield done, [unit.result() for unit in units]
        for done, units in waiting:
            yield done, [unit.result() for unit in units]


def _begin() -> None:
    """In a new process: leave Ctrl-C to the step (each would print where it met it), and end when the step ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    step = parent_process()
    assert step is not None

    def follow() -> None:
        step.join()
        os._exit(1)  # the queue of a pool waits for ever for a process that was killed

    threading.Thread(target=follow, daemon=True).start()
