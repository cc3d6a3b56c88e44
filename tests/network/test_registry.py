"""The registry, and the names that a command line takes without loading it."""

from __future__ import annotations

import dataclasses
import re
from typing import get_args

from pipeline.network.config import NetworkName, ReadoutName
from pipeline.network.readouts import READOUTS
from pipeline.network.registry import NETWORKS
from tests.support.exported import SCHEMA


def test_a_command_line_takes_the_names_of_the_registry():
    assert get_args(NetworkName) == tuple(NETWORKS)
    assert get_args(ReadoutName) == tuple(READOUTS)


def test_a_refusal_names_a_network_that_fits():
    for schema in (SCHEMA, dataclasses.replace(SCHEMA, data_kind="graph", directed=True)):
        refusals = [one for one in (spec.refuse(schema) for spec in NETWORKS.values()) if one is not None]
        for refusal in refusals:
            other = re.search(r"Pass network=(\w+)\.", refusal)
            assert other
            assert NETWORKS[other[1]].refuse(schema) is None
        assert len(refusals) == (1 if schema.directed else 0)
