"""train: every setting is a flag, and a command line is checked without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.errors import ConfigError
from pipeline.training.config import TrainConfig
from steps.cli.arguments import flat_names
from steps.train import parse
from tests.conftest import ROOT


def test_every_setting_of_training_is_a_flag():
    assert {"class_path", "init_args"} == set(TrainConfig.__dataclass_fields__) - set(flat_names(TrainConfig))
    arguments = parse(["--hidden_dim", "64", "--resume", "true", "--prepare_run", "12e4"])
    assert arguments.config == TrainConfig(hidden_dim=64)
    assert (arguments.resume, arguments.prepare_run, arguments.trainer) == (True, "12e4", {})


@pytest.mark.parametrize(
    ("argv", "want"),
    [
        (["--trainer.limit_train_batches", "5"], {"limit_train_batches": 5}),
        (["--trainer.limit_train_batches", "1"], {"limit_train_batches": 1}),
        (["--trainer.limit_train_batches", "1.0"], {"limit_train_batches": 1.0}),
        (["--trainer.precision", "bf16-mixed", "--trainer.strategy", "ddp"],
         {"precision": "bf16-mixed", "strategy": "ddp"}),
        (["--trainer.callbacks", "[{class_path: LearningRateMonitor}]"],
         {"callbacks": [{"class_path": "lightning.pytorch.callbacks.LearningRateMonitor"}]}),
    ],
)  # fmt: skip
def test_trainer_flags_arrive_as_lightning_wants_them(argv, want):
    trainer = parse(argv).trainer
    assert trainer == want
    assert [type(value) for value in trainer.values()] == [type(value) for value in want.values()]


def test_whole_numbers_in_a_file_stay_whole(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("trainer:\n  limit_train_batches: 1\n")
    assert type(parse(["--config", str(path)]).trainer["limit_train_batches"]) is int


def test_an_own_network_by_name():
    path = "tests.examples.own_network.OwnNetwork"
    config = parse(["--model.class_path", path, "--model.init_args.depth", "3"]).config
    assert (config.class_path, dict(config.init_args)) == (path, {"depth": 3})


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--trainer.max_epoch", "3"], "--trainer.max_epoch: there is no such parameter; did you mean --trainer.max_e"),
        (["--trainer.max_epochs", "x"], "--trainer.max_epochs x: expected int or nothing"),
        (["--trainer.callbacks", "[{class_path: Nope}]"], "Nope"),
        (["--model.class_path", "nowhere.Network"], "No module named 'nowhere'"),
        (["--model.class_path", "tests.examples.own_network.OwnNetwork", "--model.init_args.dep", "3"], "'dep' is not"),
        (["--class_path", "a.b"], "--class_path: there is no such parameter"),
        (["--hidden_dim", "0"], "hidden_dim=0: expected a whole number of at least 1"),
        (["--seed", str(2**32)], "seed=4294967296: expected a whole number of at most 4294967295"),
    ],
)
def test_wrong_training_flags_are_one_line(argv, says):
    with pytest.raises(ConfigError) as caught:
        parse(argv)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_checking_a_command_line_imports_no_torch():
    code = "import sys; from steps.train import parse; parse(['--seed', '3']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
