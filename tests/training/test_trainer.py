"""Lightning's Trainer: our defaults, what a user's options change, and one line for what cannot be."""

from __future__ import annotations

import pytest
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger

from pipeline.errors import ConfigError
from pipeline.training.config import TrainConfig
from pipeline.training.resume import WholeFiles
from pipeline.training.trainer import build_trainer

CALLBACKS = "lightning.pytorch.callbacks"


class Mine(Callback):
    """One of the callbacks that training itself brings."""


def build(tmp_path, config=None, ours=None, **options):
    return build_trainer(config or TrainConfig(), tmp_path, ours, [Mine()], {"accelerator": "cpu"} | options)


def kinds(things):
    return [type(thing).__name__ for thing in things]


def test_settings_reach_the_trainer_and_checkpoints_are_written_whole(tmp_path):
    trainer = build(tmp_path, TrainConfig(max_epochs=3, gradient_clip=0.5))
    assert (trainer.max_epochs, trainer.gradient_clip_val) == (3, 0.5)
    assert str(trainer.default_root_dir) == str(tmp_path)
    assert type(trainer.strategy.checkpoint_io) is WholeFiles
    assert build(tmp_path, TrainConfig(gradient_clip=0)).gradient_clip_val is None


def test_a_users_options_come_first_and_callbacks_stand_beside_ours(tmp_path):
    monitor = {"class_path": f"{CALLBACKS}.LearningRateMonitor", "init_args": {"log_momentum": True}}
    for callbacks in (monitor, [monitor]):
        trainer = build(tmp_path, ours=CSVLogger(tmp_path), max_epochs=2, callbacks=callbacks)
        assert trainer.max_epochs == 2
        assert {"Mine", "LearningRateMonitor"} <= set(kinds(trainer.callbacks))
    (built,) = (one for one in trainer.callbacks if isinstance(one, LearningRateMonitor))
    assert built.log_momentum


class Theirs(CSVLogger):
    """A logger of the user's."""


THEIRS = Theirs("theirs")


@pytest.mark.parametrize(
    ("options", "loggers"),
    [
        ({}, ["CSVLogger"]),
        ({"logger": True}, ["CSVLogger"]),
        ({"logger": None}, ["CSVLogger"]),
        ({"logger": False}, []),
        ({"logger": THEIRS}, ["CSVLogger", "Theirs"]),
        ({"logger": [THEIRS]}, ["CSVLogger", "Theirs"]),
    ],
)
def test_loggers_stand_beside_ours_until_they_are_switched_off(tmp_path, options, loggers):
    assert kinds(build(tmp_path, ours=CSVLogger(tmp_path), **options).loggers) == loggers


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"precison": 16}, "trainer: .*precison"),
        ({"accelerator": "abacus"}, "trainer: .*abacus"),
        ({"callbacks": {"class_path": f"{CALLBACKS}.Timer", "init_args": {"hours": 1}}}, "Timer cannot be built"),
        ({"callbacks": {"class_path": f"{CALLBACKS}.Nothing"}}, "Nothing"),
    ],
)  # fmt: skip
def test_what_lightning_refuses_is_one_line(tmp_path, options, says):
    with pytest.raises(ConfigError, match=says) as caught:
        build(tmp_path, **options)
    assert "\n" not in str(caught.value)
