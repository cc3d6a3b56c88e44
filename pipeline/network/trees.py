"""Trees as arrays: how the forest of a network is kept, and what both forests have in common."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.schema import Target

Trees = Mapping[str, NDArray[np.generic]]
"""The trees of all targets behind each other, M nodes in all; a leaf is its own child.

    depth (≤ T,) int32      of the deepest tree of a target
    root (B,) int32         first node of each tree
    target (B,) int32       whose tree it is, ascending
    feature (M,) int32      column of `u` that a node looks at
    threshold (M,) float32  a value above it goes to the second child
    child (2M,) int32       both children of node 0, of node 1, …
    value (M, K) float32    answer of a leaf: trained scale, probability of class 1, or of each class (K the largest)
"""


def write_forest(trees: Trees, path: Path) -> None:
    """Write the trees, whole or not at all; equal trees are equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **trees)  # type: ignore[arg-type]
    part = Path(f"{path}.part")
    part.write_bytes(buffer.getbuffer())
    os.replace(part, path)


def read_forest(path: Path) -> Trees:
    """Read what `write_forest` wrote."""
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


def choose_rows(rows: NDArray[np.intp], limit: int, seed: int) -> NDArray[np.intp]:
    """Keep at most `limit` of these row numbers, at random and in order."""
    if len(rows) <= limit:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))


def spread_classes(
    probability: NDArray[np.float64], classes: NDArray[np.floating], target: Target
) -> NDArray[np.float64]:
    """What scikit-learn says of the classes it was shown as what a target answers.

    Args:
        probability: (n, C) of the C classes that training has.
        classes: (C,) their indices.

    Returns:
        (n,), the probability of class 1, where binary; (n, K) of all classes where multi-class.
    """
    every = np.zeros((len(probability), max(2, len(target.classes))))
    every[:, classes.astype(np.intp)] = probability
    return every if target.task.per_class else every[:, 1]
