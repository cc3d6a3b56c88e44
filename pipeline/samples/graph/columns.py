"""Columns of a graph's nodes and edges ⇄ Graph; the same code in training and in serving.

nodes {"symbol": ["C", "O"]}, edges {"source": [0], "target": [1], "order": [1]}  ⇄  Graph
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RowError
from pipeline.graph import Graph
from pipeline.schema import Column, Schema

NODE_ID = "node_id"
"""A request may carry it: its length is the number of nodes where nodes have no other column."""

_PLAIN_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_NUMBERS = (int, float, np.integer, np.floating)


def category_text(value: object) -> str | None:
    """Write a category so that equal things look equal: 1, 1.0 and "1.0" are "1", True and "TRUE" are "true".

    Leading zeros stay ("007" is a name). None, NaN and blank text are None.

    Raises:
        TypeError: if the value is no text, number or boolean.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return _tidy(value.strip())
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        return str(value) if -(2**63) <= value < 2**64 else "beyond 64 bits"
    if isinstance(value, float | np.floating):
        return None if math.isnan(value) else _tidy(str(value))
    raise TypeError(type(value).__name__)


def encode(values: Sequence[object] | NDArray[Any], column: Column, where: str) -> NDArray[Any]:
    """Turn the values of one column into category codes or numbers.

    Args:
        values: (N,) text, numbers, booleans, None.
        where: what the error calls the table, "nodes" for one.

    Returns:
        (N,) int32 codes, 0 for unknown or missing; or (N,) float32, NaN for missing.

    Raises:
        RowError: `wrong_type` if a category is no scalar or a number is text or boolean; `not_finite`.
    """
    if column.kind == "categorical":
        codes = _codes(column.categories)
        try:
            return np.array([codes.get(category_text(value), 0) for value in values], dtype=np.int32)
        except TypeError:
            raise RowError("wrong_type", f"{where} column '{column.name}' takes text, numbers or booleans") from None
    return _numbers(values, f"{where} column '{column.name}'")


def build_graph(nodes: object, edges: object, features: Mapping[str, object], schema: Schema) -> Graph:
    """Build the graph of one request row.

    Args:
        nodes: equally long lists by column name; other columns than the schema's are ignored.
        edges: the same, with `source` and `target` as 0-based positions of nodes. In an undirected schema each row
            becomes the edges 2k and 2k+1.
        features: values by name, of which the schema's graph columns are taken.

    Returns:
        The graph; `y` is NaN.

    Raises:
        RowError: `missing`, `wrong_type`, `length_mismatch`, `index_out_of_range`, `too_large`, `not_finite`.
    """
    limits = schema.limits
    node_lists, num_nodes = _lists(nodes, "nodes", [column.name for column in schema.node_columns] or [NODE_ID])
    if num_nodes == 0:
        raise RowError("missing", "the graph has no nodes")
    names = [column.name for column in schema.edge_columns]
    edge_lists, num_rows = _lists(edges, "edges", ["source", "target", *names])
    num_edges = num_rows if schema.directed else 2 * num_rows
    if num_nodes > limits.max_nodes or num_edges > limits.max_edges:
        raise RowError(
            "too_large",
            f"{num_nodes} nodes and {num_edges} directed edges; {limits.max_nodes} and {limits.max_edges} are allowed",
        )
    ends = np.stack([_indices(edge_lists[end], f"edges column '{end}'", num_nodes) for end in ("source", "target")])
    x, x_float = _encoded(node_lists, schema.node_columns, "nodes", num_nodes)
    edge_attr, edge_float = _encoded(edge_lists, schema.edge_columns, "edges", num_rows)
    if not schema.directed:
        ends, edge_attr, edge_float = both_ways(ends), np.repeat(edge_attr, 2, 0), np.repeat(edge_float, 2, 0)
    u = np.array([read_feature(features.get(c.name), c) for c in schema.graph_columns], dtype=np.float32)
    y = np.full(len(schema.targets), np.nan, dtype=np.float32)
    return Graph(x, x_float, ends, edge_attr, edge_float, u, y)


def graph_columns(graph: Graph, schema: Schema) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Write a graph as the nodes and edges of a request; `build_graph` of them is the graph again."""
    step = 1 if schema.directed else 2
    nodes = _decoded(graph.x, graph.x_float, schema.node_columns)
    if not nodes:
        nodes[NODE_ID] = list(range(graph.num_nodes))
    source, target = graph.edge_index[:, ::step].tolist()
    edges = {"source": source, "target": target}
    edges |= _decoded(graph.edge_attr[::step], graph.edge_float[::step], schema.edge_columns)
    return nodes, edges


def read_feature(value: object, column: Column) -> np.float32:
    """One feature of a whole graph, of a request.

    Raises:
        RowError: `missing`, `wrong_type` or `not_finite`.
    """
    if value is None:
        raise RowError("missing", f"the feature '{column.name}' is empty")
    number: np.float32 = _numbers([value], f"the feature '{column.name}'")[0]
    if np.isnan(number):
        raise RowError("not_finite", f"the feature '{column.name}' is not a number")
    return number


def both_ways(ends: NDArray[np.int32]) -> NDArray[np.int32]:
    """Put behind each edge its reverse.  # (2, R) -> (2, 2R)"""
    return np.stack([ends, ends[::-1]], axis=2).reshape(2, -1)


def _tidy(text: str) -> str | None:
    if _PLAIN_NUMBER.fullmatch(text) and ("." in text or text == "-0"):
        number = float(text)
        return str(int(number)) if number.is_integer() else str(number)
    if text.lower() in ("true", "false"):
        return text.lower()
    return text or None


@lru_cache(maxsize=256)  # one entry a column; building it anew for each request row would cost more than the row
def _codes(categories: tuple[str, ...]) -> dict[str | None, int]:
    return {name: code for code, name in enumerate(categories, 1)}


def _numbers(values: Sequence[object] | NDArray[Any], where: str) -> NDArray[np.float32]:
    kinds = {type(value) for value in values} - {type(None)}
    if any(not issubclass(kind, _NUMBERS) or issubclass(kind, bool) for kind in kinds):
        raise RowError("wrong_type", f"{where} takes numbers")
    try:
        numbers = np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    except OverflowError:  # a whole number beyond float64
        raise RowError("not_finite", f"{where} has a number that is too large") from None
    with np.errstate(over="ignore"):
        narrow = numbers.astype(np.float32)
    if np.isinf(narrow).any():
        raise RowError("not_finite", f"{where} has a number that is infinite or beyond 32 bits")
    return narrow


def _lists(table: object, where: str, names: Sequence[str]) -> tuple[dict[str, Any], int]:
    """Take the named columns out of a table; an empty table of edges need not name its feature columns."""
    if table is None:
        raise RowError("missing", f"{where} is empty")
    if not isinstance(table, Mapping):
        raise RowError("wrong_type", f"{where} is no object of lists")
    lists: dict[str, Any] = {}
    for name in names:
        if name not in table or table[name] is None:
            if where == "edges" and lists.keys() >= {"source", "target"} and not len(lists["source"]):
                lists[name] = ()
                continue
            raise RowError("missing", f"{where} has no column '{name}'")
        values = table[name]
        if not isinstance(values, list | tuple) and not (isinstance(values, np.ndarray) and values.ndim == 1):
            raise RowError("wrong_type", f"{where} column '{name}' is no list")
        lists[name] = values
    lengths = {len(values) for values in lists.values()}
    if len(lengths) > 1:
        raise RowError("length_mismatch", f"the columns of {where} have {min(lengths)} to {max(lengths)} values")
    return lists, lengths.pop()


def _indices(values: Sequence[object], where: str, num_nodes: int) -> NDArray[np.int32]:
    kinds = {type(value) for value in values}
    if type(None) in kinds:
        raise RowError("missing", f"{where} has an empty value")
    if any(not issubclass(kind, _NUMBERS) or issubclass(kind, bool) for kind in kinds):
        raise RowError("wrong_type", f"{where} takes whole numbers")
    if any(isinstance(value, float | np.floating) and not value.is_integer() for value in values):  # nor NaN
        raise RowError("wrong_type", f"{where} takes whole numbers")
    if len(values) and not (min(values) >= 0 and max(values) < num_nodes):  # type: ignore[type-var, operator]
        raise RowError("index_out_of_range", f"{where} names a node that is not there; the graph has {num_nodes}")
    return np.array(values, dtype=np.int32)


def _encoded(
    lists: Mapping[str, Sequence[object]], columns: Sequence[Column], where: str, size: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Codes (size, F) and numbers (size, R) of all columns."""
    codes = [encode(lists[column.name], column, where) for column in columns if column.kind == "categorical"]
    numbers = [encode(lists[column.name], column, where) for column in columns if column.kind == "numeric"]
    return stack_columns(codes, size, np.int32), stack_columns(numbers, size, np.float32)


def stack_columns(columns: Sequence[NDArray[Any]], size: int, dtype: Any) -> NDArray[Any]:
    """Put columns side by side; none of them makes (size, 0)."""
    return np.stack(columns, axis=1).astype(dtype, copy=False) if columns else np.zeros((size, 0), dtype)


def _decoded(codes: NDArray[Any], numbers: NDArray[Any], columns: Sequence[Column]) -> dict[str, list[Any]]:
    decoded: dict[str, list[Any]] = {}
    next_code = next_number = 0
    for column in columns:
        if column.kind == "categorical":
            values = [None, *map(_json_value, column.categories)]
            decoded[column.name] = [values[code] for code in codes[:, next_code]]
            next_code += 1
        else:  # by way of text: 0.1, not 0.10000000149011612
            decoded[column.name] = [None if np.isnan(v) else float(str(v)) for v in numbers[:, next_number]]
            next_number += 1
    return decoded


def _json_value(category: str) -> str | int | bool:
    if category in ("true", "false"):
        return category == "true"
    return int(category) if _PLAIN_NUMBER.fullmatch(category) and "." not in category else category
