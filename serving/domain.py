"""What is unlike the data of training: size, categories and answer of a row, in words for its `warning`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.answer import PREDICTION
from pipeline.graph import GraphChunk, Ints
from pipeline.samples.kinds import kind_of
from pipeline.scale import from_trained_scale, to_trained_scale
from pipeline.schema import Column, Schema, Target

BEYOND = 0.1
"""An answer may leave the range of the training labels by this share of the range, on the trained scale."""


class Domain:
    """Compares rows with what the schema of a bundle says of its training; one of before says less, and so is less
    compared."""

    def __init__(self, schema: Schema) -> None:
        self._nouns = kind_of(schema.data_kind).nouns
        self._nodes = schema.node_range
        self._fields = [_Field(schema.node("categorical")), _Field(schema.edge("categorical"))]
        places = zip(schema.targets, schema.slices, strict=True)
        self._answers = [(target, place.start, *_ends(target)) for target, place in places if target.label_range]

    def warnings(self, chunk: GraphChunk, outputs: Mapping[str, NDArray[np.float32]]) -> list[str | None]:
        """What to know of each graph's answer, or None.

        Args:
            outputs: name -> (G, O), `prediction` in original units.
        """
        found: list[list[str]] = [[] for _ in range(chunk.num_graphs)]
        self._compare_sizes(np.diff(chunk.node_ptr), found)
        self._compare_categories(chunk, found)
        self._compare_answers(outputs[PREDICTION], found)
        return ["; ".join(some) if some else None for some in found]

    def _compare_sizes(self, num_nodes: Ints, found: list[list[str]]) -> None:
        if self._nodes is None:
            return
        low, high = self._nodes
        for g in np.flatnonzero((num_nodes < low) | (num_nodes > high)).tolist():
            noun = self._nouns.node if num_nodes[g] == 1 else self._nouns.nodes
            found[g].append(f"{num_nodes[g]} {noun}, where training had {low} to {high}")

    def _compare_categories(self, chunk: GraphChunk, found: list[list[str]]) -> None:
        parts = ((chunk.x, chunk.node_ptr), (chunk.edge_attr, chunk.edge_ptr))
        for (codes, ptr), known in zip(parts, self._fields, strict=True):
            place = codes + known.offsets
            hits = known.unknown[place]
            if not hits.any():
                continue
            graphs = np.searchsorted(ptr, np.nonzero(hits)[0], side="right") - 1
            for key in np.unique(graphs * len(known.words) + place[hits]).tolist():
                g, word = divmod(key, len(known.words))
                found[g].append(known.words[word])

    def _compare_answers(self, prediction: NDArray[np.float32], found: list[list[str]]) -> None:
        for target, column, low, high in self._answers:
            answers = prediction[:, column]
            for g in np.flatnonzero((answers < low) | (answers > high)).tolist():
                least, most = target.label_range or (low, high)
                found[g].append(f"{target.name} lies beyond the labels of training, {least:.4g} to {most:.4g}")


class _Field:
    """The categories of nodes or of edges in one flat table, where the codes of column k begin at its offset."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.offsets = np.cumsum([0, *(column.num_codes for column in columns)])[:-1]
        self.words = [_word(column, code) for column in columns for code in range(column.num_codes)]
        self.unknown = ~np.array([known for column in columns for known in column.known], dtype=bool)


def _word(column: Column, code: int) -> str:
    """What to say of a category that the network does not tell apart; a client's own text is not repeated."""
    if code == 0:
        return f"{column.name} of a kind that was not in training"
    times = column.train_counts[code - 1] if column.train_counts else 0
    return f"{column.name} {column.categories[code - 1]} was {'only once' if times else 'not'} in training"


def _ends(target: Target) -> tuple[float, float]:
    """Below and above which answers are warned of, in original units."""
    low, high = sorted(to_trained_scale(target, np.array(target.label_range)).tolist())
    margin = BEYOND * (high - low)
    ends = from_trained_scale(target, np.array([low - margin, high + margin]))
    return float(ends.min()), float(ends.max())
