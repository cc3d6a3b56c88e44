"""The store: a folder with all graphs of a data set as memory-mapped flat tensors, and `manifest.json`.

    manifest.json               schema, counts, statistics, size and sha256 of every other file
    rows.parquet                source row, id and side of each graph, for people
    tensors/                    a TensorDict, one raw file a tensor, narrowest safe integers
        nodes/code, table       (N,), (C, F): row of the table of distinct rows of x, and that table;
                                where there are more than 32767 distinct rows: no code, and the table is x itself
        nodes/x_float           (N, R) float32
        edges/index             (B, 2) both ends of each undirected bond, once; source and target of directed edges
        edges/code, table       (B,), (C', D)
        edges/edge_float        (B, Q) float32
        graphs/node_ptr, edge_ptr   (G + 1,) first row of each graph in nodes/ and edges/
        graphs/y, u, split, row     (G, T), (G, U) float32, (G,), (G,)

A molecule of 22 atoms takes about 130 bytes.
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict

from pipeline.dataset.split import TRAIN
from pipeline.dataset.spool import Spool
from pipeline.errors import StoreError
from pipeline.graph import Floats, Graph, Ints
from pipeline.samples.kinds import kind_of
from pipeline.schema import Schema
from pipeline.store.files import Layout, StoredGraphs, write_manifest, write_rows, write_tensors
from pipeline.store.manifest import MANIFEST, ROWS, TENSORS, check_store, damaged
from pipeline.store.ragged import Ragged
from pipeline.store.survey import Survey


class CategoryRows(NamedTuple):
    """Rows of category codes, as a table and a code where that is shorter."""

    code: Ints | None  # (N,)
    table: Ints  # (C, copies, F) int64, or (N, F) as stored without a code
    copies: int  # edges of a stored one: 2 for a bond

    @property
    def stored(self) -> Ints:
        """What the store has for each row.  # (N, ...)"""
        return self.table if self.code is None else self.code

    def decode(self, stored: Ints) -> Ints:
        """Rows as stored (K, ...) as rows of categories, each `copies` times.  # (K * copies, F) int64"""
        if self.code is None:
            return stored.repeat(self.copies, axis=0).astype(np.int64, copy=False)
        return self.table.take(stored, axis=0).reshape(len(stored) * self.copies, self.table.shape[-1])


class Arrays(NamedTuple):
    """The tensors of a store as read-only numpy arrays on the same memory."""

    x: CategoryRows
    x_float: Floats  # (N, R)
    edge_index: Ints  # (B, 2)
    edge_attr: CategoryRows
    edge_float: Floats  # (B, Q)
    node_ptr: Ints  # (G + 1,)
    edge_ptr: Ints  # (G + 1,)
    u: Floats  # (G, U)
    y: Floats  # (G, T)
    split: Ints  # (G,)
    row: Ints  # (G,)


@dataclass(frozen=True, eq=False)
class Store:
    """An opened store. Pickling one keeps only its path.

    Attributes:
        manifest: `schema`, `num_graphs`, `num_nodes`, `num_edges` (directed), `sides`, `statistics`, `tensors`,
            `files`, `digest`, and `source`: what the writer was told about the data.
        schema: with `train_counts` filled in.
        tensors: memory-mapped and locked, batch_size []; writing into one never reaches the files.
    """

    folder: Path
    manifest: dict[str, Any]
    schema: Schema
    tensors: TensorDict

    def __reduce__(self) -> tuple[Callable[[Path], Store], tuple[Path]]:
        return open_store, (self.folder,)

    @property
    def digest(self) -> str:
        """sha256 of the manifest, and so of everything in the store."""
        return str(self.manifest["digest"])

    @property
    def num_graphs(self) -> int:
        return int(self.manifest["num_graphs"])

    @property
    def num_nodes(self) -> int:
        return int(self.manifest["num_nodes"])

    @property
    def num_edges(self) -> int:
        """Directed edges: two a bond."""
        return int(self.manifest["num_edges"])

    @property
    def statistics(self) -> dict[str, dict[str, list[float]]]:
        """mean and std over the training side of each column of x_float, edge_float, u and y.

        Missing values are left out; a column that does not vary has std 1, one without values also mean 0.
        """
        statistics: dict[str, dict[str, list[float]]] = self.manifest["statistics"]
        return statistics

    @property
    def rows(self) -> Ints:
        """Source row of each graph, as people count.  # (G,)"""
        return self.arrays.row

    def indices(self, side: int) -> NDArray[np.int64]:
        """The graphs of one side, ascending.  # (K,)"""
        return np.flatnonzero(self.arrays.split == side).astype(np.int64, copy=False)

    def ids(self, indices: Ints) -> list[str]:
        """The names of graphs, in the order of `indices` (K,)."""
        import pyarrow.parquet as pq

        indices = np.asarray(indices)
        self.check(indices)
        names = np.empty(len(indices), dtype=object)
        with pq.ParquetFile(self.folder / ROWS) as file:
            start = 0
            for group in range(file.num_row_groups):
                end = start + file.metadata.row_group(group).num_rows
                here = (indices >= start) & (indices < end)
                if here.any():
                    column = file.read_row_group(group, columns=["id"])["id"]
                    names[here] = column.take(indices[here] - start).to_pylist()
                start = end
        return list(names)

    def graph(self, i: int) -> Graph:
        """One graph, labels included."""
        self.check(np.array([i]))
        arrays = self.arrays
        nodes = slice(arrays.node_ptr[i], arrays.node_ptr[i + 1])
        edges = slice(arrays.edge_ptr[i], arrays.edge_ptr[i + 1])
        index, edge_float = arrays.edge_index[edges], arrays.edge_float[edges]
        if not self.schema.directed:  # bond k is the edges 2k and 2k + 1
            index = np.stack([index, index[:, ::-1]], axis=1).reshape(-1, 2)
            edge_float = np.repeat(edge_float, 2, axis=0)
        return Graph(
            x=arrays.x.decode(arrays.x.stored[nodes]).astype(np.int32),
            x_float=arrays.x_float[nodes].copy(),
            edge_index=np.ascontiguousarray(index.T, dtype=np.int32),
            edge_attr=arrays.edge_attr.decode(arrays.edge_attr.stored[edges]).astype(np.int32),
            edge_float=edge_float.copy(),
            u=arrays.u[i].copy(),
            y=arrays.y[i].copy(),
        )

    @functools.cached_property
    def arrays(self) -> Arrays:
        def array(key: str) -> Any:
            values = self.tensors[tuple(key.split("/"))].as_subclass(torch.Tensor).numpy()
            values.setflags(write=False)
            return values

        def category_rows(room: str, copies: int) -> CategoryRows:
            table = array(f"{room}/table")
            if f"{room}/code" not in self.manifest["tensors"]:
                return CategoryRows(None, table, copies)
            return CategoryRows(array(f"{room}/code"), np.stack([table.astype(np.int64)] * copies, axis=1), copies)

        flat = ("node_ptr", "edge_ptr", "u", "y", "split", "row")
        return Arrays(
            x=category_rows("nodes", 1),
            x_float=array("nodes/x_float"),
            edge_index=array("edges/index"),
            edge_attr=category_rows("edges", 1 if self.schema.directed else 2),
            edge_float=array("edges/edge_float"),
            **{name: array(f"graphs/{name}") for name in flat},
        )

    @functools.cached_property
    def ragged(self) -> dict[str, Ragged]:
        """The fields of nodes and edges as stored.

        Raises:
            StoreError: if they do not fit the graphs.
        """
        arrays = self.arrays
        nodes = {"x": arrays.x.stored, "x_float": arrays.x_float}
        edges = {
            "edge_index": arrays.edge_index, "edge_attr": arrays.edge_attr.stored, "edge_float": arrays.edge_float
        }  # fmt: skip
        try:
            return {name: Ragged(values, arrays.node_ptr) for name, values in nodes.items()} | {
                name: Ragged(values, arrays.edge_ptr) for name, values in edges.items()
            }
        except ValueError:
            raise damaged(self.folder, "graphs/node_ptr or edge_ptr", "ends graphs outside of the rows") from None

    def check(self, indices: Ints) -> None:
        """Raise an IndexError if a graph is not in the store."""
        if len(indices) and (indices.min() < 0 or indices.max() >= self.num_graphs):
            raise IndexError(f"graphs {indices.min()} to {indices.max()} asked; {self.folder} has {self.num_graphs}.")


def write_store(
    folder: Path,
    spool: Spool,
    *,
    schema: Schema,
    keep: NDArray[np.bool_],
    y: NDArray[np.float32],
    split: NDArray[np.int8],
    row: NDArray[np.int64],
    source: dict[str, Any],
) -> Store:
    """Write the kept graphs of a spool as a store, and open it.

    The store appears at `folder` whole or not at all; a store that stood there is replaced. One chunk of the
    spool is in memory at a time. The same graphs give the same bytes.

    Args:
        keep: (G,) bool over all graphs of the spool, in its order; so are the next three.
        y: (G, T) float32 labels.
        split: (G,) side of each kept graph.
        row: (G,) source row, as people count.
        source: what to remember about the data: JSON.

    Raises:
        StoreError: if no graph is kept, the disk is full, or `folder` holds something that is not a store.
        ShapeError: if the arrays or the spool do not fit `schema` or each other.
    """
    _check_destination(folder)
    graphs = StoredGraphs(spool, keep=keep, y=y, split=split, row=row)
    survey = Survey(schema)
    for piece, columns in graphs.pieces():
        survey.add(piece, columns["y"], columns["split"] == TRAIN)
    if survey.num_graphs == 0:
        raise StoreError(f"{folder}: no graph is left to write; look at the reasons in quarantine.csv.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # a fresh folder beside the store: nothing stale in it, on the same disk, gone when anything fails
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        new = Path(temporary) / "new"
        try:
            new.mkdir()
            layout = Layout(survey, row)
            write_tensors(new / TENSORS, graphs, layout)
            write_rows(new / ROWS, graphs)
            write_manifest(new, survey, layout, split[keep], source)
            if folder.exists():
                folder.rename(Path(temporary) / "old")
            new.rename(folder)
        except (OSError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "No space left" not in str(error):  # torch's word for a full disk
                raise
            reason = getattr(error, "strerror", None) or "No space left on device"
            raise StoreError(f"{folder}: cannot write the store: {reason}.") from error
    return open_store(folder)


def open_store(folder: Path, *, checksums: bool = False) -> Store:
    """Open a store after checking that it is whole.

    Args:
        checksums: read every byte, also of files that were compared before.

    Raises:
        StoreError: as `check_store`, or if the features are of another version.
    """
    folder = Path(folder).absolute()
    manifest = check_store(folder, checksums=checksums)
    schema = Schema.from_json(json.dumps(manifest["schema"]))
    if reason := kind_of(schema.data_kind).mismatch(schema):
        raise StoreError(
            f"{folder}: {reason}; delete the folder and run prepare again, or use the version that wrote it."
        )
    # mode "r" maps privately: a write by accident reaches this process's copy of a page, never the file.
    # A truncated file would read as zeros, which is why sizes come first.
    tensors = TensorDict.load_memmap(folder / TENSORS, mode="r", allow_pickle=False)
    for key, want in manifest["tensors"].items():
        tensor = tensors.get(tuple(key.split("/")))
        if tensor is None or [str(tensor.dtype), list(tensor.shape)] != [f"torch.{want['dtype']}", want["shape"]]:
            raise damaged(folder, f"{TENSORS}/{key}", "is not as the manifest says")
    return Store(folder, manifest, schema, tensors.lock_())


def _check_destination(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and ((folder / MANIFEST).is_file() or not any(folder.iterdir()))):
        raise StoreError(f"{folder}: something that is not a store stands here; name another folder, or delete it.")
