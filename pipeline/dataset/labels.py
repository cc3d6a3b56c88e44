"""Labels: which kind a target is, values of a column as numbers, and replicates of one molecule as one label."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.label_text import (
    BOUNDS,
    class_name,
    is_grouped_number,
    is_missing,
    parse_number,
    positive_class,
)
from pipeline.dataset.split import Keys, number_keys
from pipeline.errors import ConfigError, DataError, RowError
from pipeline.rows.delimited import MAX_NAME_CHARS
from pipeline.rows.number import read_number
from pipeline.scale import transform
from pipeline.schema import MOLAR_UNITS, Target, TargetKind

MAX_CLASSES = 100
LOGARITHM = re.compile(r"p[A-Z]|(?i:p(?:ic50|ec50|k[aid])\b)")  # pIC50: -log10 of mol/L already
LOGARITHMS = 0.0, 14.0  # where their values lie
WIDE = 1e3  # largest over smallest of a potency that a network does not learn well on the plain scale
MOSTLY = 0.9  # a column with this share of numbers is a column of numbers, the rest of it is unreadable

Objects = NDArray[np.object_]
Labelled = NDArray[np.float32]


class Labels(NamedTuple):
    """The labels of one target for a chunk of rows.

    Attributes:
        y: (B,) on the trained scale, class index for classes; NaN is missing.
        errors: position in the chunk → why the value is not used (`invalid_label`, `censored`); y is NaN there.
        censored: bounds (`<5`, `>5`) that came, whether they were dropped or kept.
    """

    y: Labelled
    errors: dict[int, RowError]
    censored: int


class Replicates(NamedTuple):
    """Rows merged to one row for each molecule or graph.

    Attributes:
        keep: (G,) the first row of each identity, but none of an identity in `conflicts`.
        y: (G, T) merged labels, the same in all rows of one identity; NaN is missing.
        conflicts: (G,) rows of identities that lose their last label because their class labels differ.
        report: ready for JSON: `rows`, `identities`, `merged` (rows that went into an earlier row), `conflicts`
            (rows that leave), and `targets`: for regression how many identities and rows are `replicates` and
            their `spread` (pooled standard deviation on the trained scale, the noise floor of the data; None
            without replicates), for classes the identities whose labels conflict.
    """

    keep: NDArray[np.bool_]
    y: Labelled
    conflicts: NDArray[np.bool_]
    report: dict[str, Any]


class LabelScan:
    """Finds out, chunk by chunk and in bounded memory, what kind of target a column is.

    Only 0 and 1, or true and false: binary. Texts: binary if two differ, multi-class up to `MAX_CLASSES`. Other
    numbers: regression; bounds and approximate values (`<5`, `~3`) are numbers too. Where nine in ten values are
    numbers, the others count as unreadable.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = 0
        self.numbers = 0  # values that are numbers
        self.others = 0  # values that are not
        self._number_names: dict[str, None] = {}  # distinct ones, in order, at most MAX_CLASSES + 1
        self._texts: dict[str, None] = {}
        self._range = math.inf, -math.inf  # of the numbers

    def add(self, values: Objects, decimal: str = ".") -> None:
        """Look at the next chunk of the column.

        Args:
            values: (B,) str, int, float, bool or None.
            decimal: `.` or `,` in numbers that came as text.
        """
        self.rows += len(values)
        numbers = _plain_numbers(values, decimal)
        if numbers is not None:
            known = numbers[~np.isnan(numbers)]
            self.numbers += len(known)
            self._widen(known)
            for number in np.unique(known)[: MAX_CLASSES + 1].tolist():
                self._remember(self._number_names, class_name(number))
            return
        for (_, value), count in Counter(_typed(values)).items():
            if is_missing(value):
                continue
            name = class_name(value, decimal)
            number = parse_number(value, decimal)[1]
            if number is None:
                self.others += count
                self._remember(self._texts, name)
            else:
                self.numbers += count
                self._widen(np.array([number]))
                self._remember(self._number_names, name)

    def target(
        self,
        *,
        kind: TargetKind | None = None,
        unit: str | None = None,
        description: str | None = None,
        transform: Literal["log10", "p"] | None = None,
        positive: str | None = None,
    ) -> Target:
        """Describe the target, after the last chunk.

        Args:
            kind: overrules what the values say.
            positive: the class whose probability is answered; binary targets only.

        Raises:
            DataError: if the column has no labels or only one value, or does not fit `kind` or `positive`.
            ConfigError: if kind or transform is unknown, or transform, unit and kind do not fit each other.
        """
        if self.numbers + self.others == 0:
            raise DataError(f"target '{self.name}': none of its {self.rows} rows has a value; name another column.")
        numeric = self.numbers >= MOSTLY * (self.numbers + self.others) and kind != "multiclass"
        if not numeric and kind in (None, "regression"):
            self._refuse_grouped_numbers()
        names = list(self._number_names) if numeric else [*self._number_names, *self._texts]
        if kind not in (None, *get_args(TargetKind)):
            raise ConfigError(f"kind={kind}: no such kind; pass one of {', '.join(get_args(TargetKind))}.")
        if transform not in (None, "log10", "p"):
            raise ConfigError(f"transform={transform}: no such transform; pass log10 or p.")
        if kind is None:
            if not numeric and not transform and any("." in name for name in self._number_names):
                raise DataError(
                    f"target '{self.name}': {self.numbers} labels are numbers with fractions, {self.others} are words; "
                    "pass kind=regression (the words are left out) or kind=multiclass."
                )
            numbers = numeric and set(names) != {"0", "1"}
            kind = "regression" if transform or numbers else "binary" if len(names) <= 2 else "multiclass"
        if kind == "regression":
            names = list(self._number_names)
        if not names:
            raise DataError(f"target '{self.name}': no value is a number; pass kind=multiclass or name another column.")
        if len(names) == 1:
            known = self.numbers + self.others
            raise DataError(f"target '{self.name}' does not vary: all {known} labels are equal; name another column.")
        if kind == "regression":
            if positive is not None:
                raise DataError(f"target '{self.name}': positive={positive} needs a binary target; this is regression.")
            if transform == "p":
                self._refuse_logarithms()
            return Target(self.name, kind, unit, description, transform)
        return Target(self.name, kind, unit, description, transform, self._classes(names, kind, positive))

    @staticmethod
    def _remember(names: dict[str, None], name: str) -> None:
        if len(names) <= MAX_CLASSES:
            names[name[: MAX_NAME_CHARS + 1]] = None

    def _widen(self, numbers: NDArray[np.float64]) -> None:
        if len(numbers):
            self._range = min(self._range[0], float(numbers.min())), max(self._range[1], float(numbers.max()))

    def _refuse_logarithms(self) -> None:
        low, high = self._range
        if LOGARITHM.match(self.name) and LOGARITHMS[0] <= low and high <= LOGARITHMS[1]:
            raise DataError(
                f"target '{self.name}': by its name and its values, {low:.4g} to {high:.4g}, it is −log10 of mol/L "
                "already, and transform=p would take the logarithm twice; leave transform= out, or rename the column "
                "if it holds concentrations."
            )

    def _refuse_grouped_numbers(self) -> None:
        grouped = [text for text in self._texts if is_grouped_number(text)]
        if 2 * len(grouped) > len(self._texts):
            raise DataError(
                f"target '{self.name}': numbers like '{grouped[0]}' are ambiguous; write them without separators of "
                "thousands and with a decimal point, or with a decimal comma and ; between the cells."
            )

    def _classes(self, names: list[str], kind: TargetKind, positive: str | None) -> tuple[str, ...]:
        """Class names by index: numbers by size, texts by alphabet; binary: (negative, positive)."""
        if len(names) > MAX_CLASSES:
            raise DataError(
                f"target '{self.name}': more than {MAX_CLASSES} different values are too many for classes; "
                "name another column, or pass kind=regression to use those that are numbers."
            )
        if any(len(name) > MAX_NAME_CHARS for name in names):
            raise DataError(
                f"target '{self.name}': a label is a text of more than {MAX_NAME_CHARS} characters, which is no class; "
                "name another column, or mend the row."
            )
        numbers = {name: read_number(name) for name in names}
        ranked = sorted(names, key=lambda name: (numbers[name] is None, numbers[name] or 0.0, name))
        if kind == "multiclass":
            if positive is not None:
                raise DataError(f"target '{self.name}': positive={positive} needs a binary target; this is multiclass.")
            return tuple(ranked)
        if len(ranked) != 2:
            raise DataError(
                f"target '{self.name}': kind=binary needs two different values, {len(ranked)} came; "
                "pass kind=multiclass or kind=regression."
            )
        chosen = positive_class(ranked)
        if positive is not None:
            found = [name for name in ranked if name.casefold() == class_name(positive).casefold()]
            if len(found) != 1:
                raise DataError(f"target '{self.name}': positive={positive} is none of {ranked[0]}, {ranked[1]}.")
            chosen = found[0]
        return (*[name for name in ranked if name != chosen], chosen)


def parse_labels(
    values: Objects, target: Target, *, decimal: str = ".", censored: Literal["drop", "bound"] = "drop"
) -> Labels:
    """Read the labels of one target.

    Args:
        values: (B,) str, int, float, bool or None; texts such as NA or nan are missing too.
        decimal: `.` or `,` in numbers that came as text; separators of thousands are not read.
        censored: what becomes of `<5` and `>5`: `drop` makes the label missing, `bound` takes the 5.
            `~5` and `=5` are 5. Classes know no bounds, unless a class is named so.
    """
    if target.task.has_classes:
        return _parse_classes(values, target, decimal)
    numbers = _plain_numbers(values, decimal)
    if numbers is not None and not np.isinf(numbers).any():
        errors: dict[int, RowError] = {}
        return Labels(_transform(numbers, target, errors), errors, 0)
    y = np.full(len(values), np.nan)
    errors = {}
    bounds = 0
    unreadable = RowError("invalid_label", f"the value of '{target.name}' is not a finite number")
    bound = RowError("censored", f"the value of '{target.name}' is a bound; pass censored=bound to keep it")
    for position, value in enumerate(values.tolist()):
        if is_missing(value):
            continue
        sign, number = parse_number(value, decimal)
        if number is None or math.isinf(number):
            errors[position] = unreadable
        elif sign in BOUNDS:
            bounds += 1
            if censored == "drop":
                errors[position] = bound
            else:
                y[position] = number
        else:
            y[position] = number
    return Labels(_transform(y, target, errors), errors, bounds)


def is_wide_potency(target: Target, y: Labelled) -> bool:
    """Whether these labels are concentrations over orders of magnitude that are trained on as they are.

    Args:
        y: (n,) on the trained scale; NaN is missing.
    """
    values = y[y > 0]
    plain = not target.task.has_classes and target.transform is None and target.unit in MOLAR_UNITS
    return plain and len(values) > 0 and bool(values.max() > WIDE * values.min())


def merge_replicates(identity: Keys, y: Labelled, targets: Sequence[Target]) -> Replicates:
    """Merge the rows of one molecule or graph: median for regression, agreement for classes.

    Class labels that differ make that label missing for all rows of the identity.

    Args:
        identity: (G, 2) key of each row.
        y: (G, T) labels on the trained scale.
    """
    number, size = number_keys(identity)
    first = np.full(len(size), len(number), dtype=np.int64)
    np.minimum.at(first, number, np.arange(len(number)))
    merged = np.empty((len(size), len(targets)), dtype=np.float32)
    conflicted = np.zeros(len(size), dtype=bool)
    facts: dict[str, Any] = {}
    for column, target in enumerate(targets):
        if target.task.has_classes:
            merged[:, column], differs = _agreement(number, y[:, column], len(size))
            conflicted |= differs
            facts[target.name] = {"conflicts": int(np.count_nonzero(differs))}
        else:
            merged[:, column], facts[target.name] = _median(number, y[:, column], len(size))
    conflicted &= np.isnan(merged).all(axis=1)
    keep = np.zeros(len(number), dtype=bool)
    keep[first[~conflicted]] = True
    conflicts = conflicted[number]
    report = {
        "rows": len(number),
        "identities": len(size),
        "merged": len(number) - int(np.count_nonzero(keep)) - int(np.count_nonzero(conflicts)),
        "conflicts": int(np.count_nonzero(conflicts)),
        "targets": facts,
    }
    return Replicates(keep, merged[number], conflicts, report)


def _median(number: NDArray[np.int64], y: Labelled, num_groups: int) -> tuple[Labelled, dict[str, Any]]:
    """Median of the labels of each group, NaN without any; and how far replicates lie apart."""
    known = ~np.isnan(y)
    count = np.bincount(number[known], minlength=num_groups)
    some = count > 0
    value = y[known][np.lexsort((y[known], number[known]))]  # by group, then by size
    start = (np.cumsum(count) - count)[some]
    low, high = (value[start + middle[some]].astype(np.float64) for middle in ((count - 1) // 2, count // 2))
    median = np.full(num_groups, np.nan, dtype=np.float32)
    median[some] = (low + high) / 2
    total = np.add.reduceat(value, start, dtype=np.float64) if len(start) else np.zeros(0)
    away = value - np.repeat(total / count[some], count[some])
    squares = float(away @ away)
    repeated = count > 1
    freedom = int((count[repeated] - 1).sum())
    return median, {
        "replicates": {"identities": int(np.count_nonzero(repeated)), "rows": int(count[repeated].sum())},
        "spread": math.sqrt(squares / freedom) if freedom else None,
    }


def _agreement(number: NDArray[np.int64], y: Labelled, num_groups: int) -> tuple[Labelled, NDArray[np.bool_]]:
    """The common class of each group, NaN without any or where they differ; and where they differ."""
    known = ~np.isnan(y)
    low = np.full(num_groups, np.inf, dtype=np.float32)
    high = np.full(num_groups, -np.inf, dtype=np.float32)
    np.minimum.at(low, number[known], y[known])
    np.maximum.at(high, number[known], y[known])
    differs = low < high
    return np.where(low == high, low, np.float32(np.nan)), differs


def _parse_classes(values: Objects, target: Target, decimal: str) -> Labels:
    index = {name: float(i) for i, name in enumerate(target.classes)}
    y = np.full(len(values), np.nan, dtype=np.float32)
    errors: dict[int, RowError] = {}
    unknown = RowError("invalid_label", f"the value of '{target.name}' is none of its {len(index)} classes")
    seen: dict[tuple[type, Any], float | None] = {}  # few values stand in many rows
    for position, typed in enumerate(_typed(values)):
        if typed not in seen:
            seen[typed] = math.nan if is_missing(typed[1]) else index.get(class_name(typed[1], decimal))
        found = seen[typed]
        if found is None:
            errors[position] = unknown
        else:
            y[position] = found
    return Labels(y, errors, 0)


def _transform(y: NDArray[np.float64], target: Target, errors: dict[int, RowError]) -> Labelled:
    """Bring values to the trained scale; notes in `errors` what cannot be brought there."""
    if target.transform is not None:
        refused = np.flatnonzero(y <= 0)
        detail = f"transform={target.transform} of '{target.name}' needs a value above 0"
        errors.update(dict.fromkeys(refused.tolist(), RowError("invalid_label", detail)))
        y[refused] = np.nan
        y = transform(target, y)
    with np.errstate(over="ignore"):
        trained = y.astype(np.float32)
    too_large = np.flatnonzero(np.isinf(trained))
    detail = f"the value of '{target.name}' is too large for float32"
    errors.update(dict.fromkeys(too_large.tolist(), RowError("invalid_label", detail)))
    trained[too_large] = np.nan
    return trained


def _plain_numbers(values: Objects, decimal: str) -> NDArray[np.float64] | None:
    """All values as numbers, None as NaN; or None where some need a closer look. Ten times faster than one by one."""
    listed = values.tolist()
    kinds = set(map(type, listed))
    if decimal != "." or bool in kinds or (str in kinds and any("_" in v for v in listed if type(v) is str)):
        return None
    try:
        return values.astype(np.float64)
    except (ValueError, TypeError, OverflowError):
        return None


def _typed(values: Objects) -> Iterator[tuple[type, Any]]:
    """Values with their types, as keys of a dict: True is not 1."""
    listed = values.tolist()
    return zip(map(type, listed), listed, strict=True)
