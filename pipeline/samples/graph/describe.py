"""Descriptions of graphs for a forest that does not see who is bound to whom."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.graph import Floats, GraphChunk
from pipeline.samples.source import finite
from pipeline.schema import Schema

_MAX_CATEGORIES = 256  # of one column; the codes behind are counted as one


def describe_graphs(chunk: GraphChunk, schema: Schema) -> Floats:
    """Describe graphs without looking at their wiring.

    Per graph: the numbers of nodes and edges, how often each category stands in each column of nodes and edges (of the
    first 255; the rest together), and mean, standard deviation, minimum and maximum of each column of numbers.
    Missing numbers are skipped; a column without any is zero.

    Returns:
        (G, W) float32, finite.
    """
    parts = [np.diff(chunk.node_ptr)[:, None], np.diff(chunk.edge_ptr)[:, None]]
    for pointers, codes, numbers, columns in (
        (chunk.node_ptr, chunk.x, chunk.x_float, schema.node("categorical")),
        (chunk.edge_ptr, chunk.edge_attr, chunk.edge_float, schema.edge("categorical")),
    ):
        sizes = np.diff(pointers)
        graph = np.repeat(np.arange(len(sizes)), sizes)  # (N,) or (E,)
        for f, column in enumerate(columns):
            width = min(column.num_codes, _MAX_CATEGORIES)
            cell = graph * width + np.minimum(codes[:, f], width - 1)
            parts.append(np.bincount(cell, minlength=len(sizes) * width).reshape(len(sizes), width))
        parts.extend(_moments(graph, len(sizes), values) for values in numbers.T)
    return finite(np.concatenate(parts, axis=1))


def _moments(graph: NDArray[np.intp], num_graphs: int, values: Floats) -> NDArray[np.float64]:
    """Mean, standard deviation, minimum and maximum of each graph's numbers.  # (N,) -> (G, 4)"""
    there = ~np.isnan(values)
    graph, numbers = graph[there], values[there].astype(np.float64)
    count = np.maximum(np.bincount(graph, minlength=num_graphs), 1)
    mean = np.bincount(graph, numbers, num_graphs) / count
    spread = np.sqrt(np.bincount(graph, (numbers - mean[graph]) ** 2, num_graphs) / count)
    low, high = np.zeros(num_graphs), np.zeros(num_graphs)
    starts = np.flatnonzero(np.diff(graph, prepend=-1))
    if len(starts):
        low[graph[starts]] = np.minimum.reduceat(numbers, starts)
        high[graph[starts]] = np.maximum.reduceat(numbers, starts)
    return np.stack([mean, spread, low, high], axis=1)
