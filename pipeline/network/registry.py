"""The networks to choose from: a new one is a class, an entry here, and its name in `config.NetworkName`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import nn

from pipeline.network.layers import DMPNN, GATv2Conv, GCNConv, GINConv, GINEConv, SAGEConv, Stack
from pipeline.schema import Schema


def refuse_none(schema: Schema) -> str | None:
    return None


def refuse_directed(schema: Schema) -> str | None:
    if not schema.directed:
        return None
    return "needs undirected graphs: its messages leave out the reverse edge. Pass network=gine."


@dataclass(frozen=True)
class NetworkSpec:
    """What a network is.

    Attributes:
        build: from `hidden_dim`, `num_layers` and `dropout` to its layers, which answer (N, H).
        reads: what the layers are called with, in order: `nodes` (N, H), `edges` (E, H), `edge_index`,
            `rev_edge_index`. Edge features have no weights in a network that does not read `edges`.
        refuse: why it cannot be used with data of a schema, in words that follow `network=name`; None if it can.
    """

    build: Callable[[int, int, float], nn.Module]
    reads: tuple[str, ...]
    refuse: Callable[[Schema], str | None] = refuse_none


NODES = ("nodes", "edge_index")
EDGES = (*NODES, "edges")

NETWORKS: Mapping[str, NetworkSpec] = {
    "dmpnn": NetworkSpec(DMPNN, (*EDGES, "rev_edge_index"), refuse_directed),
    "gine": NetworkSpec(partial(Stack, GINEConv), EDGES),
    "gin": NetworkSpec(partial(Stack, GINConv), NODES),
    "gcn": NetworkSpec(partial(Stack, GCNConv), NODES),
    "sage": NetworkSpec(partial(Stack, SAGEConv), NODES),
    "gatv2": NetworkSpec(partial(Stack, GATv2Conv), EDGES),
}
