"""What the networks of a training answer before they are exported, by torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.bundle.export import tensors
from pipeline.graph import collate
from pipeline.network.ensemble import Ensemble
from pipeline.network.network import GraphNetwork
from pipeline.store.store import Store

_BATCH = 256  # graphs at a time


def answer_graphs(
    networks: Sequence[GraphNetwork], store: Store, rows: NDArray[np.integer]
) -> dict[str, NDArray[np.float64]]:
    """Answer some graphs of a store.

    Returns:
        Target -> (n,) or (n, K), original units and probabilities.
    """
    schema, ensemble = store.schema, Ensemble(networks, store.schema).eval()
    parts = [np.empty((0, schema.output_dim), np.float64)]
    with torch.inference_mode():
        for start in range(0, len(rows), _BATCH):
            batch = collate([store.graph(int(row)) for row in rows[start : start + _BATCH]], directed=schema.directed)
            found = ensemble(*tensors(batch))
            parts.append((found[0] if isinstance(found, tuple) else found).double().numpy())
    table = np.concatenate(parts)  # (n, O)
    return {
        target.name: table[:, place].reshape(len(rows), *target.shape)
        for target, place in zip(schema.targets, schema.slices, strict=True)
    }
