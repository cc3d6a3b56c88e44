"""Requests that meet share the network: one batch for the rows of several, and no more batches at once than threads.

    request ─ micro-batches ─► waiting ─► a free thread takes all that fit one batch ─► each request its own rows

The threads are those of the requests: one that waits for its answer computes the next batch, whoever's it is. So a
lone request waits for nobody, and none waits for a thread that could be gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Condition

import numpy as np
from numpy.typing import NDArray

from pipeline.graph import GraphChunk, batch_of, join
from serving import deadline
from serving.session import MAX_EDGES, MAX_NODES, Session, micro_batches

Outputs = dict[str, NDArray[np.float32]]

observers: list[Callable[[int, int, int, float], None]] = []
"""Called after each batch with its graphs, nodes, requests and seconds, in the thread that computed it."""


class _Job:
    """A micro-batch of one request: in the end it has outputs or an error."""

    def __init__(self, chunk: GraphChunk) -> None:
        self.chunk = chunk
        self.since = time.monotonic()
        self.outputs: Outputs | None = None
        self.error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.outputs is not None or self.error is not None


class Sharing:
    """The network of all requests of this process.

    Args:
        threads: batches that are computed at the same time.
        wait_s: how long a batch that is not full waits for requests that are still reading their rows.
        max_nodes, max_edges: of one batch.
    """

    def __init__(
        self,
        session: Session,
        *,
        directed: bool,
        threads: int,
        wait_s: float = 0.0,
        max_nodes: int = MAX_NODES,
        max_edges: int = MAX_EDGES,
    ) -> None:
        self._session, self._directed, self._wait_s = session, directed, wait_s
        self._max_nodes, self._max_edges = max_nodes, max_edges
        self._changed = Condition()  # guards what follows
        self._free = threads
        self._requests = 0
        self._running = 0  # jobs that are being computed
        self._waiting: list[_Job] = []

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around the whole of a request: others may wait for its rows."""
        with self._changed:
            self._requests += 1
        try:
            yield
        finally:
            with self._changed:
                self._requests -= 1
                self._changed.notify_all()

    def run_chunk(self, chunk: GraphChunk) -> Outputs:
        """Answer packed graphs, at least one, as `Session.run_chunk` does.

        Raises:
            DeadlineError: if the time of the request is over; the batch that runs is then finished in vain.
        """
        parts = [self._run(piece) for piece in micro_batches(chunk, self._max_nodes, self._max_edges)]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run(self, chunk: GraphChunk) -> Outputs:
        job = _Job(chunk)
        with self._changed:
            self._waiting.append(job)
            self._changed.notify_all()
        try:
            while batch := self._take(job):
                try:
                    self._compute(batch)
                finally:
                    self._give_back(batch)
        finally:
            with self._changed:
                if job in self._waiting:
                    self._waiting.remove(job)
        if job.error is not None:
            raise job.error
        assert job.outputs is not None
        return job.outputs

    def _take(self, job: _Job) -> list[_Job]:
        """Wait for `job` to be done: nothing. Or for a free thread: the oldest jobs that fit one batch."""
        with self._changed:
            while not job.done:
                left = deadline.time_left()
                if self._free and self._waiting:
                    batch = self._fitting()
                    patience = self._wait_s - (time.monotonic() - self._waiting[0].since)
                    if patience <= 0 or len(batch) < len(self._waiting) or not self._others():
                        del self._waiting[: len(batch)]
                        self._free -= 1
                        self._running += len(batch)
                        return batch
                    left = patience if left is None else min(left, patience)
                self._changed.wait(left)
        return []

    def _fitting(self) -> list[_Job]:
        """The first waiting jobs that fit one batch, at least one."""
        nodes = edges = graphs = 0
        for count, job in enumerate(self._waiting):
            nodes += len(job.chunk.x)
            edges += len(job.chunk.edge_attr)
            graphs += job.chunk.num_graphs
            if count and (max(nodes, graphs) > self._max_nodes or edges > self._max_edges):
                return self._waiting[:count]
        return list(self._waiting)

    def _others(self) -> bool:
        """Whether a request is here whose rows are neither waiting nor computed."""
        return self._requests > len(self._waiting) + self._running

    def _compute(self, batch: Sequence[_Job]) -> None:
        """Finish all jobs of a batch; what fails together is tried alone, so that nobody fails for a neighbour."""
        try:
            outputs = self._outputs([job.chunk for job in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0].error = error
                return
            for job in batch:
                self._compute([job])
            return
        end = 0
        for job in batch:
            start, end = end, end + job.chunk.num_graphs
            job.outputs = {name: values[start:end] for name, values in outputs.items()}

    def _outputs(self, chunks: Sequence[GraphChunk]) -> Outputs:
        start = time.monotonic()
        chunk = join(chunks)
        outputs = self._session.run(batch_of(chunk, directed=self._directed))
        for observe in observers:
            observe(chunk.num_graphs, len(chunk.x), len(chunks), time.monotonic() - start)
        return outputs

    def _give_back(self, batch: Sequence[_Job]) -> None:
        """Free the thread; jobs that an interrupt left undone wait again, in their old place."""
        with self._changed:
            self._free += 1
            self._running -= len(batch)
            self._waiting[:0] = [job for job in batch if not job.done]
            self._changed.notify_all()
