"""The files of a store: how they are laid out, written, and described by the manifest."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict

from pipeline.dataset.split import SIDES
from pipeline.dataset.spool import Spool
from pipeline.digests import file_sha256
from pipeline.errors import ShapeError
from pipeline.graph import Ints
from pipeline.samples.packed import Names, Piece, narrow_dtype
from pipeline.store.manifest import MANIFEST, STORE_VERSION, list_files, manifest_digest
from pipeline.store.survey import RowCoder, Survey


class StoredGraphs:
    """The kept graphs of a spool, piece by piece."""

    def __init__(
        self,
        spool: Spool,
        *,
        keep: NDArray[np.bool_],
        y: NDArray[np.float32],
        split: NDArray[np.int8],
        row: NDArray[np.int64],
    ) -> None:
        self.columns: dict[str, NDArray[Any]] = {"y": y, "split": split, "row": row}
        for name, values in {"keep": keep, **self.columns}.items():
            if len(values) != spool.num_graphs:
                raise ShapeError(f"write_store: {name} has {len(values)} rows for {spool.num_graphs} graphs.")
        if not ((split >= 0) & (split < len(SIDES)))[keep].all():
            raise ShapeError("write_store: a graph that is kept stands on no side.")
        self.spool, self.keep = spool, keep

    def pieces(self) -> Iterator[tuple[Piece, dict[str, NDArray[Any]]]]:
        """Pieces, each with y, split and row of its graphs."""
        for piece, _, keep, columns in self._chunks():
            yield piece.select(keep), columns

    def names(self) -> Iterator[tuple[Names, dict[str, NDArray[Any]]]]:
        """The names of the graphs of each piece, with their y, split and row."""
        for _, names, keep, columns in self._chunks():
            yield names.select(keep), columns

    def _chunks(self) -> Iterator[tuple[Piece, Names, NDArray[np.bool_], dict[str, NDArray[Any]]]]:
        start = 0
        for piece, names in self.spool:
            here = slice(start, start + piece.num_graphs)
            start = here.stop
            keep = self.keep[here]
            yield piece, names, keep, {name: values[here][keep] for name, values in self.columns.items()}


class TensorShape(NamedTuple):
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Layout:
    """The tensors of a store, from a survey of its graphs.

    Attributes:
        tables: distinct rows of x and edge_attr, by "nodes" and "edges"; None where there are too many.
        tensors: dtype and shape by key.
    """

    def __init__(self, survey: Survey, row: Ints) -> None:
        nodes, edges, graphs, schema = survey.num_nodes, survey.num_edges, survey.num_graphs, survey.schema
        widths = {"nodes": len(schema.node("categorical")), "edges": len(schema.edge("categorical"))}
        self.tables = {"nodes": survey.x.table(widths["nodes"]), "edges": survey.edge_attr.table(widths["edges"])}
        largest = {"nodes": survey.x.largest, "edges": survey.edge_attr.largest}
        float32 = np.dtype(np.float32)
        self.tensors: dict[str, TensorShape] = {}
        for room, length in (("nodes", nodes), ("edges", edges)):
            table = self.tables[room]
            if table is not None:
                self.tensors[f"{room}/code"] = TensorShape(narrow_dtype(len(table)), (length,))
                length = len(table)
            self.tensors[f"{room}/table"] = TensorShape(narrow_dtype(largest[room]), (length, widths[room]))
        self.tensors |= {
            "nodes/x_float": TensorShape(float32, (nodes, len(schema.node("numeric")))),
            "edges/index": TensorShape(narrow_dtype(survey.most_nodes), (edges, 2)),
            "edges/edge_float": TensorShape(float32, (edges, len(schema.edge("numeric")))),
            "graphs/node_ptr": TensorShape(narrow_dtype(nodes), (graphs + 1,)),
            "graphs/edge_ptr": TensorShape(narrow_dtype(edges), (graphs + 1,)),
            "graphs/y": TensorShape(float32, (graphs, len(schema.targets))),
            "graphs/u": TensorShape(float32, (graphs, len(schema.u_columns))),
            "graphs/split": TensorShape(np.dtype(np.uint8), (graphs,)),
            "graphs/row": TensorShape(narrow_dtype(row), (graphs,)),
        }


def write_tensors(folder: Path, graphs: StoredGraphs, layout: Layout) -> None:
    """Write every tensor from front to back, through plain files: no dirty memory maps, whatever the size."""
    prototypes = TensorDict()
    for key, (dtype, shape) in layout.tensors.items():
        element = torch.from_numpy(np.zeros((), dtype=dtype))
        prototypes[tuple(key.split("/"))] = element.expand(shape)
    prototypes.memmap_like(folder)  # tensordict's own description, and sparse files of the right sizes
    coders = {room: None if table is None else RowCoder(table) for room, table in layout.tables.items()}
    with contextlib.ExitStack() as stack:
        files = {
            key: stack.enter_context(open(folder / f"{key}.memmap", "r+b"))
            for key, (_, shape) in layout.tensors.items()
            if 0 not in shape  # tensordict has no file for a tensor without elements
        }

        def put(key: str, values: Any) -> None:
            if key in files:
                files[key].write(np.asarray(values, dtype=layout.tensors[key].dtype).tobytes())

        for room, table in layout.tables.items():
            if table is not None:
                put(f"{room}/table", table)
        put("graphs/node_ptr", [0])
        put("graphs/edge_ptr", [0])
        num_nodes = num_edges = 0
        for piece, columns in graphs.pieces():
            for room, table, code in (
                ("nodes", piece.x_table, piece.x_code),
                ("edges", piece.edge_table, piece.edge_code),
            ):
                coder = coders[room]
                if coder is None:
                    put(f"{room}/table", table[code])
                else:
                    put(f"{room}/code", coder.encode(table, code))
            put("nodes/x_float", piece.x_float)
            put("edges/index", piece.edge_index)
            put("edges/edge_float", piece.edge_float)
            put("graphs/node_ptr", num_nodes + np.cumsum(piece.num_nodes))
            put("graphs/edge_ptr", num_edges + np.cumsum(piece.num_edges))
            put("graphs/u", piece.u)
            for name, values in columns.items():
                put(f"graphs/{name}", values)
            num_nodes += len(piece.x_code)
            num_edges += len(piece.edge_code)


def write_rows(path: Path, graphs: StoredGraphs) -> None:
    """Write source row, id and side of each graph, for people and for reports."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("row", pa.int64()), ("id", pa.string()), ("split", pa.string())])
    every_side = pa.array(SIDES)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for names, columns in graphs.names():
            if len(names.size):
                ends = np.concatenate([[0], np.cumsum(names.size)])
                ids = pa.LargeStringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(names.text))
                sides = every_side.take(pa.array(columns["split"]))
                table = {"row": columns["row"], "id": ids.cast(pa.string()), "split": sides}
                writer.write_table(pa.table(table, schema=schema))


def write_manifest(folder: Path, survey: Survey, layout: Layout, split: NDArray[np.int8], source: Any) -> None:
    """Write `manifest.json`, last of all."""
    undirected = not survey.schema.directed
    sides = np.bincount(split, minlength=len(SIDES))
    manifest = {
        "store_version": STORE_VERSION,
        "num_graphs": survey.num_graphs,
        "num_nodes": survey.num_nodes,
        "num_edges": survey.num_edges * (1 + undirected),
        "sides": dict(zip(SIDES, sides.tolist(), strict=True)),
        "schema": json.loads(survey.counted_schema().to_json()),
        "statistics": survey.statistics,
        "tensors": {key: {"dtype": str(dtype), "shape": shape} for key, (dtype, shape) in layout.tensors.items()},
        "source": source,
        "files": {
            name: {"size_bytes": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)}
            for name in list_files(folder)
        },
    }
    manifest = json.loads(json.dumps(manifest))  # as it will be read: lists for tuples, text for keys
    manifest["digest"] = manifest_digest(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
