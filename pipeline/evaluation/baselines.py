"""What one gets without a graph network: mean or majority, and a forest that does not see who is bound to whom.

Both learn on the training rows of the same split and answer the same rows as the network, on the trained scale.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.machine import usable_cores
from pipeline.network.trees import choose_rows, spread_classes
from pipeline.samples.source import finite
from pipeline.schema import Schema, Target

MAX_TRAIN_ROWS = 20_000  # of all regression targets together: about five minutes on two cores
_CHUNK = 4096  # samples described and answered at a time: 37 MB of molecules
_MIN_TRAIN_ROWS = 5_000  # of each target, however many there are
_TREES = 500

Table = NDArray[np.float32]


class Inputs(NamedTuple):
    """The rows of one side of a split.

    Attributes:
        y: (G, T) float32, labels on the trained scale; NaN is missing.
        u: (G, U) float32, graph features.
        describe: describes some of the rows (n,) -> (n, W), finite, as `pipeline.samples.source.Source.describe`.
    """

    y: Table
    u: Table
    describe: Callable[[NDArray[np.intp], Executor], Table]


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

    The forest has 500 trees on descriptions of the samples and the graph features. Regression trees look
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
        table = np.concatenate(list(_tables(train, rows, pool)))
        forests = {
            t: _fit_forest(schema.targets[t], table[np.searchsorted(rows, used[t])], train.y[used[t], t], seed)
            for t in range(len(used))
            if len(used[t])
        }
        for side, inputs in sides.items():
            tables = _tables(inputs, np.arange(len(inputs.y)), pool)
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


def _tables(inputs: Inputs, rows: NDArray[np.intp], pool: Executor) -> Iterator[Table]:
    """Descriptions and graph features of some rows, a piece at a time; one piece at least."""
    for start in range(0, max(1, len(rows)), _CHUNK):
        piece = rows[start : start + _CHUNK]
        yield np.concatenate([inputs.describe(piece, pool), finite(inputs.u[piece])], axis=1)
