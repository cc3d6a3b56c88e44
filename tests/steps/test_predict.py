"""predict: what is asked for is checked before any model is fetched."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.errors import ConfigError
from steps.predict import PredictConfig, main
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "predict: predict needs the rows to answer; pass data=FILE."),
        (["--data", "a.csv", "--out", "b.txt"], "predict: out=b.txt: expected a name that ends with .csv or .parquet."),
        (["--data", "a.csv", "--processes=-1"], "predict: processes=-1: expected 0 (all cores) or more."),
        (["--data", "a.csv", "--ot", "b.csv"], "predict: --ot: there is no such parameter; did you mean --out?"),
    ],
)
def test_what_is_wrong_is_one_line(argv, says):
    with pytest.raises(ConfigError) as caught:
        main(argv)
    assert str(caught.value) == says


def test_the_live_release_answers_unless_another_model_is_named():
    config = PredictConfig(data="a.csv")
    assert (config.out, config.model, config.name, config.processes) == ("answers.csv", None, None, 0)


def test_a_mistake_ends_with_code_2_and_without_a_traceback():
    done = subprocess.run([sys.executable, "-m", "steps.predict"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: predict: predict needs the rows to answer; pass data=FILE.\n"
