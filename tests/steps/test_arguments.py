"""Command lines: what is given reaches the dataclass, what is wrong is one line that names it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

import pytest

from pipeline.errors import ConfigError
from pipeline.training.config import TrainConfig
from steps.cli.arguments import flat_names, parse_dataclass
from steps.train import parse
from tests.conftest import ROOT


@dataclass(frozen=True)
class Settings:
    count: int = 1
    rate: float = 0.5
    mode: Literal["a", "b"] = "a"
    on: bool = True
    name: str | None = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count: expected\nat least 0")


@pytest.mark.parametrize(
    ("argv", "want"),
    [
        ([], Settings()),
        (["--count", "3", "--rate", "1e-3", "--mode", "b", "--on", "False", "--name", "x"],
         Settings(3, 1e-3, "b", False, "x")),
        (["--count=3", "--name=a=b"], Settings(3, name="a=b")),
        (["--rate", "2"], Settings(rate=2.0)),
        (["--name", "", "--count", "", "--config", ""], Settings()),
        (["--name", "-x"], Settings(name="-x")),
        (["--name", "123"], Settings(name="123")),
        (["--name", "a: [b"], Settings(name="a: [b")),
        (["--name", "#SMILES"], Settings(name="#SMILES")),
        (["--name", "null"], Settings(name="null")),
    ],
)  # fmt: skip
def test_what_is_given_arrives(argv, want):
    assert parse_dataclass(Settings, argv, prog="step") == want


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--count", "x"], "step: --count x: expected int."),
        (["--count", "1.5"], "step: --count 1.5: expected int."),
        (["--mode", "c"], "step: --mode c: expected one of a, b."),
        (["--on", "perhaps"], "step: --on perhaps: expected bool."),
        (["--coun", "3"], "step: --coun: there is no such parameter; did you mean --count?"),
        (["three"], "step: 'three' follows no flag; write --name value."),
        (["--count", "-1"], "step: count: expected at least 0"),
    ],
)
def test_what_is_wrong_is_one_line(argv, says):
    with pytest.raises(ConfigError) as caught:
        parse_dataclass(Settings, argv, prog="step")
    assert str(caught.value) == says


def test_a_file_gives_settings_and_flags_win(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("count: 3\nname: file\n")
    assert parse_dataclass(Settings, ["--config", str(path), "--count", "4"], prog="step") == Settings(4, name="file")


@pytest.mark.parametrize(
    ("text", "says"), [("cuont: 3", "--cuont: there is no such parameter"), ("count: x", "--count x: expected int")]
)
def test_what_is_wrong_in_a_file_is_one_line(tmp_path, text, says):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        parse_dataclass(Settings, ["--config", str(path)], prog="step")


def test_config_can_be_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        parse_dataclass(Settings, ["--count", "7", "--print_config"], prog="step")
    assert ended.value.code == 0
    assert "count: 7\nrate: 0.5\nmode: a" in capsys.readouterr().out


# --- train ------------------------------------------------------------------------------------------------------


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
