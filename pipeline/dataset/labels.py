"""Labels: which kind a target is, and the values of a column as numbers."""

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
    parse_percent,
    positive_class,
)
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


class LabelScan:
    """Finds out, chunk by chunk and in bounded memory, what kind of target a column is.

    Only 0 and 1, or true and false: binary. Texts: binary if two differ, multi-class up to `MAX_CLASSES`. Other
    numbers: regression; bounds and approximate values (`<5`, `~3`) are numbers too. Where nine in ten values are
    numbers, the others count as unreadable. Two words are binary however their letters are cased.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = 0
        self.numbers = 0  # values that are numbers
        self.others = 0  # values that are not
        self._number_names: dict[str, None] = {}  # distinct ones, in order, at most MAX_CLASSES + 1
        self._texts: dict[str, None] = {}
        self._percents: dict[str, None] = {}  # those of the texts that are numbers with a percent sign
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
                if parse_percent(value, decimal) is not None:
                    self._remember(self._percents, name)
            else:
                self.numbers += count
                self._widen(np.array([number]))
                self._remember(self._number_names, name)

    @property
    def varies(self) -> bool:
        """Whether there are two different values; else nothing can be learned."""
        return len(self._number_names) + len(self._texts) > 1

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
            self._refuse_percents(kind)
        names = list(self._number_names) if numeric else [*self._number_names, *self._texts]
        if not numeric and kind in (None, "binary"):
            names = _one_spelling(names)
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
            names = list(self._number_names or self._percents)
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

    def _refuse_percents(self, kind: str | None) -> None:
        """Numbers with a percent sign are read where the user says so, and only where all of them have it."""
        if 2 * len(self._percents) <= len(self._texts):
            return
        one = next(iter(self._percents))
        if kind is None:
            raise DataError(
                f"target '{self.name}': values like '{one}' have a percent sign; pass kind=regression to read them as "
                "numbers of percent, or take the sign out."
            )
        if self.numbers:
            raise DataError(
                f"target '{self.name}': some values have a percent sign, as '{one}', {self.numbers} have none; "
                "write all of them in one way."
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
        number = parse_percent(value, decimal) if number is None else number
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


def _one_spelling(names: Sequence[str]) -> list[str]:
    """`TRUE`, `FALSE` and `true` are two classes, each as it came first; names that case tells apart stay."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(name.casefold(), name)
    return list(first.values()) if len(first) == 2 else list(names)


def _parse_classes(values: Objects, target: Target, decimal: str) -> Labels:
    index = {name: float(i) for i, name in enumerate(target.classes)}
    folded = {name.casefold(): i for name, i in index.items()} if target.kind == "binary" else {}
    y = np.full(len(values), np.nan, dtype=np.float32)
    errors: dict[int, RowError] = {}
    unknown = RowError("invalid_label", f"the value of '{target.name}' is none of its {len(index)} classes")
    seen: dict[tuple[type, Any], float | None] = {}  # few values stand in many rows
    for position, typed in enumerate(_typed(values)):
        if typed not in seen:
            name = class_name(typed[1], decimal)
            seen[typed] = math.nan if is_missing(typed[1]) else index.get(name, folded.get(name.casefold()))
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
