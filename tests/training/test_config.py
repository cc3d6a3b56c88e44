"""Settings of the training: what is wrong is one line, and a file keeps all of them."""

from __future__ import annotations

import json
import math

import pytest

from pipeline.errors import ConfigError
from pipeline.training.config import TrainConfig


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"learning_rate": math.nan}, "learning_rate=nan"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0"),
        ({"gradient_clip": math.inf}, "gradient_clip=inf"),
        ({"ensemble": 0}, "ensemble=0"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 2**32}, f"seed={2**32}: expected a whole number of at most {2**32 - 1}"),
        ({"hidden_dim": 0}, "hidden_dim=0"),  # the network's own are checked, too
        ({"class_weights": "some"}, "class_weights=some"),
    ],
)
def test_wrong_settings_are_one_line(settings, says):
    with pytest.raises(ConfigError, match=says):
        TrainConfig(**settings)


def test_the_largest_seed_leaves_one_to_each_member():
    assert TrainConfig(seed=2**32 - 5, ensemble=5).seed == 2**32 - 5
    with pytest.raises(ConfigError, match="seed"):
        TrainConfig(seed=2**32 - 4, ensemble=5)


def test_json_keeps_every_setting():
    config = TrainConfig(network="gin", readout="attention", dropout=0.1, ensemble=3, class_weights="balanced")
    assert TrainConfig(**json.loads(json.dumps(config.to_dict()))) == config
