"""Lightning's Trainer, built from options as a command line or a file gives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, StochasticWeightAveraging
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from pipeline.errors import ConfigError
from pipeline.network.network import import_class
from pipeline.training.config import TrainConfig
from pipeline.training.resume import WholeFiles


def build_trainer(
    config: TrainConfig, folder: Path, logger: Any, callbacks: list[Callback], options: dict[str, Any]
) -> L.Trainer:
    """Build a Trainer of our defaults and the user's options; callbacks and loggers come beside ours.

    Args:
        logger: ours, or None.
        options: arguments of `lightning.Trainer`, unchanged; objects also as {class_path, init_args}.

    Raises:
        ConfigError: in one line, for what Lightning refuses or cannot be built.
    """
    options = {name: _build_objects(value) for name, value in options.items()}
    theirs = options.pop("callbacks", None) or []
    loggers: list[Any] = [logger] if logger else []
    more = options.pop("logger", True)
    if more is False:
        loggers = []
    elif more not in (True, None):
        loggers += more if isinstance(more, list | tuple) else [more]
    defaults = {
        # Not "auto": that is every GPU, and Apple's, where double and some scatters are missing.
        "accelerator": "cuda" if torch.cuda.is_available() else "cpu",
        "devices": 1,
        "max_epochs": config.max_epochs,
        "gradient_clip_val": config.gradient_clip or None,
        "logger": loggers or False,
        "callbacks": [*callbacks, *(theirs if isinstance(theirs, list | tuple) else [theirs])],
        "default_root_dir": folder,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
    }
    try:
        trainer = L.Trainer(**(defaults | options))
    except (MisconfigurationException, TypeError, ValueError, RuntimeError, ImportError) as error:
        raise ConfigError(f"trainer: {one_line(error)}") from None
    if any(isinstance(one, StochasticWeightAveraging) for one in trainer.callbacks):
        raise ConfigError(
            "trainer: StochasticWeightAveraging makes its average after the last epoch, where nothing validates or "
            "keeps it; pass lightning.pytorch.callbacks.WeightAveraging or EMAWeightAveraging."
        )
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = WholeFiles()
    return trainer


def _build_objects(value: Any) -> Any:
    """Build what is given as {class_path, init_args}, at any depth."""
    if isinstance(value, list | tuple):
        return [_build_objects(one) for one in value]
    if not (isinstance(value, Mapping) and "class_path" in value):
        return value
    arguments = {name: _build_objects(one) for name, one in (value.get("init_args") or {}).items()}
    try:
        return import_class(value["class_path"])(**arguments)
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(f"trainer: {value['class_path']} cannot be built: {one_line(error)}") from None


def one_line(error: Exception) -> str:
    """What Lightning says over several lines."""
    return " ".join(str(error).split())
