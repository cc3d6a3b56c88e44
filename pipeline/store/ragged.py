"""Rows of nodes or edges, read by the graph."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.graph import Ints


class Ragged:
    """Rows of many graphs, one graph behind the other: to pyarrow, one string of bytes a graph.

    pyarrow copies string by string, in a quarter of the time of numpy's `take` of all rows.

    Args:
        values: (N, ...) rows.
        ptr: (G + 1,) where each graph begins and ends.

    Raises:
        ValueError: if a graph ends outside of the rows or before it begins.
    """

    def __init__(self, values: NDArray[Any], ptr: Ints) -> None:
        import pyarrow as pa

        self._dtype, self._shape = values.dtype, values.shape[1:]
        row_bytes = values.dtype.itemsize * math.prod(self._shape)
        self.graph_bytes = values.nbytes / (len(ptr) - 1)
        """On average."""
        if values.nbytes:
            short = values.nbytes < 2**31
            offsets = ptr.astype(np.int32 if short else np.int64, copy=False)
            if row_bytes > 1:  # else the store's own, and no memory
                offsets = offsets * row_bytes
            buffers = [None, pa.py_buffer(offsets), pa.py_buffer(values)]
            self._strings = pa.Array.from_buffers(pa.binary() if short else pa.large_binary(), len(ptr) - 1, buffers)
            self._strings.validate(full=True)  # pyarrow itself would read any memory

    def take(self, ids: Ints, num_rows: int) -> NDArray[Any]:
        """Copy the rows of graphs, in the order of `ids` (K,).

        Args:
            num_rows: how many they are together.

        Returns:
            (num_rows, ...).
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        shape = (num_rows, *self._shape)
        if 0 in shape:
            return np.empty(shape, self._dtype)
        strings = pc.take(self._strings, ids, memory_pool=pa.system_memory_pool())  # the default keeps 5 MB for itself
        return np.frombuffer(strings.buffers()[2], self._dtype).reshape(shape)
