"""Settings of the network: what is wrong is one line, and no torch is needed to say so."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args, get_type_hints

import pytest

from pipeline.errors import ConfigError
from pipeline.network.config import NETWORKS, READOUTS, NetworkConfig
from pipeline.network.readouts import READOUTS as BUILT
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"network": "mpnn"}, "network=mpnn: expected one of dmpnn, gine"),
        ({"readout": "median"}, "readout=median: expected one of mean, sum"),
        ({"hidden_dim": 0}, "hidden_dim=0"),
        ({"num_layers": 0}, "num_layers=0"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"class_path": "Own"}, "package.module.Class"),
        ({"init_args": {"depth": 1}}, "model.class_path"),
        ({"dropout": -0.1}, "dropout=-0.1: expected a share from 0"),
    ],
)
def test_wrong_settings_are_one_line(settings, says):
    with pytest.raises(ConfigError, match=says):
        NetworkConfig(**settings)


def test_names_of_the_command_line_are_those_that_can_be_built():
    hints = get_type_hints(NetworkConfig)
    assert set(get_args(hints["network"])) == set(NETWORKS)
    assert set(get_args(hints["readout"])) == set(READOUTS) == set(BUILT)


def test_settings_are_checked_without_torch():
    code = "import sys, pipeline.network.config; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
