"""Samples of a store as a client would send them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.dataset.split import TEST
from pipeline.samples.kinds import kind_of
from pipeline.samples.source import features_of

if TYPE_CHECKING:
    from pipeline.store.store import Store


def build_requests(store: Store, indices: NDArray[np.int64]) -> pd.DataFrame:
    """The samples of a store as rows of a file: what is nested stands as JSON text in its cell."""
    columns = _columns(store, indices)
    return pd.DataFrame({name: [_cell(value) for value in values] for name, values in columns.items()})


def build_example(store: Store, share_rows: bool) -> pd.DataFrame:
    """Two rows to try the model with; with `share_rows=False` none of the user's own."""
    schema = store.schema
    kind = kind_of(schema.data_kind)
    made_up = kind.source().example(schema)
    if made_up is None and share_rows:
        return pd.DataFrame(_columns(store, store.indices(TEST)[:2]))
    own = made_up or kind.smallest(schema)
    num_rows = len(next(iter(own.values())))
    means = zip(schema.graph_columns, store.statistics["u"]["mean"], strict=False)  # behind them what a kind computes
    return pd.DataFrame(own | {column.name: [float(f"{mean:.4g}")] * num_rows for column, mean in means})


def _columns(store: Store, indices: NDArray[np.int64]) -> dict[str, list[Any]]:
    own = kind_of(store.schema.data_kind).source().requests(store, indices)
    return own | features_of(store.arrays.u[indices], store.schema.graph_columns)


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, dict | list) else value
