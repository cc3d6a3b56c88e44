"""One ONNX Runtime session, and packed graphs cut into batches that fit the memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from pipeline.answer import OUTPUTS, PREDICTION
from pipeline.errors import BundleError
from pipeline.graph import GraphBatch, GraphChunk, batch_of

# The widest tensor of a batch has one row an edge: 1,024 edges of 128 float32 are 0.5 MB, and the few that are alive at
# a time stay in the cache of a core. Measured on one core (D-MPNN, 4 layers of 128, 1,024 molecules): 48 ms with 512
# nodes, 49 ms with 384, 52 ms with 256, 53 ms with 1,024; and less memory.
MAX_NODES = 512
MAX_EDGES = 1_024  # directed


class Session:
    """Runs `model.onnx`. `run` may be called from many threads at the same time.

    Args:
        model: path of the ONNX file, or its bytes.
        threads: batches of one `run_chunk` that are computed at the same time, each by one thread: 1.9 times the speed
            on two cores, where two threads inside each operator are slower, and no sum depends on their number. Each
            has its own copy of the model, since they would wait for each other's memory (1.8 times); of a network of
            0.6 MB a copy takes 3 MB. One is right beside other requests.

    Attributes:
        metadata: what `export_onnx` wrote into the file.
        input_names: the fields of a `GraphBatch` that this network takes.
        output_names: `prediction`, and those of `pipeline.answer.OUTPUTS` that it has besides, in the file's order.

    Raises:
        BundleError: if the bytes are no ONNX model, or one with other inputs or outputs.
    """

    def __init__(self, model: str | Path | bytes, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A memory plan is kept for each new set of sizes: without an end, as sizes differ with every batch.
        options.enable_mem_pattern = False
        # Buffers that are planned ahead are colder than those the arena gives out again: 6 % of the time of 1,024
        # molecules (D-MPNN) and 10 % of the memory of a large batch.
        options.enable_mem_reuse = False
        # Bytes, not a path: a path may name a second file with the weights, which no digest would cover.
        content = model if isinstance(model, bytes) else Path(model).read_bytes()
        try:
            self._free = [
                ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]) for _ in range(threads)
            ]
        except Exception as error:  # onnxruntime's errors share no base class but this
            raise BundleError(f"model.onnx: ONNX Runtime cannot load it ({_first_line(error)}).") from None
        self._session = self._free[0]
        # After the largest graph of all, 100,000 edges, ONNX Runtime would keep 400 MB.
        self._shrink = ort.RunOptions()
        self._shrink.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)  # starts a thread when there is work for it
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.input_names = tuple(one.name for one in self._session.get_inputs())
        self.output_names = tuple(one.name for one in self._session.get_outputs())
        if foreign := [name for name in self.input_names if name not in GraphBatch._fields]:
            raise BundleError(f"model.onnx takes {foreign}; expected some of {list(GraphBatch._fields)}.")
        if PREDICTION not in self.output_names or not set(self.output_names) <= set(OUTPUTS):
            raise BundleError(
                f"model.onnx answers {list(self.output_names)}; expected '{PREDICTION}' and perhaps "
                f"{' or '.join(repr(name) for name in OUTPUTS if name != PREDICTION)}."
            )

    def run(self, batch: GraphBatch) -> dict[str, NDArray[np.float32]]:
        """Answer one batch.

        Returns:
            By name of the output: (G, O), rows in the order of the graphs.
        """
        feed = {name: getattr(batch, name) for name in self.input_names}
        large = len(batch.x) > MAX_NODES or len(batch.edge_attr) > MAX_EDGES
        try:
            session = self._free.pop()
        except IndexError:  # more callers than threads: they may share one
            return self._outputs(self._session, feed, large)
        try:
            return self._outputs(session, feed, large)
        finally:
            self._free.append(session)

    def _outputs(
        self, session: ort.InferenceSession, feed: dict[str, NDArray[np.generic]], large: bool
    ) -> dict[str, NDArray[np.float32]]:
        found = session.run(self.output_names, feed, self._shrink if large else None)
        return dict(zip(self.output_names, found, strict=True))

    def run_chunk(
        self, chunk: GraphChunk, *, directed: bool, max_nodes: int = MAX_NODES, max_edges: int = MAX_EDGES
    ) -> dict[str, NDArray[np.float32]]:
        """Answer packed graphs, at least one, in batches within the budget; as `run`."""
        pieces = list(micro_batches(chunk, max_nodes, max_edges))
        if len(pieces) == 1:
            return self.run(batch_of(chunk, directed=directed))

        parts: dict[int, dict[str, NDArray[np.float32]]] = {}
        waiting = iter(enumerate(pieces))

        def work() -> None:
            for k, piece in waiting:
                parts[k] = self.run(batch_of(piece, directed=directed))

        # The caller is one of the threads: if it waited instead, each answer would wake it on a core that computes.
        others = [self._pool.submit(work) for _ in range(self._threads - 1)]
        work()
        for other in others:
            other.result()
        return {name: np.concatenate([parts[k][name] for k in range(len(pieces))]) for name in self.output_names}


def micro_batches(chunk: GraphChunk, max_nodes: int = MAX_NODES, max_edges: int = MAX_EDGES) -> Iterator[GraphChunk]:
    """Cut packed graphs into consecutive pieces of at most so many nodes, directed edges, and `max_nodes` graphs.

    A graph that is larger than the budget makes a piece by itself.
    """
    if len(chunk.x) <= max_nodes and len(chunk.edge_attr) <= max_edges and chunk.num_graphs <= max_nodes:
        yield chunk
        return
    start = 0
    while start < chunk.num_graphs:
        fit_nodes = np.searchsorted(chunk.node_ptr, chunk.node_ptr[start] + max_nodes, side="right") - 1
        fit_edges = np.searchsorted(chunk.edge_ptr, chunk.edge_ptr[start] + max_edges, side="right") - 1
        # Graphs without nodes cost an answer each: they are bounded by their number.
        stop = max(start + 1, min(int(fit_nodes), int(fit_edges), start + max_nodes))
        yield _slice(chunk, start, stop)
        start = stop


def _slice(chunk: GraphChunk, start: int, stop: int) -> GraphChunk:
    """Graphs `start:stop` (views)."""
    nodes = slice(chunk.node_ptr[start], chunk.node_ptr[stop])
    edges = slice(chunk.edge_ptr[start], chunk.edge_ptr[stop])
    return GraphChunk(
        node_ptr=chunk.node_ptr[start : stop + 1] - chunk.node_ptr[start],
        edge_ptr=chunk.edge_ptr[start : stop + 1] - chunk.edge_ptr[start],
        x=chunk.x[nodes],
        x_float=chunk.x_float[nodes],
        edge_index=chunk.edge_index[:, edges],
        edge_attr=chunk.edge_attr[edges],
        edge_float=chunk.edge_float[edges],
        u=chunk.u[start:stop],
        y=chunk.y[start:stop],
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
