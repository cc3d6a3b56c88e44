"""Which feature columns of a graph table are numbers and which are categories; and their values as numpy arrays.

Columns come as Arrow arrays, batch by batch: typed ones from Parquet, text from CSV.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, RowError
from pipeline.rows.delimited import MAX_NAME_CHARS
from pipeline.rows.table import MISSING_WORDS, parse_numbers
from pipeline.samples.graph.columns import category_text
from pipeline.schema import Column

MAX_INTEGER_CATEGORIES = 32
MAX_CATEGORIES = 32_767  # their codes fit 16 bits

_WHOLE = re.compile(r"[-+]?[0-9]+")

Kind = Literal["categorical", "numeric"]


class KindScan:
    """Settle the kind and the categories of one column from all its batches; memory is bounded.

    Fractions are numbers; text and booleans are categories; whole numbers are categories if at most 32 of them
    differ. Words like `NA` are missing numbers, or categories like any other.

    Args:
        path: the file, for errors.
        text: the cells are text whatever they mean (CSV).
        decimal: the decimal sign of text.
        kind: what the user asked for, None to infer.
    """

    def __init__(self, path: Path, name: str, *, text: bool, decimal: str = ".", kind: Kind | None = None) -> None:
        self.path, self.name, self.kind = path, name, kind
        self._text, self._decimal = text, decimal
        self._found: set[str] = set()  # of whole, fraction, word
        self._distinct: set[str] = set()

    def add(self, values: Any) -> None:
        """Take one batch (an Arrow array)."""
        import pyarrow as pa

        if self.kind == "numeric":
            if pa.types.is_boolean(values.type):
                raise self._error("is boolean and cannot be numeric; take it out of numeric=")
            return
        if self.kind is None and pa.types.is_floating(values.type):
            self._found.add("fraction")
            return
        if self._text and self._found == {"fraction"} and self.kind is None and _as_floats(values, self._decimal)[0]:
            return  # the usual case for numbers in CSV, without a Python loop
        for value in values.unique().to_pylist():
            text = category_text(value)
            if text is not None:
                self._take(value, text)

    def column(self) -> Column:
        """The column as it goes into the schema; categories in order, whole numbers first.

        Raises:
            DataError: if it mixes fractions with words, or has too many categories.
        """
        kind = self.kind or self._inferred()
        if kind == "numeric":
            return Column(self.name, "numeric")
        if len(self._distinct) > MAX_CATEGORIES:
            raise self._error(
                f"has more than {MAX_CATEGORIES} different texts and cannot be a category; drop it, or pass "
                f"numeric={self.name} if they are numbers"
            )
        if any(len(text) > MAX_NAME_CHARS for text in self._distinct):
            raise self._error(f"holds a text of more than {MAX_NAME_CHARS} characters, which is no category; drop it")
        return Column(self.name, "categorical", tuple(sorted(self._distinct, key=_category_order)))

    def _take(self, value: object, text: str) -> None:
        if len(self._distinct) <= MAX_CATEGORIES:
            self._distinct.add(text[: MAX_NAME_CHARS + 1])
        if not isinstance(value, str):
            self._found.add("whole" if isinstance(value, int) and not isinstance(value, bool) else "word")
        elif not self._text:
            self._found.add("word")
        elif _WHOLE.fullmatch(value.strip()):
            self._found.add("whole")
        elif value.strip().lower() not in MISSING_WORDS:
            numbers, bad = parse_numbers(np.array([value], dtype=object), self._decimal)
            self._found.add("word" if bad[0] or np.isnan(numbers[0]) else "fraction")

    def _inferred(self) -> Kind:
        if self._found >= {"fraction", "word"}:
            raise self._error(
                f"has fractions and words; pass numeric={self.name} (graphs with a word in it are left out) "
                f"or categorical={self.name}"
            )
        many = len(self._distinct) > MAX_INTEGER_CATEGORIES
        return "numeric" if "fraction" in self._found or (self._found == {"whole"} and many) else "categorical"

    def _error(self, what: str) -> DataError:
        return DataError(f"{self.path}: column '{self.name}' {what}.")


def encode_array(
    values: Any, column: Column, where: str, decimal: str = "."
) -> tuple[NDArray[Any], list[tuple[NDArray[np.bool_], RowError]]]:
    """Turn one batch of a column into codes or numbers; agrees with `columns.encode` on the same values.

    Args:
        values: an Arrow array (B,). Text is read as numbers in a numeric column: CSV knows nothing else.
        where: what the error calls the table, `nodes.csv` for one.

    Returns:
        (B,) int32 codes or float32 numbers, and for each thing that is wrong: in which rows (B,), and why.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.kind == "categorical":
        codes = {name: code for code, name in enumerate(column.categories, 1)}
        packed = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
        table = [codes.get(category_text(value) or "", 0) for value in packed.dictionary.to_pylist()]
        index = pc.fill_null(packed.indices, len(table)).to_numpy(zero_copy_only=False)
        return np.array([*table, 0], dtype=np.int32)[index], []
    if pa.types.is_boolean(values.type):
        wrong, numbers = np.ones(len(values), dtype=bool), np.full(len(values), np.nan)
    else:
        fine, numbers = _as_floats(values, decimal)
        wrong = np.zeros(len(values), dtype=bool)
        if not fine:
            numbers, wrong = parse_numbers(np.array(values.to_pylist(), dtype=object), decimal)
    with np.errstate(over="ignore"):
        narrow = numbers.astype(np.float32)
    label = f"{where} column '{column.name}'"
    problems = [
        (wrong, RowError("wrong_type", f"{label} takes numbers")),
        (np.isinf(narrow), RowError("not_finite", f"{label} has a number that is infinite or beyond 32 bits")),
    ]
    return narrow, [(rows, error) for rows, error in problems if rows.any()]


def _as_floats(values: Any, decimal: str) -> tuple[bool, NDArray[np.float64]]:
    """Read a whole array as numbers at once; False if a cell needs a closer look."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if decimal == "," and pa.types.is_string(values.type):
            if pc.any(pc.match_substring(values, ".")).as_py():
                return False, np.zeros(0)
            values = pc.replace_substring(values, ",", ".")
        numbers = values.cast(pa.float64(), safe=False)
    except pa.ArrowException:
        return False, np.zeros(0)
    return True, numbers.to_numpy(zero_copy_only=False).astype(np.float64)


def _category_order(text: str) -> tuple[bool, int, str]:
    whole = _WHOLE.fullmatch(text) is not None and len(text) < 20
    return not whole, int(text) if whole else 0, text
