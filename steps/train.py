"""train: the store of a `prepare` run → checkpoints and learning curves.

Reads the store of `prepare_run`, writes `.graphline/checkpoints/<key>`, logs curves and system facts to its own run.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.machine import describe_load, disk_use, environment, human_size, installed
from pipeline.runs.keys import StepKey, step_key
from pipeline.runs.tags import COMPLETE, DATA_KIND, ENVIRONMENT, KEY, NAME, PREPARE_RUN
from pipeline.training.config import TrainConfig
from steps.cli.arguments import build, build_parser, flags_of, flat_names, read_config
from steps.cli.command import run, say

if TYPE_CHECKING:
    from mlflow.entities import Run

    from pipeline.runs.tracking import StepRun
    from pipeline.store.store import Store
    from pipeline.training.train import TrainReport


@dataclass(frozen=True)
class TrainArguments:
    """What `train` is asked to do.

    Attributes:
        prepare_run: MLflow run whose store is trained on; default: the newest finished one.
        resume: go on from the last checkpoint of the same training, if there is one.
        trainer: arguments of `lightning.Trainer` that were given, objects as {class_path, init_args}.
    """

    config: TrainConfig
    prepare_run: str | None = None
    resume: bool = False
    trainer: dict[str, Any] = field(default_factory=dict)


def parse(argv: Sequence[str]) -> TrainArguments:
    """Read the command line; torch and Lightning are imported only when `model.` or `trainer.` flags are given.

    Raises:
        ConfigError: in one line, for a wrong name or value.
    """
    flags, file = flags_of(argv), read_config(argv)
    sections = {name.partition(".")[0].rstrip("+") for name in [*flags, *file]}
    parser = build_parser("train")
    parser.add_dataclass(TrainConfig)
    parser.add_argument("--prepare_run", type=str | None, default=None, help="run of prepare; default: the newest")
    parser.add_argument("--resume", type=bool, default=False, help="go on from the last checkpoint")
    if "model" in sections:
        from torch import nn

        parser.add_subclass_arguments(nn.Module, "model", skip={"hidden_dim"}, required=False, instantiate=False)
    if "trainer" in sections or "help" in sections:
        import lightning

        parser.add_class_arguments(lightning.Trainer, "trainer", instantiate=False)
    given = parser.parse_given(argv)
    model = given.get("model") or {}
    own = {name: model[name] for name in ("class_path", "init_args") if name in model}
    flat = {name: given[name] for name in flat_names(TrainConfig) if name in given}
    return TrainArguments(
        config=build(TrainConfig, flat | own, prog="train"),
        prepare_run=given.get("prepare_run"),
        resume=given.get("resume", False),
        trainer=_whole_numbers(given.get("trainer") or {}, flags, file.get("trainer") or {}),
    )


def _whole_numbers(trainer: dict[str, Any], flags: dict[str, str], file: dict[str, Any]) -> dict[str, Any]:
    """Give `limit_train_batches=5` back as 5: read as the float 5.0, Lightning takes it for a share."""
    texts = {name: flags.get(f"trainer.{name}", str(file.get(name))) for name in trainer}
    return {
        name: int(value) if isinstance(value, float) and re.fullmatch(r"\d+", texts[name]) else value
        for name, value in trainer.items()
    }


def key_of(arguments: TrainArguments, store_digest: str, data_kind: str | None) -> StepKey:
    """The key of this step: resuming does not change the result, the code of own networks and callbacks does."""
    values = arguments.config.to_dict() | {"trainer": arguments.trainer}
    own = [path.rpartition(".")[0] for path in class_paths(values)]
    return step_key("train", values, {"store": store_digest}, Path.cwd(), also=own, data_kind=data_kind)


def class_paths(values: Any) -> list[str]:
    """Every `class_path` in nested settings."""
    if isinstance(values, Mapping):
        here = [values["class_path"]] if isinstance(values.get("class_path"), str) else []
        return here + [path for value in values.values() for path in class_paths(value)]
    return [path for value in values for path in class_paths(value)] if isinstance(values, list | tuple) else []


def fetch_store(prepared: Run) -> Path:
    """The store of a finished `prepare` run, checked: the local copy, or else the run's artifact."""
    from pipeline.runs.tracking import WORK, fetch_folder
    from pipeline.store.manifest import check_store

    tags = prepared.data.tags
    folder = WORK / "stores" / tags[KEY]

    def digest(path: Path) -> str:
        return str(check_store(path)["digest"])

    return fetch_folder(prepared, "store", folder, digest, tags[COMPLETE], say)


def open_prepared(prepared: Run) -> Store:
    """Open the store of a finished `prepare` run."""
    from pipeline.store.store import open_store

    return open_store(fetch_store(prepared))


JOIN = "GRAPHLINE_JOIN"
"""Set for the processes that Lightning starts for further devices: store and checkpoint folder."""


def main(argv: Sequence[str]) -> None:
    arguments = parse(argv)
    if JOIN in os.environ:
        join(arguments)
        return
    from pipeline.runs.tracking import WORK, find_newest, find_run, start_step
    from pipeline.training.checkpoints import check_checkpoints

    with start_step("train", say) as step:
        prepared = find_run(arguments.prepare_run or find_newest("prepare", step.experiment_id), "prepare")
        tags = prepared.data.tags
        key = key_of(arguments, tags[COMPLETE], tags.get(DATA_KIND))
        folder = WORK / "checkpoints" / key
        step.hold(folder)
        step.set_tags({NAME: tags[NAME], "mlflow.runName": f"train {tags[NAME]}"})
        step.log_key(key)
        step.set_tags({PREPARE_RUN: prepared.info.run_id})
        step.log_params(arguments.config.to_dict() | {f"trainer.{k}": v for k, v in arguments.trainer.items()})
        store = open_prepared(prepared)
        report = fit(step, store, arguments, folder)
        for member in report.members:
            say(
                f"train: {member.num_parameters} weights, best epoch {member.best_epoch} of {member.epochs}, "
                f"validation loss {member.best_loss:.4g}, {member.train_time_s:.0f} s"
            )
        step.log_metrics({"train_time_s": sum(member.train_time_s for member in report.members)} | memory())
        step.log_file(folder / "training.json", "training")
        for path in sorted([*folder.glob("member-*/best.ckpt"), *folder.glob("member-*/forest.npz")]):
            step.log_file(path, f"training/{path.parent.name}")
        say(f"  checkpoints {folder}, {human_size(disk_use(folder))}")
        step.finish(check_checkpoints(folder))


def fit(step: StepRun, store: Store, arguments: TrainArguments, folder: Path) -> TrainReport:
    """Train under Lightning's own MLflow logger, on this step's run."""
    import logging

    import mlflow
    import torch
    from lightning.pytorch.callbacks import TQDMProgressBar

    from pipeline.training.logger import RunLogger
    from pipeline.training.train import train

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    facts = environment() | describe_load(torch.get_num_threads())
    step.set_tags({f"{ENVIRONMENT}{name}": value for name, value in facts.items()})
    step.log_text(installed(), "environment.txt")
    logger = RunLogger(tracking_uri=mlflow.get_tracking_uri(), run_id=step.run_id)
    options = arguments.trainer
    if sys.stderr.isatty():  # in a log file a bar is only noise
        options = {"enable_progress_bar": True, "callbacks": [TQDMProgressBar(refresh_rate=20)]} | options
    os.environ[JOIN] = json.dumps([str(store.folder), str(folder)])
    return train(store, arguments.config, folder, logger, options, arguments.resume)


def memory() -> dict[str, float]:
    """Largest resident memory of this process so far, in MB."""
    import resource

    unit = 1e6 if sys.platform == "darwin" else 1e3  # bytes there, kilobytes elsewhere
    return {"peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}


def join(arguments: TrainArguments) -> None:
    """Train along on another device: no run, no log, no word."""
    from pipeline.store.store import open_store
    from pipeline.training.train import train

    store, folder = map(Path, json.loads(os.environ[JOIN]))
    train(open_store(store), arguments.config, folder, None, arguments.trainer, arguments.resume)


if __name__ == "__main__":
    run(main)
