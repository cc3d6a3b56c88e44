"""main: every parameter finds its step, and the last lines can be pasted."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest

from pipeline.errors import ConfigError
from steps.main import next_commands, pairs, route
from steps.train import parse
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("argv", "step", "want"),
    [
        (["--data", "a.csv", "--target=y"], "prepare", ["--data=a.csv", "--target=y"]),
        (["--hidden_dim", "64"], "train", ["--hidden_dim=64"]),
        (["--gate", "g.yaml", "--resamples=10"], "evaluate", ["--gate=g.yaml", "--resamples=10"]),
        (["--trainer.devices", "2"], "train", ["--trainer.devices=2"]),
        (["--model.class_path=a.B"], "train", ["--model.class_path=a.B"]),
        (["--config", "my.yaml"], "train", ["--config=my.yaml"]),
        (["--print_config", "--seed", "1"], "train", ["--print_config", "--seed=1"]),
        (["--split_seed", "-1"], "prepare", ["--split_seed=-1"]),
        (["--unit=--x"], "prepare", ["--unit=--x"]),
        (["--description", "y:a=b, c: d"], "prepare", ["--description=y:a=b, c: d"]),
        (["--target", ""], "prepare", ["--target="]),
        (["--target"], "prepare", ["--target"]),
        (["--explain", "true"], "main", ["--explain=true"]),
    ],
)
def test_a_parameter_goes_to_the_step_that_declares_it(argv, step, want):
    mine = route(argv)
    assert mine.pop(step) == want
    assert not any(mine.values())


def test_parameters_of_all_steps_come_mixed():
    mine = route(["--seed", "3", "--data=a.csv", "--resamples", "5", "--seed", "4"])
    assert mine == {
        "prepare": ["--data=a.csv"],
        "train": ["--seed=3", "--seed=4"],
        "evaluate": ["--resamples=5"],
        "main": [],
    }
    assert parse(mine["train"]).config.seed == 4


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--hiden_dim", "3"], "no step has a parameter 'hiden_dim'; did you mean hidden_dim"),
        (["--tagret=y"], "did you mean target"),
        (["--train_run", "abc"], "no step has a parameter 'train_run'"),
        (["three"], "'three' follows no parameter; write --name value."),
        (["--seed", "1", "2"], "'2' follows no parameter"),
        (["-h"], "'-h' follows no parameter"),
        (["--xyzzyxyzzy", "1"], "did you mean data, target"),
    ],
)
def test_what_no_step_knows_is_one_line_with_what_is_near(argv, says):
    with pytest.raises(ConfigError) as caught:
        route(argv)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pairs_read_both_spellings():
    assert pairs(["--a=b", "--c", "d", "--e", "-1.5", "--f=", "--g=x=y"]) == [
        ("a", "b"),
        ("c", "d"),
        ("e", "-1.5"),
        ("f", ""),
        ("g", "x=y"),
    ]


def evaluated(example):
    tags = {
        "graphline.card": ".graphline/bundles/k.card.html",
        "graphline.example": example,
        "graphline.headline": "Passed: RMSE 0.5.",
    }
    return SimpleNamespace(data=SimpleNamespace(tags=tags))


def test_next_commands_can_be_pasted():
    example = json.dumps({"dataframe_records": [{"smiles": "CCO", "the lab's pH": 7.0}]})
    lines = next_commands("mine", "3", evaluated(example), {})
    assert lines[:3] == ["", "mine-candidates version 3: Passed: RMSE 0.5.", "next, in this folder:"]
    commands = {line.split()[0]: shlex.split(line.strip(), comments=True)[1:] for line in lines[3:]}
    assert list(commands) == ["activate", "look", "predict", "release", "serve", "ask"]
    assert commands["look"] == ["python", "-m", "steps.ui"]
    assert commands["predict"][:7] == ["mlflow", "run", ".", "--env-manager", "local", "-e", "predict"]
    assert commands["predict"][8] == "model=models:/mine-candidates@challenger"
    assert commands["release"][5:] == ["-e", "promote", "-P", "name=mine", "-P", "version=3", "-P", "reason=why"]
    assert commands["serve"][:5] == ["mlflow", "models", "serve", "-m", "models:/mine@champion"]
    assert commands["ask"][-1] == example


def test_one_looks_at_the_server_where_there_is_one(monkeypatch):
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "http://server:5000")
    assert any(
        line.startswith("  look      open http://server:5000 ") for line in next_commands("m", "1", evaluated("{}"), {})
    )


def test_checking_all_parameters_imports_no_torch_and_no_mlflow():
    code = (
        "import sys\nfrom steps.cli.command import run\nfrom steps.main import main\n"
        "try:\n    main(['--data', 'nowhere.csv'])\nexcept Exception as error:\n    assert 'nothing at' in str(error)\n"
        "bad = {'torch', 'lightning', 'mlflow', 'sklearn', 'matplotlib'} & set(sys.modules)\nassert not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
