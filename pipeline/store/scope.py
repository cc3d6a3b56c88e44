"""What the training side of a store covers: how large its graphs are, and between which values its labels lie."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.dataset.split import TRAIN
from pipeline.scale import from_trained_scale
from pipeline.schema import Schema

if TYPE_CHECKING:
    from pipeline.store.store import Store


class Covered(NamedTuple):
    """Smallest and largest of each.

    Attributes:
        nodes: of a graph.
        labels: target -> its labels on the trained scale; targets with classes have none.
    """

    nodes: tuple[int, int]
    labels: dict[str, tuple[float, float]]


def covered(store: Store) -> Covered:
    """Look at the training side."""
    train = store.indices(TRAIN)
    num_nodes, y = np.diff(store.arrays.node_ptr)[train], store.arrays.y[train]
    labels = {
        target.name: (float(np.nanmin(y[:, t])), float(np.nanmax(y[:, t])))
        for t, target in enumerate(store.schema.targets)
        if not target.task.has_classes
    }
    return Covered((int(num_nodes.min()), int(num_nodes.max())), labels)


def with_ranges(schema: Schema, found: Covered) -> Schema:
    """The schema of a bundle, which says what training covered; labels in original units."""
    targets = []
    for target in schema.targets:
        ends = found.labels.get(target.name)
        if ends is not None:
            low, high = sorted(float(end) for end in from_trained_scale(target, np.array(ends)))
            target = replace(target, label_range=(low, high))
        targets.append(target)
    return replace(schema, targets=tuple(targets), node_range=found.nodes)
