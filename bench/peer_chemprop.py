"""chemprop as a peer, in its own environment: needs nothing but chemprop (bench/requirements.txt).

    python -m bench.peer_chemprop epochs FOLDER cached|uncached     a side of bench.training
    python -m bench.peer_chemprop one-cycle FOLDER SEED             a training of bench.accuracy_speed

For `epochs` FOLDER holds train.csv (smiles, y) and task.json (kind of target; per epoch, the molecules of each batch).
For `one-cycle` it holds train.csv, val.csv and test.csv and task.json (epochs, learning_rate); answers.json comes out.
"""

from __future__ import annotations

import csv
import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from chemprop import data, models, nn
from chemprop.data.collate import collate_batch
from torch.utils.data import DataLoader

from bench.epochs import serve, trainer_options


class GivenBatches:
    """The batches of each epoch, in the order that the other side has, too."""

    def __init__(self, epochs: list[list[list[int]]]) -> None:
        self.size = len(epochs[0])
        self.epochs = itertools.cycle(epochs)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[list[int]]:
        return iter(next(self.epochs))


def read_dataset(path: Path, *, cache: bool) -> data.MoleculeDataset:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    dataset = data.MoleculeDataset([data.MoleculeDatapoint.from_smi(row["smiles"], [float(row["y"])]) for row in rows])
    dataset.cache = cache
    return dataset


def build_model(kind: str, **predictor: Any) -> models.MPNN:
    """chemprop's defaults: 300 wide, depth 3, sum over 100, one hidden layer of 300."""
    predictors = {"regression": nn.RegressionFFN, "binary": nn.BinaryClassificationFFN}
    return models.MPNN(nn.BondMessagePassing(), nn.NormAggregation(), predictors[kind](**predictor))


def serve_epochs(folder: Path, cache: str) -> None:
    dataset = read_dataset(folder / "train.csv", cache=cache == "cached")
    task = json.loads((folder / "task.json").read_text())
    if task["kind"] == "regression":
        dataset.normalize_targets()
    batches = task["batches"]
    loader = DataLoader(dataset, batch_sampler=GivenBatches(batches), collate_fn=collate_batch)
    torch.manual_seed(0)
    model = build_model(task["kind"])
    write_messages(model, collate_batch([dataset[i] for i in batches[0][0]]).bmg, folder / "messages.npz")
    facts = {"parameters": sum(p.numel() for p in model.parameters()), "molecules": len(dataset)}
    serve(lambda gate: L.Trainer(**trainer_options(gate)).fit(model, loader), facts)


def write_messages(model: models.MPNN, graphs: Any, path: Path) -> None:
    """What message passing makes of a batch, with its weights: for the other side to compare."""
    layer = model.message_passing
    with torch.no_grad():
        found = {"x": graphs.V, "e": graphs.E, "edge_index": graphs.edge_index, "reverse": graphs.rev_edge_index}
        found |= {"w_i": layer.W_i.weight, "w_h": layer.W_h.weight, "w_o": layer.W_o.weight, "b_o": layer.W_o.bias}
        found["h"] = layer(graphs)
    np.savez(path, **{name: value.detach().numpy() for name, value in found.items()})


# --- accuracy ---------------------------------------------------------------------------------------------------


class OneCycle(models.MPNN):
    """chemprop's model and its Adam; the schedule is one cycle instead of its warm-up and exponential decay."""

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.Adam(self.parameters(), self.max_lr)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.max_lr, total_steps=steps, pct_start=0.1, cycle_momentum=False
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def train_one_cycle(folder: Path, seed: int) -> None:
    """Train on train.csv, keep the epoch that is best on val.csv, answer test.csv."""
    torch.set_num_threads(1)
    task = json.loads((folder / "task.json").read_text())
    train, val, test = (read_dataset(folder / f"{name}.csv", cache=True) for name in ("train", "val", "test"))
    scaler = train.normalize_targets()
    val.normalize_targets(scaler)
    L.seed_everything(seed)
    predictor = nn.RegressionFFN(output_transform=nn.UnscaleTransform.from_standard_scaler(scaler))
    model = OneCycle(nn.BondMessagePassing(), nn.NormAggregation(), predictor, max_lr=task["learning_rate"])
    best = L.pytorch.callbacks.ModelCheckpoint(folder / "best", monitor="val_loss", mode="min", save_weights_only=True)
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_epochs=task["epochs"], callbacks=[best], logger=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    loaders = [data.build_dataloader(part, batch_size=64, shuffle=part is train) for part in (train, val, test)]
    trainer.fit(model, *loaders[:2])
    model.load_state_dict(torch.load(best.best_model_path, weights_only=False)["state_dict"])
    answers = torch.cat(trainer.predict(model, loaders[2]))[:, 0]
    (folder / "answers.json").write_text(json.dumps(answers.tolist()))


if __name__ == "__main__":
    if sys.argv[1] == "epochs":
        serve_epochs(Path(sys.argv[2]), sys.argv[3])
    else:
        train_one_cycle(Path(sys.argv[2]), int(sys.argv[3]))
