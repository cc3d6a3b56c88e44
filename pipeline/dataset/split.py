"""Which graph is for training, validation or test: splits over arrays of keys; no group stands on two sides."""

from __future__ import annotations

import math
from calendar import isleap
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SplitError
from pipeline.rows.number import read_number
from pipeline.schema import Target

TRAIN, VALIDATION, TEST = 0, 1, 2
SIDES = ("train", "validation", "test")
NO_SIDE = -1
METHODS = ("given", "random", "scaffold", "time")

Keys = NDArray[np.uint64]
Sides = NDArray[np.int8]
Ints = NDArray[np.int64]

_SIDE_NAMES = {
    TRAIN: ("train", "training", "trn", "tr"),
    VALIDATION: ("validation", "valid", "val", "dev", "vld"),
    TEST: ("test", "testing", "tst", "te", "holdout"),
}
_SIDE_OF_NAME = {name: side for side, names in _SIDE_NAMES.items() for name in names}
_DATE_FORMATS = ("%Y-%m", "%Y/%m/%d", "%Y/%m/%d %H:%M:%S")


class Split(NamedTuple):
    """The side of each graph.

    Attributes:
        side: (G,) `TRAIN`, `VALIDATION`, `TEST`; `NO_SIDE`: the graph leaves (a leak, no side given, no time).
        report: what a person wants to know, ready for JSON: method, seed, `sizes` and `groups` per side, `leaks`
            per side that lost graphs, `without_side` (graphs that came without a side or a time),
            `groups_on_two_sides` (counted at the end; always 0), `labels` per target and side.
    """

    side: Sides
    report: dict[str, Any]


class _Groups(NamedTuple):
    """Graphs that must stay together; groups are numbered in the order of their keys, not of the rows."""

    number: Ints  # (G,) the group of each graph
    size: Ints  # (K,) graphs in each group


def parse_sides(values: NDArray[np.object_]) -> Sides:
    """Read the names of a split column, such as `train`, `val` or `Test`.

    Returns:
        (B,) `NO_SIDE` where the value is empty or is no known name.
    """
    names = (str(value).strip().lower() for value in values)
    return np.fromiter((_SIDE_OF_NAME.get(name, NO_SIDE) for name in names), dtype=np.int8, count=len(values))


def parse_times(values: NDArray[np.object_], decimal: str = ".", form: str | None = None) -> NDArray[np.float64]:
    """Read a time column: numbers as they are (a year, a batch number), ISO dates as years with a fraction.

    Args:
        values: (B,) str, int, float or None.
        decimal: `.` or `,` in numbers that came as text.
        form: how dates are written, as strptime knows it; then all text is read so.

    Returns:
        (B,) NaN where the value is empty or neither a number nor a date.
    """
    return np.fromiter((_time(value, decimal, form) for value in values), dtype=np.float64, count=len(values))


def number_keys(keys: Keys) -> tuple[Ints, Ints]:
    """Number equal keys alike.

    Args:
        keys: (G, 2) 128-bit keys.

    Returns:
        (G,) the number of each key, ascending with the key, and (K,) how often each of the K keys stands there.
    """
    if len(keys) == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    ranked = keys[order]
    starts = np.concatenate(([True], (ranked[1:] != ranked[:-1]).any(axis=1)))
    del ranked
    number = np.empty(len(keys), dtype=np.int64)
    number[order] = np.cumsum(starts) - 1
    return number, np.bincount(number)


def earliest(time: NDArray[np.float64], key: Keys) -> NDArray[np.float64]:
    """The earliest time of each key's rows: in whatever order replicates come, and whichever of them is kept.

    Args:
        time: (G,) NaN for unknown.
        key: (G, 2).

    Returns:
        (G,), NaN where no row of the key has a time.
    """
    number, sizes = number_keys(key)
    first = np.full(len(sizes), np.nan)
    np.fmin.at(first, number, time)
    return first[number]


def split_graphs(
    method: str,
    group: Keys,
    *,
    y: NDArray[np.float32],
    targets: Sequence[Target],
    seed: int = 0,
    scaffold: Keys | None = None,
    given: Sides | None = None,
    time: NDArray[np.float64] | None = None,
) -> Split:
    """Put each graph on a side: 80 % for training, 10 % for validation, 10 % for test, unless given.

    Graphs of one group are never on two sides. The methods:
        given: as the column says. Where a group stands on two sides, its graphs leave training, then validation:
            the test side stays whole. Without validation, a tenth of the training side becomes it, drawn by `seed`.
        random: drawn by `seed`, stratified for the classes of the first class target; a group counts as the highest
            class among its graphs. Depends on the keys and the seed, not on the order of rows.
        scaffold: scaffolds by size descending, those of one size in an order drawn by `seed`, to the first of train,
            validation, test where they fit. A group with several scaffolds goes with the lowest key among them.
            Depends on the keys and the seed, not on the order of rows: files are often sorted by label.
        time: the oldest 80 % for training, the newest 10 % for test. A group's time is its earliest; equal times
            go by key. Graphs without a time leave.
    Sets that are too small for these shares get at least one group a side where there are three groups.

    Args:
        group: (G, 2) key of what must stay together.
        y: (G, T) labels on the trained scale, class index for classes, NaN for missing.
        scaffold: (G, 2) scaffold of each graph.
        given: (G,) side of each graph, `NO_SIDE` for unknown.
        time: (G,) when each graph was measured, NaN for unknown.

    Raises:
        SplitError: if the method is unknown or misses its column, or if a side stays empty.
    """
    _check_method(method, scaffold=scaffold, given=given, time=time)
    groups = _Groups(*number_keys(group))
    report: dict[str, Any] = {"method": method, "seed": seed, "leaks": dict.fromkeys(SIDES[:2], 0)}
    if method == "given":
        assert given is not None
        side, report["leaks"] = _remove_leaks(given, groups)
        if not (side == VALIDATION).any():
            side = _draw_validation(side, groups, _strata(y, targets, groups.number), seed)
            report["validation"] = "drawn from training: none was given"
    elif method == "random":
        side = _draw(groups.size, _strata(y, targets, groups.number), (0.8, 0.1, 0.1), seed)[groups.number]
    elif method == "scaffold":
        assert scaffold is not None
        side = _by_scaffold(groups, scaffold, seed)
    else:
        assert time is not None
        side = _by_time(groups, time)
    report["without_side"] = int(np.count_nonzero(side == NO_SIDE)) - sum(report["leaks"].values())
    _check_sides(method, side, groups)
    return Split(side, report | _describe(side, groups, y, targets))


def _check_method(method: str, *, scaffold: object, given: object, time: object) -> None:
    if method not in METHODS:
        raise SplitError(f"split={method}: no such split; pass split= one of {', '.join(METHODS)}.")
    if method == "scaffold" and scaffold is None:
        raise SplitError("split=scaffold: only molecules have scaffolds; pass split=random, given or time.")
    if method == "given" and given is None:
        raise SplitError("split=given: the data has no split column; name one or pass split=random.")
    if method == "time" and time is None:
        raise SplitError("split=time: no column with the time is named; name one or pass split=random.")


def _strata(y: NDArray[np.float32], targets: Sequence[Target], number: Ints) -> Ints:
    """Highest class of each group for the first class target: 0 for no label, class + 1 else.  # (K,)"""
    strata = np.zeros(int(number.max(initial=-1)) + 1, dtype=np.int64)
    for column, target in enumerate(targets):
        if target.task.has_classes:
            np.maximum.at(strata, number, np.nan_to_num(y[:, column] + 1).astype(np.int64))
            break
    return strata


def _draw(size: Ints, strata: Ints, shares: tuple[float, float, float], seed: int) -> Sides:
    """Draw a side for each group, so that each stratum is shared out alike.

    Within a stratum the large groups go first and the many small ones correct what they left over: the shares of
    each stratum are met to about one graph. What a stratum is owed passes on to the next one, so that many
    tiny strata do not add up to an empty side.

    Args:
        size: (K,) graphs in each group.
        strata: (K,) what is shared out alike.
        shares: of train, validation and test; they add up to 1.

    Returns:
        (K,) sides.
    """
    chance = np.random.default_rng(seed).permutation(len(size))
    order = np.lexsort((chance, -size, strata))
    side = np.full(len(size), TRAIN, dtype=np.int8)
    seen, taken = 0, [0, 0, 0]
    for at, end in _runs(strata[order], size[order]):
        graphs = int(size[order[at]])
        seen += graphs * (end - at)
        for one in (TEST, VALIDATION):
            wanted = math.floor((shares[one] * seen - taken[one]) / graphs + 0.5)
            count = min(max(wanted, 0), end - at)
            side[order[at : at + count]] = one
            taken[one] += graphs * count
            at += count
    smallest_last = order[np.argsort(-size[order], kind="stable")]
    _fill_empty_sides(side, smallest_last, [one for one in (TRAIN, VALIDATION, TEST) if shares[one] > 0])
    return side


def _runs(*columns: Ints) -> list[tuple[int, int]]:
    """Start and end of each stretch in which all columns stay the same."""
    length = len(columns[0])
    changes = np.zeros(max(length - 1, 0), dtype=bool)
    for column in columns:
        changes |= column[1:] != column[:-1]
    ends = [*(np.flatnonzero(changes) + 1).tolist(), length]
    return [run for run in pairwise([0, *ends]) if run[1] > run[0]]


def _fill_empty_sides(side: Sides, order: Ints, wanted: Sequence[int]) -> None:
    """Give an empty side the last group in `order` of the side that has most groups; writes into `side` (K,)."""
    for one in wanted:
        counts = np.bincount(side[order], minlength=len(SIDES))
        donor = int(counts.argmax())
        if counts[one] == 0 and counts[donor] > 1:
            side[order[side[order] == donor][-1]] = one


def _remove_leaks(given: Sides, groups: _Groups) -> tuple[Sides, dict[str, int]]:
    """Take graphs of groups on two sides out of training, then out of validation; count them."""
    stands = [np.bincount(groups.number[given == one], minlength=len(groups.size)) > 0 for one in range(len(SIDES))]
    leaves = {
        TRAIN: (given == TRAIN) & (stands[VALIDATION] | stands[TEST])[groups.number],
        VALIDATION: (given == VALIDATION) & stands[TEST][groups.number],
    }
    side = given.astype(np.int8)
    for mask in leaves.values():
        side[mask] = NO_SIDE
    return side, {SIDES[one]: int(np.count_nonzero(mask)) for one, mask in leaves.items()}


def _draw_validation(side: Sides, groups: _Groups, strata: Ints, seed: int) -> Sides:
    """Make a tenth of the training side the validation side; groups stay whole."""
    in_training = np.bincount(groups.number[side == TRAIN], minlength=len(groups.size))
    chosen = np.flatnonzero(in_training)
    side_of_group = np.full(len(groups.size), TRAIN, dtype=np.int8)
    side_of_group[chosen] = _draw(in_training[chosen], strata[chosen], (0.9, 0.1, 0.0), seed)
    return np.where(side == TRAIN, side_of_group[groups.number], side)


def _by_scaffold(groups: _Groups, scaffold: Keys, seed: int) -> Sides:
    """Fill training, then validation, then test with whole scaffolds, the largest first."""
    number, sizes = number_keys(scaffold)
    of_group = np.full(len(groups.size), len(sizes), dtype=np.int64)
    np.minimum.at(of_group, groups.number, number)
    number = of_group[groups.number]  # one scaffold a group, so that stereoisomers stay together
    size = np.bincount(number, minlength=len(sizes))
    order = np.lexsort((np.random.default_rng(seed).permutation(len(sizes)), -size))
    order = order[size[order] > 0]
    side = np.full(len(sizes), TEST, dtype=np.int8)
    free = {TRAIN: 8 * len(number) // 10, VALIDATION: len(number) // 10}
    for at, end in _runs(size[order]):  # what does not fit once, does not fit for the rest of its size
        graphs = int(size[order[at]])
        for one in (TRAIN, VALIDATION):
            count = min(free[one] // graphs, end - at)
            side[order[at : at + count]] = one
            free[one] -= graphs * count
            at += count
    _fill_empty_sides(side, order, (TRAIN, VALIDATION, TEST))
    return side[number]


def _by_time(groups: _Groups, time: NDArray[np.float64]) -> Sides:
    """Oldest groups to training, the next to validation, the newest to test."""
    dated = np.isfinite(time)
    start = np.full(len(groups.size), np.inf)
    np.minimum.at(start, groups.number[dated], time[dated])
    size = np.bincount(groups.number[dated], minlength=len(groups.size))
    order = np.argsort(start, kind="stable")
    order = order[size[order] > 0]
    upto = np.cumsum(size[order])
    train, validation = np.searchsorted(10 * upto, (8 * upto[-1:].sum(), 9 * upto[-1:].sum()), side="right")
    if len(order) >= len(SIDES):
        train = min(max(train, 1), len(order) - 2)
        validation = min(max(validation, train + 1), len(order) - 1)
    side = np.full(len(groups.size), TEST, dtype=np.int8)
    side[order[:validation]] = VALIDATION
    side[order[:train]] = TRAIN
    return np.where(dated, side[groups.number], np.int8(NO_SIDE))


def _check_sides(method: str, side: Sides, groups: _Groups) -> None:
    kept = side != NO_SIDE
    for one, name in enumerate(SIDES):
        if not (side == one).any():
            others = ", ".join(other for other in METHODS if other != method)
            mend = "write it into the split column or " if method == "given" else "bring more rows or "
            raise SplitError(
                f"split={method}: the {name} side is empty ({np.count_nonzero(kept)} usable graphs, "
                f"{np.count_nonzero(np.bincount(groups.number[kept]))} of them distinct); "
                f"{mend}pass another split= ({others})."
            )


def _describe(side: Sides, groups: _Groups, y: NDArray[np.float32], targets: Sequence[Target]) -> dict[str, Any]:
    """Sizes, and the labels of each target on each side."""
    masks = [side == one for one in range(len(SIDES))]
    stands = np.stack([np.bincount(groups.number[mask], minlength=len(groups.size)) > 0 for mask in masks])  # (3, K)
    shared = int(np.count_nonzero(stands.sum(axis=0) > 1))
    assert shared == 0, f"{shared} groups on two sides"
    labels = {
        target.name: {name: _label_facts(target, y[mask, column]) for name, mask in zip(SIDES, masks, strict=True)}
        for column, target in enumerate(targets)
    }
    return {
        "sizes": {name: int(np.count_nonzero(mask)) for name, mask in zip(SIDES, masks, strict=True)},
        "groups": dict(zip(SIDES, np.count_nonzero(stands, axis=1).tolist(), strict=True)),
        "groups_on_two_sides": shared,
        "labels": labels,
    }


def _label_facts(target: Target, y: NDArray[np.float32]) -> dict[str, Any]:
    """How many labels there are, and their mean on the trained scale or the count of each class."""
    known = y[~np.isnan(y)]
    if not target.task.has_classes:
        return {"labelled": len(known), "mean": float(known.mean(dtype=np.float64)) if len(known) else None}
    counts = np.bincount(known.astype(np.int64), minlength=len(target.classes))
    return {"labelled": len(known), "classes": dict(zip(target.classes, counts.tolist(), strict=True))}


def _time(value: object, decimal: str, form: str | None) -> float:
    """One time as a number, NaN if it cannot be read."""
    if value is None or isinstance(value, bool):
        return math.nan
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str) and form:
        date = _strptime(value.strip(), form)
        return math.nan if date is None else _year(date)
    if isinstance(value, str):
        number = read_number(value, decimal)
        value = value.strip()
        eight = number is not None and len(value) == 8 and value.isascii() and value.isdecimal()  # 20160706
        date = _date(value) if number is None or eight else None
        if date is None:
            return math.nan if number is None else number
        value = date
    return _year(value) if isinstance(value, datetime) else math.nan


def _date(text: str) -> datetime | None:
    """Read an ISO date; day and month are never guessed from an order such as 01.02.2019."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    return next(filter(None, (_strptime(text, form) for form in _DATE_FORMATS)), None)


def _strptime(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form)
    except ValueError:
        return None


def _year(moment: datetime) -> float:
    """A moment as a year with a fraction, so that 2019 and 2019-01-01 are the same time."""
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    start = datetime(moment.year, 1, 1)
    days = 366 if isleap(moment.year) else 365
    return moment.year + (moment - start).total_seconds() / (days * 86_400)
