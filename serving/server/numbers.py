"""Numbers of a request that are none: MLflow would read text and booleans under a number column as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from serving.server.inference import Column


def take_out(asked: Any, columns: list[Column]) -> dict[int, str]:
    """Set everything but numbers to null, in place, wherever a column of numbers is asked for.

    Args:
        asked: body of `/invocations`, in any of its four forms; one that is none of them is left as it is.

    Returns:
        The column of each row that held another type.
    """
    found: dict[int, str] = {}
    for name in [column["name"] for column in columns if column["type"] == "double"]:
        for row, place, key in _places(asked, name):
            value = place[key]
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                place[key] = None
                found[row] = name
    return found


def _places(asked: Any, name: str) -> Iterator[tuple[int, Any, Any]]:
    """Row, and the object or list that holds its value at a key."""
    for form, rows in asked.items() if isinstance(asked, dict) else ():
        if form == "dataframe_split" and isinstance(rows, dict):
            names, data = rows.get("columns"), rows.get("data")
            if isinstance(names, list) and isinstance(data, list) and names.count(name) == 1:
                place = names.index(name)
                yield from ((k, row, place) for k, row in enumerate(data) if isinstance(row, list) and len(row) > place)
        elif form == "inputs" and isinstance(rows, dict):
            values = rows.get(name)
            yield from ((k, values, k) for k in range(len(values) if isinstance(values, list) else 0))
        elif form in ("dataframe_records", "instances", "inputs") and isinstance(rows, list):
            yield from ((k, row, name) for k, row in enumerate(rows) if isinstance(row, dict) and name in row)
