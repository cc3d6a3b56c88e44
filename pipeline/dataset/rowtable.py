"""What the rows of a part say beside their graph: labels, features, side and time; and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.labels import parse_labels
from pipeline.dataset.split import NO_SIDE, parse_sides, parse_times
from pipeline.errors import RowError
from pipeline.samples.source import parse_features

if TYPE_CHECKING:
    from pipeline.dataset.config import PrepareConfig
    from pipeline.dataset.opened import Opened
    from pipeline.samples.source import Part


class RowTable(NamedTuple):
    """Labels, features and side of every row of a part (B rows)."""

    y: NDArray[np.float32]  # (B, T)
    u: NDArray[np.float32]  # (B, U)
    given: NDArray[np.int8]  # (B,)
    time: NDArray[np.float64]  # (B,)
    errors: dict[int, RowError]
    leaving: set[int]  # the rows that cannot stay
    bounds: int  # labels like `>10` that were taken as 10


def read_row_table(part: Part, opened: Opened, config: PrepareConfig) -> RowTable:
    """Read labels, features and side of each row of a part, and say which rows cannot stay and why."""
    size = len(part.rows.number)
    schema = opened.schema
    errors: dict[int, RowError] = {**part.errors, **part.rows.errors}
    leaving = set(errors)
    y = np.full((size, len(schema.targets)), np.nan, dtype=np.float32)
    label_errors: dict[int, RowError] = {}
    bounds = 0
    for t, target in enumerate(schema.targets):
        labels = parse_labels(
            part.rows.values[target.name],
            target,
            decimal=opened.data.decimal_of(target.name),
            censored=config.censored,
        )
        y[:, t] = labels.y
        bounds += labels.censored if config.censored == "bound" else 0
        label_errors |= {position: error for position, error in labels.errors.items() if position not in leaving}
    for position in np.flatnonzero(np.isnan(y).all(axis=1)):
        if position not in leaving:
            leaving.add(int(position))
            errors[int(position)] = label_errors.get(int(position), RowError("no_label", "no target has a value"))
    errors = {**label_errors, **errors}
    u, wrong = parse_features(part.rows.values, schema.graph_columns, opened.data.decimal_of, size)
    errors = wrong | errors
    leaving |= set(wrong)
    given = np.full(size, NO_SIDE, dtype=np.int8)
    time = np.full(size, np.nan)
    if opened.side_column:
        given = parse_sides(part.rows.values[opened.side_column])
        for position in np.flatnonzero(given == NO_SIDE):
            detail = f"column '{opened.side_column}' does not say train, validation or test"
            errors.setdefault(int(position), RowError("no_split", detail))
            leaving.add(int(position))
    elif opened.source.split == "time":
        column = str(config.time_column)
        time = parse_times(part.rows.values[column], opened.data.decimal_of(column), config.time_format)
        for position in np.flatnonzero(np.isnan(time)):
            wanted = (
                f"date like {config.time_format}" if config.time_format else "number or ISO date (see time_format=)"
            )
            detail = f"column '{column}' holds no {wanted}"
            errors.setdefault(int(position), RowError("no_split", detail))
            leaving.add(int(position))
    return RowTable(y, u, given, time, errors, leaving, bounds)
