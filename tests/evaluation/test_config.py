"""Settings of evaluate: what is wrong is one line, before anything is computed."""

import pytest

from pipeline.errors import ConfigError
from pipeline.evaluation.config import EvaluateConfig


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"resamples": 0}, "resamples=0: expected a whole number of at least 1"),
        ({"gate": "nowhere.yaml"}, r"nowhere\.yaml: cannot be read"),
    ],
)
def test_wrong_settings_are_one_line(settings, says):
    with pytest.raises(ConfigError, match=says):
        EvaluateConfig(**settings)


def test_a_broken_gate_is_found_before_the_models_are_asked(tmp_path):
    path = tmp_path / "gate.yaml"
    path.write_text("regression:\n  rsme: {max: 1}\n")
    with pytest.raises(ConfigError, match="'rsme' is not a metric"):
        EvaluateConfig(gate=str(path))
    path.write_text("regression:\n  rmse: {max: 1}\n")
    assert EvaluateConfig(gate=str(path)).resamples == 1000
