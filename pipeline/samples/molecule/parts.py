"""Rows of molecules become packed graphs, chunk by chunk, on all cores; and which molecules are the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RowError
from pipeline.samples.graph.keys import Hashes, skeleton_hashes
from pipeline.samples.molecule.featurize import SKELETON_COLUMNS, featurize_smiles
from pipeline.samples.molecule.smiles import digest, light_smiles, molecule_keys, parse_smiles
from pipeline.samples.packed import Names, Piece
from pipeline.samples.source import Keys, Part
from pipeline.samples.workers import Workers
from pipeline.schema import Limits

if TYPE_CHECKING:  # what only the main process needs is imported there: the others start in two thirds of the time
    from pipeline.rows.table import Table

CHUNK_ROWS = 2048  # read, spooled and written together
UNIT_ROWS = 512  # given to a process: few, so that all end at the same time; fewer would take longer a row
DIGEST_ROWS = 64  # as UNIT_ROWS, for molecules whose keys are asked: often few in all
Spooled = Iterable[tuple[Piece, Names]]
"""Chunks of samples with their names, in order; may be gone through several times."""


class Wanted(NamedTuple):
    """What is made of each molecule: `featurize_smiles`."""

    limits: Limits
    scaffolds: bool = False
    descriptors: bool = False
    fingerprint: bool = False


def molecule_parts(
    table: Table, smiles: str, columns: Sequence[str], wanted: Wanted, workers: Workers
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


def exact_keys(skeleton: Hashes, spooled: Spooled, limits: Limits, workers: Workers) -> tuple[Keys, Keys]:
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
    pairs = np.stack([place[shared], _text_hashes(spooled, shared)])
    (place_of, _), first, of_shared = np.unique(pairs, axis=1, return_index=True, return_inverse=True)
    asked = np.bincount(place_of)[place_of] > 1  # skeletons that are written in several ways
    texts = _texts(spooled, shared[np.sort(first[asked])])
    digests = np.zeros((len(first), 2), dtype=np.uint64)
    found = [
        keys for _, made in workers.in_order(partial(_digests, limits=limits), texts, DIGEST_ROWS) for keys in made
    ]
    if found:
        digests[np.flatnonzero(asked)[np.argsort(first[asked])]] = np.concatenate(found)
    identity[shared, 1], group[shared, 1] = digests[of_shared.ravel()].T
    return identity, group


def _text_hashes(spooled: Spooled, asked: NDArray[np.int64]) -> NDArray[np.int64]:
    """A hash of the name of each asked graph (ascending), good within this process."""
    found = [np.fromiter(map(hash, texts), dtype=np.int64) for _, texts in _texts(spooled, asked)]
    return np.concatenate([np.zeros(0, dtype=np.int64), *found])


def _texts(spooled: Spooled, asked: NDArray[np.int64]) -> Iterator[tuple[None, list[str]]]:
    """The names of the asked graphs (ascending), chunk by chunk."""
    start, chunk = 0, list[str]()
    for _, names in spooled if len(asked) else ():
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
    _lighten(skeleton, [smiles[i] for i in made.good], wanted.limits)
    keys = np.stack([skeleton, np.zeros_like(skeleton)], axis=1)
    return _Made(Piece.of(made.chunk), made.good, made.errors, keys, made.scaffold)


def _lighten(skeleton: Hashes, smiles: Sequence[object], limits: Limits) -> None:
    """Give molecules with heavy hydrogens, which are nodes, the skeleton of their twins without: they are one group."""
    twins = {i: twin for i, text in enumerate(smiles) if (twin := light_smiles(str(text), limits)) is not None}
    if not twins:
        return
    made = featurize_smiles(list(twins.values()), limits)
    where = np.array(list(twins))[made.good]
    if len(where):
        skeleton[where] = skeleton_hashes(made.chunk, SKELETON_COLUMNS)


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
