"""Training: a store and settings in, checkpoints and learning curves out.

A training that was broken off goes on at the last whole epoch and ends with the same weights, bit for bit on the CPU.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from tensordict import TensorDict
from torch import Tensor

from pipeline.dataset.split import TRAIN, VALIDATION
from pipeline.errors import ConfigError, StoreError, TrainingError
from pipeline.network.forest import Forest
from pipeline.network.losses import LEARNING, TargetLoss, balance_classes
from pipeline.network.network import GraphNetwork, Statistics, build_network
from pipeline.network.trees import read_forest, write_forest
from pipeline.schema import Schema
from pipeline.store.loader import BatchLoader
from pipeline.store.store import Store
from pipeline.training.checkpoints import (
    MemberReport,
    best_path,
    check_checkpoints,
    digest_of,
    forest_path,
    intact_members,
    read_training,
    write_training,
)
from pipeline.training.config import TrainConfig
from pipeline.training.forest import fit_forest
from pipeline.training.resume import ResumableEarlyStopping, clear_member
from pipeline.training.trainer import build_trainer, one_line

MONITOR = "val/loss"
_WARM_UP = 0.1  # share of the steps in which the learning rate rises
_EPOCH_STRIDE = 1_000_003  # a prime: no two (seed, epoch) of usual size share random numbers


class GraphModule(L.LightningModule):  # type: ignore[misc]
    """Trains one network: masked losses, fused AdamW, one-cycle schedule a step, one row of the curve an epoch."""

    def __init__(self, network: GraphNetwork, schema: Schema, config: TrainConfig, member: int) -> None:
        super().__init__()
        self.network = network
        self.loss = TargetLoss(schema)
        self.targets = schema.targets
        self.starts = [columns.start for columns in schema.slices]
        self.config = config
        self.seed = config.seed + member
        self.log_prefix = f"member-{member}/" if member else ""
        self.curve: list[dict[str, float]] = []
        self.totals: dict[str, tuple[Tensor, Tensor]] = {}
        self.validated = False  # in this epoch
        self.validated_weights: dict[str, Tensor] = {}

    def training_step(self, batch: TensorDict, index: int) -> Tensor:
        sums, counts = self._compare("train", batch)
        return sums.sum() / counts.sum().clamp(min=1)

    def validation_step(self, batch: TensorDict, index: int) -> None:
        self._compare("val", batch)

    def _compare(self, side: str, batch: TensorDict) -> tuple[Tensor, Tensor]:
        sums, counts = self.loss(self.network.head, self.network.inner(batch), batch["y"])
        before = self.totals.get(side, (0.0, 0.0))
        self.totals[side] = (before[0] + sums.detach(), before[1] + counts)
        return sums, counts

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:  # torch's own way around takes 2 % of a small step
            for parameter in group["params"]:
                parameter.grad = None

    def on_train_batch_start(self, batch: TensorDict, index: int) -> None:
        if index == 0:
            # Dropout is a function of (seed, epoch), so a resumed training repeats what an unbroken one does.
            torch.manual_seed(self.seed + _EPOCH_STRIDE * (self.current_epoch + 1) + self.global_rank)

    def on_train_epoch_start(self) -> None:
        self.totals.pop("train", None)
        self.validated = False

    def on_validation_epoch_start(self) -> None:
        self.totals.pop("val", None)
        # Callbacks that average weights have lent them by now, and take them back before anything is saved.
        state = self.trainer.strategy.lightning_module_state_dict()
        self.validated_weights = {name: value.clone() for name, value in state.items()}

    def on_validation_epoch_end(self) -> None:
        loss, per_target = self._means("val")
        if not math.isfinite(loss):
            raise TrainingError(
                f"training: the validation loss is {loss} in epoch {self.current_epoch + 1}; "
                f"pass a lower learning_rate than {self.config.learning_rate}, or precision=32-true."
            )
        self.validated = True
        # Callbacks read these; the loggers get one row an epoch, see on_train_epoch_end.
        self.log(MONITOR, loss, prog_bar=True, logger=False)
        for t, target in enumerate(self.targets):
            if not math.isnan(per_target[t]):
                learning, std = LEARNING[target.kind], self.network.head.y_std[self.starts[t]].item()
                value = learning.in_units(per_target[t], std)
                self.log(f"val/{target.key}/{learning.metric}", value, logger=False)

    def on_train_epoch_end(self) -> None:
        row = {"train/loss": self._means("train")[0], "learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"]}
        self.log("train/loss", row["train/loss"], logger=False)
        if self.validated:  # else these are of an earlier epoch
            found = self.trainer.callback_metrics
            row |= {name: float(value) for name, value in found.items() if name.startswith("val/")}
        self.curve.append({"epoch": self.current_epoch + 1, **row})
        for logger in self.loggers:
            logger.log_metrics({self.log_prefix + name: value for name, value in row.items()}, self.current_epoch + 1)

    def _means(self, side: str) -> tuple[float, list[float]]:
        """Mean loss over all labels and per target, over all devices; NaN without labels."""
        sums, counts = self.totals[side]
        sums, counts = self.trainer.strategy.reduce(torch.stack([sums, counts.to(sums.dtype)]), reduce_op="sum")
        return (sums.sum() / counts.sum()).item(), (sums / counts).tolist()

    def configure_optimizers(self) -> dict[str, Any]:
        steps = self.trainer.estimated_stepping_batches
        if not 1 <= steps < math.inf:
            raise ConfigError(
                "trainer: the one-cycle schedule needs a step and an end; pass max_epochs or trainer.max_steps, and no "
                "limit_train_batches=0."
            )
        weights = [p for p in self.network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in weights if p.ndim > 1], "weight_decay": self.config.weight_decay},
            {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
        ]
        # In mixed precision Lightning refuses to clip gradients for a fused optimizer, which may unscale them itself.
        fused = not str(self.trainer.precision).endswith("-mixed")
        optimizer = torch.optim.AdamW(groups, lr=self.config.learning_rate, fused=fused)
        # A warm-up of exactly one step, a tenth of ten, makes OneCycleLR divide by zero.
        warm_up = _WARM_UP if steps >= 20 else 0.3
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.config.learning_rate, total_steps=int(steps), pct_start=warm_up, cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "optimizer_states" in checkpoint:
            checkpoint["curve"] = self.curve
        else:  # the best weights: equal ones are equal bytes, however often training was broken off
            checkpoint.pop("loops", None)
            checkpoint["state_dict"].update(self.validated_weights)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.curve = list(checkpoint.get("curve", []))


class BestCheckpoint(ModelCheckpoint):  # type: ignore[misc]
    """Keeps the weights with the lowest validation loss, `best.ckpt`; with dropout among the last third of the epochs.

    There the one-cycle schedule anneals. A log loss is often lower long before, when the network is not yet sure of
    itself, but with dropout those weights rank worse: ROC-AUC 0.884 against 0.891 (bbbp, folds by scaffold, with
    descriptors). Without dropout it is the other way round, 0.869 against 0.852: the network overfits later.
    A training that ends earlier, or is not validated there, keeps the best of all.
    """

    def __init__(self, folder: Path, config: TrainConfig) -> None:
        super().__init__(
            folder,
            "best",
            monitor=MONITOR,
            mode="min",
            save_weights_only=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        self.first = config.max_epochs * 2 // 3 if config.dropout else 0

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        validated = [row["epoch"] for row in module.curve if MONITOR in row]
        if validated[-1:] != [trainer.current_epoch + 1]:
            return
        if sum(epoch > self.first for epoch in validated) == 1:
            self.best_model_score, self.kth_best_model_path = None, ""
            self.best_k_models.clear()
        super().on_train_epoch_end(trainer, module)


class GraphDataModule(L.LightningDataModule):  # type: ignore[misc]
    """The training and validation side of a store, in batches."""

    def __init__(self, store: Store, config: TrainConfig, seed: int) -> None:
        super().__init__()
        self.store = store
        self.config = config
        self.seed = seed

    def transfer_batch_to_device(self, batch: TensorDict, device: torch.device, dataloader_idx: int) -> TensorDict:
        # A batch that is there already: TensorDict's way of finding out takes 3 % of a small step.
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def train_dataloader(self) -> BatchLoader:
        return BatchLoader(
            self.store, self.store.indices(TRAIN), batch_size=self.config.batch_size, shuffle=True, seed=self.seed
        )

    def val_dataloader(self) -> BatchLoader:
        return BatchLoader(
            self.store, self.store.indices(VALIDATION), batch_size=self.config.batch_size, shuffle=False, seed=self.seed
        )


@dataclass(frozen=True)
class TrainReport:
    """What became of a training."""

    members: tuple[MemberReport, ...]


def train(
    store: Store,
    config: TrainConfig,
    folder: str | Path,
    logger: Any = None,
    trainer_options: Mapping[str, Any] | None = None,
    resume: bool = False,
) -> TrainReport:
    """Train the networks that the settings ask for and leave their checkpoints in `folder`.

    Args:
        logger: a Lightning logger; member k > 0 of an ensemble logs under `member-<k>/…`.
        trainer_options: arguments of `lightning.Trainer`, unchanged; objects also as {class_path, init_args}.
            Callbacks and loggers come beside our own.
        resume: go on from what `folder` holds, from the start if it holds nothing; else begin anew.

    Raises:
        ConfigError: for options that Lightning refuses, or to resume a training with other settings.
        TrainingError: if the loss leaves the numbers, or no checkpoint came out.
    """
    folder = Path(folder)
    done = _finished_members(folder, config) if resume else []
    save = rank_zero_only(write_training)
    save(folder, config, done)
    with torch.random.fork_rng():
        for k in range(len(done), config.ensemble):
            module = _build_module(store, config, k)
            done.append(_train_member(k, module, store, folder, logger, dict(trainer_options or {}), resume))
            save(folder, config, done)
    return TrainReport(tuple(done[: config.ensemble]))


def load_networks(folder: str | Path, schema: Schema, statistics: Statistics) -> list[GraphNetwork]:
    """Load the best checkpoint of each member, on the CPU, ready to predict.

    Raises:
        StoreError: if the folder holds no finished training, a damaged one, or one of other graphs.
    """
    folder = Path(folder)
    check_checkpoints(folder)
    found = read_training(folder)
    assert found is not None
    config, _ = found
    networks = []
    for k in range(config.ensemble):
        path = best_path(folder, k)
        network = build_network(config, schema, statistics)
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
            network.load_state_dict({name.removeprefix("network."): v for name, v in state.items()})
        except (OSError, KeyError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0]
            raise StoreError(f"{path.absolute()}: does not fit these graphs and settings ({first}).") from None
        if schema.fingerprint_size:
            network.forest = Forest(read_forest(forest_path(folder, k)), schema)
        networks.append(network.eval())
    return networks


def _build_module(store: Store, config: TrainConfig, member: int) -> GraphModule:
    torch.manual_seed(config.seed + member)
    network = build_network(config, store.schema, store.statistics)
    if config.class_weights == "balanced":
        y = store.tensors["graphs", "y"].index_select(0, torch.as_tensor(store.indices(TRAIN)))
        network.head.class_weight.copy_(balance_classes(y, store.schema))
    return GraphModule(network, store.schema, config, member)


def _train_member(
    k: int,
    module: GraphModule,
    store: Store,
    folder: Path,
    logger: Any,
    options: dict[str, Any],
    resume: bool,
) -> MemberReport:
    config = module.config
    place = best_path(folder, k).parent
    last = place / "last.ckpt"
    if place.exists() and rank_zero_only.rank == 0:
        clear_member(place, keep=resume)
    best = BestCheckpoint(place, config)
    callbacks: list[Callback] = [
        best,
        ModelCheckpoint(place, "last", save_on_train_epoch_end=True, enable_version_counter=False),
    ]
    if config.early_stopping:
        callbacks.append(ResumableEarlyStopping(MONITOR, patience=config.early_stopping))
    trainer = build_trainer(config, folder, logger, callbacks, options)
    start = time.perf_counter()
    try:
        trainer.fit(
            module,
            datamodule=GraphDataModule(store, config, module.seed),
            ckpt_path=last if resume and last.exists() else None,
            weights_only=True,
        )
    except MisconfigurationException as error:
        raise ConfigError(f"trainer: {one_line(error)}") from None
    except SystemExit as error:  # how Lightning ends on Ctrl-C
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    if best.best_model_score is None:
        raise TrainingError(
            "training: no checkpoint came out, so there is nothing to evaluate; leave out trainer options such as "
            "fast_dev_run, enable_checkpointing=false, limit_val_batches=0, or max_steps and max_time below one epoch."
        )
    if store.schema.fingerprint_size:
        rank_zero_only(_plant)(store, module.seed, forest_path(folder, k))
    scores = {int(row["epoch"]): row[MONITOR] for row in module.curve if MONITOR in row}
    scores = {epoch: score for epoch, score in scores.items() if epoch > best.first} or scores
    return MemberReport(
        seed=module.seed,
        num_parameters=sum(p.numel() for p in module.network.parameters()),
        best_epoch=min(scores, key=lambda epoch: scores[epoch]),
        best_loss=float(best.best_model_score),
        epochs=len(module.curve),
        train_time_s=round(time.perf_counter() - start, 3),
        curve=module.curve,
        sha256=digest_of(best_path(folder, k)) or "",
        forest=digest_of(forest_path(folder, k)),
    )


def _plant(store: Store, seed: int, path: Path) -> None:
    """Fit the trees that answer beside a network."""
    chosen = store.indices(TRAIN)
    write_forest(fit_forest(store.schema, store.arrays.u[chosen], store.arrays.y[chosen], seed), path)


def _finished_members(folder: Path, config: TrainConfig) -> list[MemberReport]:
    try:
        found = read_training(folder)
    except StoreError:  # what is damaged is no beginning
        shutil.rmtree(folder)
        found = None
    if found is None:
        return []
    before, members = found
    now, then = config.to_dict(), before.to_dict()
    changed = [name for name in now if name != "ensemble" and now[name] != then[name]]  # an ensemble may grow
    if changed:
        names = ", ".join(f"{name} {then[name]} → {now[name]}" for name in changed)
        raise ConfigError(
            f"resume: {folder.absolute()} was trained with other settings ({names}); "
            "pass the same, or train anew without resume."
        )
    return intact_members(folder, members)
