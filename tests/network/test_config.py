"""Settings of the network: what is wrong is one line, and no torch is needed to say so."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.errors import ConfigError
from pipeline.network.config import NetworkConfig
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


def test_settings_are_checked_without_torch():
    code = "import sys, pipeline.network.config; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
