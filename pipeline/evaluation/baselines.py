"""What one gets without a graph network: mean or majority, and a forest that does not see who is bound to whom.

Both learn on the training rows of the same split and answer the same rows as the network, on the trained scale.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import Descriptors, rdFingerprintGenerator

from pipeline.errors import ShapeError
from pipeline.graph import GraphChunk
from pipeline.machine import usable_cores
from pipeline.network.trees import choose_rows, spread_classes
from pipeline.schema import Schema, Target

MAX_TRAIN_ROWS = 20_000  # of all regression targets together: about five minutes on two cores
_MIN_TRAIN_ROWS = 5_000  # of each target, however many there are
_TREES = 500
_FINGERPRINT_SIZE = 2048
_CHUNK = 4096  # molecules described and answered at a time: 37 MB
_MAX_CATEGORIES = 256  # of one column; the codes behind are counted as one
# Ipc and AvgIpc grow with the fourth power of the atoms (45 s at 469 atoms); qed is made of the others, at a quarter of
# the time of all.
_LEFT_OUT = ("Ipc", "AvgIpc", "qed")
_MAX_DESCRIBED_ATOMS = 300  # above, descriptors are zero; a second a molecule would pass the time of the forest

Table = NDArray[np.float32]


@dataclass(frozen=True)
class Inputs:
    """The rows of one side of a split; of `smiles` and `graphs` one is given, as the schema's data kind says.

    Attributes:
        y: (G, T) float32, labels on the trained scale; NaN is missing.
        u: (G, U) float32, graph features.
        smiles: G SMILES, for molecules.
        graphs: G packed graphs, for other graphs; their own `u` and `y` are not read.
    """

    y: Table
    u: Table
    smiles: Sequence[str] | None = None
    graphs: GraphChunk | None = None

    def __post_init__(self) -> None:
        given = len(self.smiles) if self.smiles is not None else self.graphs.num_graphs if self.graphs else -1
        if not len(self.y) == len(self.u) == given:
            raise ShapeError(
                f"baselines: {len(self.y)} rows of labels, {len(self.u)} of graph features and {max(given, 0)} "
                "molecules or graphs came; they must be as many."
            )


class Baselines(NamedTuple):
    """Answers of the baselines, and what they were made from.

    Attributes:
        answers: kind (`mean` or `majority`, `forest`) -> target name -> side -> (G,) or (G, K), as `score_target`
            takes them. A target without a label in training has no baseline.
        report: trees, number of features, and per target the labelled and the used training rows.
    """

    answers: dict[str, dict[str, dict[str, NDArray[np.float64]]]]
    report: dict[str, Any]


def fit_baselines(schema: Schema, train: Inputs, sides: Mapping[str, Inputs], *, seed: int = 0) -> Baselines:
    """Fit on the training rows and answer the rows of `sides` (say `validation` and `test`).

    The forest has 500 trees on `describe_molecules` or `describe_graphs` and the graph features. Regression trees look
    at a third of the columns per split (Breiman 2001), the others at the square root of their number. Of more than
    20,000 labelled training rows that many are drawn (with several regression targets: 20,000 by their number, at
    least 5,000), which the report states. One seed gives the same answers on any number of cores.
    """
    from joblib.externals.loky import ProcessPoolExecutor  # type: ignore[import-untyped]

    labelled = ~np.isnan(train.y)  # (G, T)
    limit = max(_MIN_TRAIN_ROWS, MAX_TRAIN_ROWS // max(1, sum(not t.task.has_classes for t in schema.targets)))
    used = [choose_rows(np.flatnonzero(column), limit, seed) for column in labelled.T]
    answers: dict[str, dict[str, dict[str, NDArray[np.float64]]]] = {}
    # loky: its workers start with the first molecules, do not inherit torch's threads nor import the step's module
    deaf = (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the step
    with ProcessPoolExecutor(usable_cores(), initializer=signal.signal, initargs=deaf) as pool:
        rows = np.unique(np.concatenate(used))
        table = np.concatenate(list(_tables(schema, train, rows, pool)))
        forests = {
            t: _fit_forest(schema.targets[t], table[np.searchsorted(rows, used[t])], train.y[used[t], t], seed)
            for t in range(len(used))
            if len(used[t])
        }
        for side, inputs in sides.items():
            tables = _tables(schema, inputs, np.arange(len(inputs.y)), pool)
            parts = [[forest.answer(part) for forest in forests.values()] for part in tables]
            for t, *answered in zip(forests, *parts, strict=True):
                target = schema.targets[t]
                constant = _constant(target, train.y[labelled[:, t], t])
                kind = "majority" if target.task.has_classes else "mean"
                same = np.repeat(constant[None], len(inputs.y), axis=0)  # (G,) or (G, K)
                answers.setdefault(kind, {}).setdefault(target.name, {})[side] = same
                answers.setdefault("forest", {}).setdefault(target.name, {})[side] = np.concatenate(answered)
    counts = {
        target.name: {"labelled": int(labelled[:, t].sum()), "used": len(used[t])}
        for t, target in enumerate(schema.targets)
    }
    return Baselines(answers, {"trees": _TREES, "columns": int(table.shape[1]), "training_rows": counts})


def describe_molecules(smiles: Sequence[str], pool: Executor | None = None) -> Table:
    """Describe molecules by count Morgan fingerprints (radius 2, 2048 bits) and RDKit's descriptors.

    Left out are Ipc, AvgIpc and qed for their cost. Descriptors above 300 atoms, and values that are not numbers, are
    zero.

    Args:
        pool: of processes, to share the work of more than a few hundred molecules.

    Returns:
        (G, 2048 + D) float32, finite.

    Source: Rogers & Hahn 2010, J. Chem. Inf. Model. 50, 742 (the fingerprints).
    """
    pieces = [list(smiles[start : start + 64]) for start in range(0, len(smiles), 64)]
    tables = pool.map(_describe, pieces) if pool and len(pieces) > 4 else map(_describe, pieces)
    return np.concatenate([np.empty((0, _FINGERPRINT_SIZE + len(_DESCRIPTORS)), np.float32), *tables])


def describe_graphs(chunk: GraphChunk, schema: Schema) -> Table:
    """Describe graphs without looking at their wiring.

    Per graph: the numbers of nodes and edges, how often each category stands in each column of nodes and edges (of the
    first 255; the rest together), and mean, standard deviation, minimum and maximum of each column of numbers.
    Missing numbers are skipped; a column without any is zero.

    Returns:
        (G, W) float32, finite.
    """
    parts = [np.diff(chunk.node_ptr)[:, None], np.diff(chunk.edge_ptr)[:, None]]
    for pointers, codes, numbers, columns in (
        (chunk.node_ptr, chunk.x, chunk.x_float, schema.node("categorical")),
        (chunk.edge_ptr, chunk.edge_attr, chunk.edge_float, schema.edge("categorical")),
    ):
        sizes = np.diff(pointers)
        graph = np.repeat(np.arange(len(sizes)), sizes)  # (N,) or (E,)
        for f, column in enumerate(columns):
            width = min(column.num_codes, _MAX_CATEGORIES)
            cell = graph * width + np.minimum(codes[:, f], width - 1)
            parts.append(np.bincount(cell, minlength=len(sizes) * width).reshape(len(sizes), width))
        parts.extend(_moments(graph, len(sizes), values) for values in numbers.T)
    return _finite(np.concatenate(parts, axis=1))


@dataclass(frozen=True)
class _Forest:
    target: Target
    columns: NDArray[np.intp]
    model: Any

    def answer(self, table: Table) -> NDArray[np.float64]:
        """Answer the rows of a table.  # (G, W) -> (G,) or (G, K)"""
        if len(table) == 0:
            return np.empty((0, *self.target.shape))
        if self.target.task.has_classes:
            return spread_classes(self.model.predict_proba(table[:, self.columns]), self.model.classes_, self.target)
        return np.asarray(self.model.predict(table[:, self.columns]))


def _fit_forest(target: Target, table: Table, y: Table, seed: int) -> _Forest:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    # A column that differs in fewer than five rows finds no split worth having: on 1000 molecules that is half of the
    # bits, a quarter of the time, and no difference in the error.
    needed = min(5, 1 + len(table) // 50)
    columns = np.flatnonzero((table != np.median(table, axis=0)).sum(axis=0) >= needed)
    if len(columns) == 0:
        columns = np.zeros(1, dtype=np.intp)
    if target.task.has_classes:
        model = RandomForestClassifier(_TREES, max_features="sqrt", n_jobs=usable_cores(), random_state=seed)
    else:
        model = RandomForestRegressor(_TREES, max_features=1 / 3, n_jobs=usable_cores(), random_state=seed)
    model.fit(table[:, columns], y)
    model.n_jobs = 1  # threads would add the trees' answers in any order, and round differently each time
    return _Forest(target, columns, model)


def _constant(target: Target, y: Table) -> NDArray[np.float64]:
    """The mean, or the share of each class: the majority is the largest.  # () or (K,)"""
    if target.task.per_class:
        return np.bincount(y.astype(np.int64), minlength=target.width) / len(y)
    return np.asarray(y.mean(dtype=np.float64))


def _tables(schema: Schema, inputs: Inputs, rows: NDArray[np.intp], pool: Executor) -> Iterator[Table]:
    """Descriptions and graph features of some rows, a piece at a time; one piece at least."""
    if inputs.graphs is not None:
        yield np.concatenate([describe_graphs(inputs.graphs, schema), _finite(inputs.u)], axis=1)[rows]
        return
    assert inputs.smiles is not None
    for start in range(0, max(1, len(rows)), _CHUNK):
        piece = rows[start : start + _CHUNK]
        molecules = describe_molecules([inputs.smiles[row] for row in piece], pool)
        yield np.concatenate([molecules, _finite(inputs.u[piece])], axis=1)


_DESCRIPTORS = [(name, function) for name, function in Descriptors.descList if name not in _LEFT_OUT]


def _describe(smiles: list[str]) -> Table:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=_FINGERPRINT_SIZE)
    table = np.zeros((len(smiles), _FINGERPRINT_SIZE + len(_DESCRIPTORS)))
    with rdBase.BlockLogs(), np.errstate(all="ignore"):
        for row, one in zip(table, smiles, strict=True):
            molecule = Chem.MolFromSmiles(one)
            if molecule is None:  # the store has only what RDKit reads
                continue
            row[:_FINGERPRINT_SIZE] = generator.GetCountFingerprintAsNumPy(molecule)
            if molecule.GetNumAtoms() <= _MAX_DESCRIBED_ATOMS:
                row[_FINGERPRINT_SIZE:] = [_descriptor(function, molecule) for _, function in _DESCRIPTORS]
    return _finite(table)


def _descriptor(function: Any, molecule: Chem.Mol) -> float:
    try:
        return float(function(molecule))
    except (ValueError, RuntimeError, ZeroDivisionError, OverflowError):  # such as charges of an unknown element
        return 0.0


def _moments(graph: NDArray[np.intp], num_graphs: int, values: Table) -> NDArray[np.float64]:
    """Mean, standard deviation, minimum and maximum of each graph's numbers.  # (N,) -> (G, 4)"""
    there = ~np.isnan(values)
    graph, numbers = graph[there], values[there].astype(np.float64)
    count = np.maximum(np.bincount(graph, minlength=num_graphs), 1)
    mean = np.bincount(graph, numbers, num_graphs) / count
    spread = np.sqrt(np.bincount(graph, (numbers - mean[graph]) ** 2, num_graphs) / count)
    low, high = np.zeros(num_graphs), np.zeros(num_graphs)
    starts = np.flatnonzero(np.diff(graph, prepend=-1))
    if len(starts):
        low[graph[starts]] = np.minimum.reduceat(numbers, starts)
        high[graph[starts]] = np.maximum.reduceat(numbers, starts)
    return np.stack([mean, spread, low, high], axis=1)


def _finite(table: NDArray[Any]) -> Table:
    """Forests take finite float32: what is not a number is zero, what is too large is the largest."""
    limit = float(np.finfo(np.float32).max)
    return np.clip(np.nan_to_num(table.astype(np.float64), posinf=limit, neginf=-limit), -limit, limit).astype(
        np.float32
    )
