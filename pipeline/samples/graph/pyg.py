"""A function that returns PyG `Data` objects → a folder of graph tables, so that there is one way in.

    x -> x0, x1, ...   edge_attr -> e0, e1, ...   y -> y (or y0, y1, ...)   split, name -> the same

Whole numbers stay whole, so that the tables' rule settles what is a category.
"""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError, PipelineError

CHUNK_GRAPHS = 1024

Array = NDArray[Any]
Columns = dict[str, Array]


def write_graph_tables(dataset: str, folder: str | Path, *, directed: bool = False) -> Path:
    """Call a function that returns `Data` objects (a list, a PyG data set, a generator) and write Parquet tables.

    Args:
        dataset: `module:function`; the module is found as if Python were started in the current directory.
        folder: what is there already is replaced when the tables are whole.
        directed: one row for each edge. Otherwise each edge must stand in both directions with the same features,
            as PyG keeps undirected graphs, and the two become one row; a self loop is one row.

    Returns:
        The folder, absolute.

    Raises:
        ConfigError: if the name does not lead to a function.
        DataError: if the function fails, returns something else, or graphs differ in their fields.
    """
    folder = Path(folder).expanduser().absolute()
    graphs = _graphs(dataset)
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        part.mkdir(parents=True)
        _write(graphs, part, dataset, directed)
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror or error}).") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _graphs(dataset: str) -> Iterator[Any]:
    module_name, _, name = dataset.partition(":")
    if not module_name or not name:
        raise ConfigError(f"dataset={dataset}: module:function is wanted, for example dataset=my_data:load.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module_name), name, None)
    except Exception as error:  # the user's module can raise anything
        raise ConfigError(f"dataset={dataset}: cannot import {module_name} ({_one_line(error)}).") from error
    if not callable(function):
        raise ConfigError(f"dataset={dataset}: {module_name} has no function '{name}'.")
    return _guarded(function, dataset)


def _guarded(function: Any, dataset: str) -> Iterator[Any]:
    """Iterate over what the user's function returns; what it raises becomes one line with its cause."""
    try:
        yield from function()
    except PipelineError:
        raise
    except Exception as error:
        raise DataError(f"dataset={dataset}: the function failed ({_one_line(error)}).") from error


def _write(graphs: Iterator[Any], folder: Path, dataset: str, directed: bool) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writers: dict[str, Any] = {}
    formats: dict[str, dict[str, str]] = {}
    first = 0
    try:
        while taken := list(itertools.islice(graphs, CHUNK_GRAPHS)):
            pieces: dict[str, list[Columns]] = {"graphs": [], "nodes": [], "edges": []}
            for number, data in enumerate(taken, first + 1):
                for name, columns in _tables(data, number, dataset, directed).items():
                    if name == "edges" and not len(columns["source"]):
                        continue  # such a graph may lack edge_attr
                    _compare(formats.setdefault(name, _format(columns)), columns, dataset, number)
                    pieces[name].append(columns)
            for name, parts in pieces.items():
                if not parts:
                    continue
                table = pa.table({key: np.concatenate([part[key] for part in parts]) for key in parts[0]})
                if name not in writers:
                    writers[name] = pq.ParquetWriter(folder / f"{name}.parquet", table.schema)
                writers[name].write_table(table.cast(writers[name].schema))
            first += len(taken)
    finally:
        for writer in writers.values():
            writer.close()
    if not first:
        raise DataError(f"dataset={dataset}: the function returned no graphs.")
    if "edges" not in writers:
        raise DataError(f"dataset={dataset}: no graph has an edge; a graph network has nothing to learn from them.")


def _tables(data: Any, number: int, dataset: str, directed: bool) -> dict[str, Columns]:
    """The rows of one graph in the three tables."""
    from torch_geometric.data import Data

    where = f"dataset={dataset}: graph {number}"
    if not isinstance(data, Data):
        raise DataError(f"{where} is a {type(data).__name__}; torch_geometric.data.Data is wanted.")
    num_nodes = int(data.num_nodes or 0)
    x = _matrix(data.x, num_nodes, "x", where)
    ends = np.zeros((2, 0), dtype=np.int64) if data.edge_index is None else _numpy(data.edge_index, "edge_index", where)
    if ends.dtype.kind not in "iu":
        raise DataError(f"{where}: edge_index is {ends.dtype}; whole numbers are wanted.")
    ends = ends.astype(np.int64)
    if ends.ndim != 2 or len(ends) != 2:
        raise DataError(f"{where}: edge_index has the shape {ends.shape}; (2, edges) is wanted.")
    edge_attr = _matrix(data.edge_attr, ends.shape[1], "edge_attr", where)
    rows = np.arange(ends.shape[1]) if directed else _one_way(ends, edge_attr, where)
    graphs: Columns = {"graph_id": np.array([number])} | _labels(data.y, where)
    for name in ("name", "split"):
        if name in data:
            graphs[name] = np.array([str(data[name])], dtype=object)
    nodes = {"graph_id": np.full(num_nodes, number), "node_id": np.arange(num_nodes)}
    edges = {"graph_id": np.full(len(rows), number), "source": ends[0, rows], "target": ends[1, rows]}
    return {
        "graphs": graphs,
        "nodes": nodes | {f"x{i}": column for i, column in enumerate(x.T)},
        "edges": edges | {f"e{i}": column for i, column in enumerate(edge_attr[rows].T)},
    }


def _one_way(ends: Array, edge_attr: Array, where: str) -> Array:
    """Pick one of the two directions of each edge, and self loops.

    Raises:
        DataError: if an edge does not stand in both directions with the same features.
    """
    source, target = ends
    forth, back = np.flatnonzero(source < target), np.flatnonzero(source > target)
    columns = [*edge_attr.T, target, source]
    flipped = [*edge_attr.T, source, target]
    forth_sorted = forth[np.lexsort([column[forth] for column in columns])]
    back_sorted = back[np.lexsort([column[back] for column in flipped])]
    same = len(forth) == len(back) and all(
        np.array_equal(a[forth_sorted], b[back_sorted], equal_nan=a.dtype.kind == "f")
        for a, b in zip(columns, flipped, strict=True)
    )
    if not same:
        raise DataError(
            f"{where} has edges that do not stand in both directions with the same features; pass directed=true, "
            "or apply torch_geometric.transforms.ToUndirected()."
        )
    return np.flatnonzero(source <= target)


def _labels(y: Any, where: str) -> Columns:
    if y is None:
        return {}
    values = np.atleast_1d(_numpy(y, "y", where)).reshape(-1)
    if len(values) == 1:
        return {"y": values}
    return {f"y{i}": values[i : i + 1] for i in range(len(values))}


def _matrix(values: Any, size: int, name: str, where: str) -> Array:
    """A feature field as (size, F); None has no columns."""
    if values is None:
        return np.zeros((size, 0))
    matrix = _numpy(values, name, where)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or len(matrix) != size:
        raise DataError(f"{where}: {name} has the shape {tuple(matrix.shape)}; ({size}, features) is wanted.")
    return matrix


def _numpy(values: Any, name: str, where: str) -> Array:
    import torch

    try:
        tensor = torch.as_tensor(values).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{where}: {name} is no tensor of numbers ({_one_line(error)}).") from None
    if tensor.is_complex():
        raise DataError(f"{where}: {name} is complex; real numbers are wanted.")
    tensor = tensor.to_dense() if tensor.layout != torch.strided else tensor
    return (tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).numpy()


def _format(columns: Columns) -> dict[str, str]:
    return {name: column.dtype.kind for name, column in columns.items()}


def _compare(wanted: Mapping[str, str], columns: Columns, dataset: str, number: int) -> None:
    found = _format(columns)
    if found != wanted:
        raise DataError(
            f"dataset={dataset}: graph {number} has the fields {_listed(found)}, the first graph {_listed(wanted)}; "
            "all graphs need the same (labels of nodes are not supported yet)."
        )


def _listed(fields: Mapping[str, str]) -> str:
    kinds = {"f": "float", "i": "int", "u": "int", "b": "bool", "O": "text"}
    return ", ".join(f"{name} {kinds.get(kind, kind)}" for name, kind in fields.items() if not name.endswith("_id"))


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
