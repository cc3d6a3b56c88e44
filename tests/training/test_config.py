"""Settings of network and training: what is wrong is one line."""

from __future__ import annotations

import math

import pytest

from pipeline.errors import ConfigError
from pipeline.training.config import TrainConfig


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
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": math.nan}, "learning_rate=nan"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
        ({"gradient_clip": math.inf}, "gradient_clip=inf"),
        ({"ensemble": 0}, "ensemble=0"),
        ({"class_weights": "some"}, "class_weights=some"),
    ],
)
def test_wrong_settings_are_one_line(settings, says):
    with pytest.raises(ConfigError, match=says):
        TrainConfig(**settings)
