"""Training: learning, the same numbers for the same seed, resuming, and one line for what is wrong."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers.logger import Logger

from pipeline.dataset.split import TEST, TRAIN, VALIDATION
from pipeline.dataset.spool import Spool
from pipeline.errors import ConfigError, PipelineError, StoreError, TrainingError
from pipeline.graph import Graph, pack
from pipeline.network.losses import balance_classes
from pipeline.network.network import GraphNetwork
from pipeline.store.loader import gather
from pipeline.store.store import Store, write_store
from pipeline.training.checkpoints import check_checkpoints
from pipeline.training.config import TrainConfig
from pipeline.training.train import GraphModule, load_networks, train
from tests.support.schemas import RINGS

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:lightning"),
    pytest.mark.filterwarnings("ignore::lightning.pytorch.utilities.warnings.PossibleUserWarning"),
]

NAN = float("nan")
SMALL = TrainConfig(hidden_dim=16, num_layers=2, readout="sum", max_epochs=3, batch_size=8, learning_rate=0.01)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def graphs(count: int = 40) -> list[Graph]:
    """Rings of 3 to 8 nodes; the labels can be told from the graph, a third of each is missing."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        n = int(rng.integers(3, 9))
        x = rng.integers(1, 3, size=(n, 1)) if rng.random() < 0.5 else np.ones((n, 1))
        bond = np.stack([np.arange(n), (np.arange(n) + 1) % n], axis=1)
        y = np.array([n, (x == 2).any(), 0 if n < 5 else 1 if n < 7 else 2], dtype=np.float32)
        y[1:][rng.random(2) < 1 / 3] = NAN
        made.append(
            Graph(
                x=x.astype(np.int32),
                x_float=np.zeros((n, 0), np.float32),
                edge_index=np.stack([bond, bond[:, ::-1]], axis=1).reshape(-1, 2).T.astype(np.int32),
                edge_attr=np.ones((2 * n, 1), np.int32),
                edge_float=np.zeros((2 * n, 0), np.float32),
                u=np.zeros(0, np.float32),
                y=y,
            )
        )
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    folder, made = tmp_path_factory.mktemp("store"), graphs()
    spool = Spool(folder / "spool")
    spool.append(pack(made), [str(k) for k in range(len(made))])
    return write_store(
        folder / "store",
        spool,
        schema=RINGS,
        keep=np.ones(len(made), bool),
        y=np.stack([one.y for one in made]),
        split=np.array([TRAIN] * 24 + [VALIDATION] * 8 + [TEST] * 8, np.int8),
        row=np.arange(1, len(made) + 1),
        source={},
    )


class Memory(Logger):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []

    name = version = "memory"

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, *args, **kwargs):
        pass


def test_files_report_and_log(store, tmp_path):
    logger = Memory()
    report = train(store, dataclasses.replace(SMALL, ensemble=2), tmp_path, logger=logger)
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    members = [f"member-{k}/{name}.ckpt" for k in (0, 1) for name in ("best", "last")]
    assert files == [*members, "training.json"]
    assert [member.seed for member in report.members] == [0, 1]
    assert [step for step, _ in logger.rows] == [1, 2, 3, 1, 2, 3]
    first, fourth = logger.rows[0][1], logger.rows[3][1]
    names = {"train/loss", "val/loss", "learning_rate", "val/length/rmse", "val/has O/log_loss", "val/size/log_loss"}
    assert set(first) == names
    assert set(fourth) == {f"member-1/{name}" for name in names}
    assert report.members[0].curve[0] == {"epoch": 1, **first}
    assert report.members[0].best_loss == min(row["val/loss"] for row in report.members[0].curve)
    saved = json.loads((tmp_path / "training.json").read_text())
    assert saved["config"]["ensemble"] == 2
    assert [member["best_epoch"] for member in saved["members"]] == [m.best_epoch for m in report.members]


def test_the_best_networks_come_back(store, tmp_path):
    report = train(store, dataclasses.replace(SMALL, ensemble=2), tmp_path)
    networks = load_networks(tmp_path, store.schema, store.statistics)
    assert len(networks) == 2
    for network, member in zip(networks, report.members, strict=True):
        assert not network.training
        assert validation_loss(network, store) == pytest.approx(member.best_loss, rel=1e-5)


def validation_loss(network: GraphNetwork, store: Store) -> float:
    """What a network that came back has lost on the validation side."""
    module = GraphModule(network, store.schema, SMALL, 0)
    batch = gather(store, store.indices(VALIDATION))
    with torch.no_grad():
        sums, counts = module.loss(network.head, network.inner(batch), batch["y"])
    return (sums.sum() / counts.sum()).item()


AVERAGES = {
    "every step": {"class_path": "lightning.pytorch.callbacks.WeightAveraging"},
    "moving": {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.9}},
    "every epoch": {  # averages after the validation of an epoch and before its checkpoint
        "class_path": "lightning.pytorch.callbacks.EMAWeightAveraging",
        "init_args": {"decay": 0.5, "update_every_n_steps": 0, "update_starting_at_epoch": 0},
    },
}


@pytest.mark.parametrize("name", AVERAGES)
def test_averaged_weights_are_kept_as_they_were_validated(store, tmp_path, name):
    (member,) = train(store, SMALL, tmp_path, trainer_options={"callbacks": [AVERAGES[name]]}).members
    (network,) = load_networks(tmp_path, store.schema, store.statistics)
    assert validation_loss(network, store) == pytest.approx(member.best_loss, rel=1e-5)


def test_a_training_with_averaged_weights_goes_on_as_if_unbroken(store, tmp_path):
    average, config = AVERAGES["moving"], dataclasses.replace(SMALL, max_epochs=4)
    train(store, config, tmp_path / "whole", trainer_options={"callbacks": average})
    with pytest.raises(KeyError, match="crash"):
        train(store, config, tmp_path / "broken", trainer_options={"callbacks": [average, Stop(2, batch=1)]})
    train(store, config, tmp_path / "broken", trainer_options={"callbacks": average}, resume=True)
    assert check_checkpoints(tmp_path / "whole") == check_checkpoints(tmp_path / "broken")


def test_an_average_that_is_made_after_the_last_validation_is_refused(store, tmp_path):
    late = {"class_path": "lightning.pytorch.callbacks.StochasticWeightAveraging", "init_args": {"swa_lrs": 0.01}}
    with pytest.raises(ConfigError, match=r"StochasticWeightAveraging .*; pass .*\.WeightAveraging"):
        train(store, SMALL, tmp_path, trainer_options={"callbacks": [late]})


@pytest.mark.parametrize(
    ("options", "dropout", "validated"),
    [
        ({"check_val_every_n_epoch": 2}, 0.0, [2, 4]),
        ({"check_val_every_n_epoch": 2, "max_epochs": 5}, 0.2, [2, 4]),  # none among the last third, from the fifth on
        ({"max_steps": 8}, 0.0, [1, 2]),  # three a whole epoch
        ({"val_check_interval": 2}, 0.0, [1, 2, 3, 4]),  # before the last step of each
        ({"val_check_interval": 5, "check_val_every_n_epoch": None}, 0.0, [2, 4]),
    ],
)
def test_the_curve_has_a_loss_where_validation_ran_and_the_kept_weights_have_the_best(
    store, tmp_path, options, dropout, validated
):
    config = dataclasses.replace(SMALL, max_epochs=options.get("max_epochs", 4), dropout=dropout)
    (member,) = train(store, config, tmp_path, trainer_options=options).members
    losses = {row["epoch"]: row["val/loss"] for row in member.curve if "val/loss" in row}
    assert [row["epoch"] for row in member.curve if "val/length/rmse" in row] == list(losses) == validated
    assert losses[member.best_epoch] == member.best_loss
    (network,) = load_networks(tmp_path, store.schema, store.statistics)
    assert validation_loss(network, store) == pytest.approx(member.best_loss, rel=1e-5)


def test_one_seed_one_result_and_another_seed_another(store, tmp_path):
    config = dataclasses.replace(SMALL, dropout=0.2)
    curves = [
        train(store, dataclasses.replace(config, seed=seed), tmp_path / str(k)).members[0].curve
        for k, seed in enumerate([5, 5, 6])
    ]
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


def test_a_member_does_not_depend_on_those_before(store, tmp_path):
    config = dataclasses.replace(SMALL, dropout=0.2, max_epochs=2)
    together = train(store, dataclasses.replace(config, ensemble=2), tmp_path / "a").members[1]
    alone = train(store, dataclasses.replace(config, seed=1), tmp_path / "b").members[0]
    assert together.curve == alone.curve


def test_callers_random_numbers_are_left_alone(store, tmp_path):
    torch.manual_seed(9)
    want = torch.rand(3)
    torch.manual_seed(9)
    train(store, dataclasses.replace(SMALL, max_epochs=1), tmp_path)
    assert torch.equal(torch.rand(3), want)


def test_with_dropout_the_best_weights_are_of_the_annealed_epochs(store, tmp_path, monkeypatch):
    """Validation losses 1 to 6 by epoch: of six epochs the fifth is the best of the last third."""
    means = GraphModule._means

    def rising(self, side):
        loss, per_target = means(self, side)
        return (self.current_epoch + 1.0 if side == "val" else loss), per_target

    monkeypatch.setattr(GraphModule, "_means", rising)
    config = dataclasses.replace(SMALL, max_epochs=6, dropout=0.2)
    member = train(store, config, tmp_path).members[0]
    assert (member.best_epoch, member.best_loss) == (5, 5.0)
    checkpoint = torch.load(tmp_path / "member-0" / "best.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 4
    stopped = dataclasses.replace(config, max_epochs=30, early_stopping=2)
    member = train(store, stopped, tmp_path / "stopped").members[0]
    assert (member.epochs, member.best_epoch, member.best_loss) == (3, 1, 1.0)
    member = train(store, SMALL, tmp_path / "without").members[0]
    assert (member.best_epoch, member.best_loss) == (1, 1.0)


@pytest.mark.parametrize("network", ["dmpnn", "gatv2"])
def test_it_learns(store, tmp_path, network):
    config = dataclasses.replace(SMALL, network=network, max_epochs=25)
    curve = train(store, config, tmp_path).members[0].curve
    assert curve[-1]["train/loss"] < 0.65 * curve[0]["train/loss"]
    assert curve[-1]["val/has O/log_loss"] < 0.3  # chance: 0.69


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_a_training_of_few_steps_has_a_schedule(store, tmp_path, steps):
    config = dataclasses.replace(SMALL, max_epochs=steps, batch_size=24)  # one step an epoch
    assert train(store, config, tmp_path).members[0].epochs == steps


def test_early_stopping_ends_training(store, tmp_path):
    config = dataclasses.replace(SMALL, max_epochs=40, early_stopping=1, learning_rate=1.0)
    assert train(store, config, tmp_path).members[0].epochs < 40


class Stop(L.Callback):
    """Ends a training in the middle, as a crash does: at an epoch, at a batch, or before its report."""

    def __init__(self, epoch, batch=None, seed=0):
        self.epoch, self.batch, self.seed = epoch, batch, seed

    def here(self, trainer, module):
        return trainer.current_epoch == self.epoch and module.seed == self.seed

    def on_train_batch_start(self, trainer, module, batch, index):
        if self.here(trainer, module) and index == self.batch:
            raise KeyError("crash")

    def on_train_epoch_start(self, trainer, module):
        if self.here(trainer, module) and self.batch is None:
            raise KeyError("crash")

    def on_fit_end(self, trainer, module):
        if self.epoch == "end" and module.seed == self.seed:
            raise KeyError("crash")


def break_off(store, config, folder, *stops):
    for stop in stops:
        with pytest.raises(KeyError):
            train(store, config, folder, trainer_options={"callbacks": stop}, resume=True)
        with pytest.raises(StoreError, match="no finished training"):
            load_networks(folder, store.schema, store.statistics)


@pytest.fixture(scope="module")
def unbroken(store, tmp_path_factory):
    """What has no equal but by resuming every state: two members, dropout, and an early stop at a plateau."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("unbroken")
    config = dataclasses.replace(SMALL, ensemble=2, dropout=0.2, max_epochs=8, early_stopping=1, learning_rate=0.1)
    report = train(store, config, folder)
    assert min(member.epochs for member in report.members) < 8
    return config, report, folder


def check_equal(unbroken, resumed, folder):
    _, report, unbroken_folder = unbroken
    for a, b in zip(report.members, resumed.members, strict=True):
        assert a.curve == b.curve
        assert (a.best_epoch, a.best_loss, a.sha256) == (b.best_epoch, b.best_loss, b.sha256)
    assert check_checkpoints(folder) == check_checkpoints(unbroken_folder)


@pytest.mark.parametrize(
    "stops",
    [
        [Stop(1)],
        [Stop(0, batch=2)],  # before there is a checkpoint
        [Stop(1, batch=1), Stop(2, batch=2)],
        [Stop(1, batch=1, seed=1)],  # the second member
        [Stop("end")],  # after the last epoch, which early stopping chose, before the report
        [Stop("end", seed=1)],
    ],
    ids=["epoch", "first", "batches", "member", "end", "end of all"],
)
def test_a_resumed_training_ends_as_an_unbroken_one(store, unbroken, tmp_path, stops):
    break_off(store, unbroken[0], tmp_path, *stops)
    check_equal(unbroken, train(store, unbroken[0], tmp_path, resume=True), tmp_path)


@pytest.mark.parametrize("file", ["last.ckpt", "best.ckpt", "../training.json"])
def test_what_was_damaged_is_no_beginning(store, unbroken, tmp_path, file):
    break_off(store, unbroken[0], tmp_path, Stop(1, seed=1))
    path = tmp_path / "member-0" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (tmp_path / "member-1" / "last.ckpt.part").write_bytes(b"half")
    check_equal(unbroken, train(store, unbroken[0], tmp_path, resume=True), tmp_path)
    assert not list(tmp_path.rglob("*.part"))


def test_ctrl_c_leaves_as_ctrl_c(store, tmp_path):
    """Lightning makes an exit of it."""
    stop = Stop(1)
    stop.on_train_epoch_start = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        train(store, SMALL, tmp_path, trainer_options={"callbacks": stop})


def test_resuming_what_is_finished_changes_nothing_and_an_ensemble_may_grow(store, tmp_path):
    first = train(store, SMALL, tmp_path)
    assert train(store, SMALL, tmp_path, resume=True) == first
    grown = train(store, dataclasses.replace(SMALL, ensemble=2), tmp_path, resume=True)
    assert grown.members[0] == first.members[0]
    assert len(grown.members) == 2


def test_resuming_with_other_settings_is_refused(store, tmp_path):
    train(store, SMALL, tmp_path)
    with pytest.raises(ConfigError, match=r"hidden_dim 16 → 8.*without resume"):
        train(store, dataclasses.replace(SMALL, hidden_dim=8), tmp_path, resume=True)


def test_without_resume_everything_begins_anew(store, tmp_path):
    train(store, dataclasses.replace(SMALL, hidden_dim=8), tmp_path)
    report = train(store, SMALL, tmp_path)
    assert report.members[0].epochs == 3
    assert len(load_networks(tmp_path, store.schema, store.statistics)) == 1
    assert sorted(path.name for path in (tmp_path / "member-0").iterdir()) == ["best.ckpt", "last.ckpt"]


def test_balanced_weights_reach_the_checkpoint(store, tmp_path):
    train(store, dataclasses.replace(SMALL, class_weights="balanced", max_epochs=1), tmp_path)
    (network,) = load_networks(tmp_path, store.schema, store.statistics)
    y = torch.from_numpy(np.stack([store.graph(int(i)).y for i in store.indices(TRAIN)]))
    torch.testing.assert_close(network.head.class_weight, balance_classes(y, RINGS))


# --- trainer options and mistakes --------------------------------------------------------------------------------


def test_options_reach_the_trainer(store, tmp_path):
    options = {
        "max_epochs": 2,
        "precision": "bf16-mixed",
        "callbacks": [{"class_path": f"{__name__}.Witness", "init_args": {"folder": str(tmp_path)}}],
    }
    report = train(store, SMALL, tmp_path / "t", trainer_options=options)
    assert report.members[0].epochs == 2
    assert (tmp_path / "seen").read_text() == "bf16-mixed"


class Witness(L.Callback):
    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "seen"

    def on_fit_start(self, trainer, module):
        self.path.write_text(trainer.precision)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_epoch": 3}, "max_epoch"),
        ({"precision": "17"}, "17"),
        ({"accelerator": "abacus"}, "abacus"),
        ({"callbacks": [{"class_path": "lightning.pytorch.callbacks.Nope"}]}, "Nope"),
        ({"callbacks": [{"class_path": f"{__name__}.Witness", "init_args": {"file": "x"}}]}, "file"),
        ({"max_epochs": -1, "max_time": "00:00:01:00"}, "one-cycle schedule needs a step and an end"),
        ({"fast_dev_run": True}, "nothing to evaluate"),
        ({"limit_train_batches": 0}, "one-cycle schedule needs a step"),
        ({"limit_val_batches": 0}, "nothing to evaluate"),
    ],
)
def test_options_that_cannot_be_are_one_line(store, tmp_path, options, says):
    with pytest.raises(PipelineError, match=says) as caught:
        train(store, SMALL, tmp_path, trainer_options=options)
    assert "\n" not in str(caught.value)


def test_a_loss_that_leaves_the_numbers_is_said(store, tmp_path):
    config = dataclasses.replace(SMALL, learning_rate=1e30, gradient_clip=0.0)
    with pytest.raises(TrainingError, match="lower learning_rate than 1e"):
        train(store, config, tmp_path)


def test_foreign_checkpoints_are_refused(store, tmp_path):
    train(store, SMALL, tmp_path)
    wider = dataclasses.replace(store.schema, targets=store.schema.targets[:1])
    with pytest.raises(StoreError, match=r"best.ckpt: does not fit"):
        load_networks(tmp_path, wider, store.statistics)
    with pytest.raises(StoreError, match="no finished training"):
        load_networks(tmp_path / "nowhere", store.schema, store.statistics)
