"""prepare: a table of graphs → a memory-mapped store, a quarantine, a page of figures.

Reads `data` (or calls `dataset`), writes `.graphline/stores/<key>`, logs the data set as an input of the run.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.labels import is_wide_potency
from pipeline.dataset.source import Source, find_source, folder_name
from pipeline.errors import DataError
from pipeline.machine import disk_use, human_size
from pipeline.runs.keys import StepKey, step_key
from pipeline.runs.tags import DATA_DIGEST, DATA_KIND, NAME, SHARE_ROWS
from pipeline.samples.kinds import kind_of
from pipeline.schema import Target
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run, say

if TYPE_CHECKING:
    from pipeline.runs.tracking import StepRun
    from pipeline.store.store import Store

LARGEST_EXACT = 2**24
"""Whole numbers above it have no float32 of their own."""


def key_of(config: PrepareConfig, source: Source, digest: str) -> StepKey:
    """The key of this step: how many processes work, and how the source was named, does not change the result."""
    asked = {name: value for name, value in dataclasses.asdict(config).items() if name not in SOUGHT}
    found = dataclasses.asdict(source) | {"path": source.path.name}
    values = asked | {f"source.{name}": value for name, value in found.items()}
    return step_key("prepare", values, {"data": digest}, Path.cwd(), data_kind=source.kind)


SOUGHT = ("data", "dataset", "target", "smiles", "name", "split", "processes")
"""What only says how to find the source, which counts itself, or how fast to read it."""


@contextlib.contextmanager
def located(config: PrepareConfig) -> Iterator[tuple[Source, str]]:
    """Find the data and its digest; tables that the user's own function fills stay as they are until the end."""
    from pipeline.rows.table import file_digest
    from pipeline.runs.workfolder import hold

    tables = Path(".graphline") / "dataset"
    with hold(tables / folder_name(config.dataset), say) if config.dataset else contextlib.nullcontext():
        source = find_source(config, Path.cwd(), tables)
        yield source, file_digest(source.path)


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(PrepareConfig, argv, prog="prepare")
    with located(config) as (source, digest):
        prepare(config, source, digest)


def prepare(config: PrepareConfig, source: Source, digest: str) -> None:
    """Make the store of a source in a run of its own."""
    key = key_of(config, source, digest)
    from pipeline.rows.table import file_digest
    from pipeline.runs.tracking import WORK, start_step
    from pipeline.store.build import build_store, quarantine_path

    folder = WORK / "stores" / key
    say(f"prepare: {source.path} → model '{source.name}'")
    with start_step("prepare", say, name=source.name) as step:
        step.hold(folder)
        step.log_params(dataclasses.asdict(config))
        step.set_tags({NAME: source.name, DATA_KIND: source.kind})
        step.log_key(key)
        from tqdm import tqdm

        with tqdm(unit=" rows", desc="prepare", leave=False, disable=None) as bar:
            store = build_store(config, source, folder, digest, bar.update)
        if file_digest(source.path) != digest:
            raise DataError(f"{source.path}: was changed while it was read; run again when it is whole.")
        report = store.manifest["source"]
        for line in (*describe(store, report), *hints(store)):
            say(f"  {line}")
        quarantine = quarantine_path(folder)
        if report["quarantined"] or report["labels_left"]:
            say(f"  what left is listed in {quarantine}")
        log_data(step, store, source, quarantine, config.share_rows)
        say(f"  store {folder}, {human_size(disk_use(folder))}, digest {store.digest[:12]}")
        step.finish(store.digest)


def describe(store: Store, report: dict[str, Any]) -> list[str]:
    """What came, what left and why, what is predicted: lines for people."""
    split = report["split"]
    lines = []
    for target in store.schema.targets:
        unit = f" [{target.unit}]" if target.unit else ""
        classes = f": {', '.join(target.classes)}" if target.classes else ""
        positive = f" (positive: {target.positive})" if target.positive is not None else ""
        transform = {"p": ", trained as −log10 of mol/L", "log10": ", trained as log10"}.get(target.transform or "", "")
        options = "kind=, positive=" if target.task.has_threshold else "kind="
        found = f"{target.kind}{classes}{positive}{transform}"
        lines.append(f"target {target.name}{unit} is {found}; set it with {options}")
    nouns = kind_of(store.schema.data_kind).nouns
    if kind_of(store.schema.data_kind).fixed_columns and report.get("id_column"):
        lines.append(f"{nouns.samples} are read from column '{report['id_column']}'; set it with smiles=")
    if report.get("constant"):
        lines.append(f"left out, since their labels do not vary: {', '.join(report['constant'])}")
    if report.get("unused_split"):
        lines.append(f"column '{report['unused_split']}' names sides and is not used; pass split=given to split by it")
    for kind, columns in (("node", store.schema.node_columns), ("edge", store.schema.edge_columns)):
        if columns and not kind_of(store.schema.data_kind).fixed_columns:
            lines.append(
                f"{kind} columns: {', '.join(f'{c.name} ({c.kind})' for c in columns)}; numeric=, categorical="
            )
    lines.append(f"{report['rows']} rows → {report['graphs']} graphs; split {split['method']}: {_sizes(split)}")
    for title, counts in (("rows left out", report["quarantined"]), ("labels left out", report["labels_left"])):
        if counts:
            lines.append(f"{title}: {', '.join(f'{count} {code}' for code, count in counts.items())}")
    if report["strays"]:
        strays = " and ".join(f"{count} rows of {name}" for name, count in report["strays"].items())
        lines.append(f"{strays} name no graph of the table of graphs; they were left out")
    if report["bounds"]:
        lines.append(f"{report['bounds']} labels are bounds and taken as their number (censored=bound)")
    merged = report["replicates"].get("merged", 0)
    if merged:
        lines.append(f"{merged} replicate rows merged: {_how_merged(store.schema.targets, nouns.sample)}")
    leaks = {side: count for side, count in split["leaks"].items() if count}
    for side, count in leaks.items():
        lines.append(f"{count} graphs of {side} stand on a later side too; they left {side}")
    for target, found in report["replicates"]["targets"].items():
        if found.get("spread"):
            lines.append(f"noise floor of {target}: replicates spread by {found['spread']:.3g} (pooled std)")
    counts = report["built_in"].get("counts", {})
    if counts:
        lines.append(f"made from the original: {', '.join(f'{value} {key}' for key, value in counts.items())}")
    return lines


def _how_merged(targets: Sequence[Target], sample: str) -> str:
    kinds = {target.task.has_classes for target in targets}
    classes = f"into the class that their {sample} has in each of them"
    if kinds == {True}:
        return classes
    return f"into their {sample}'s median" + (f", labels of classes {classes}" if True in kinds else "")


def hints(store: Store) -> list[str]:
    """What may be better set otherwise."""
    y = store.arrays.y
    wide = [target for t, target in enumerate(store.schema.targets) if is_wide_potency(target, y[:, t])]
    exact = [
        target.name
        for t, target in enumerate(store.schema.targets)
        if not target.task.has_classes and target.transform is None and (np.abs(y[:, t]) > LARGEST_EXACT).any()
    ]
    return [
        *(f"{name} has labels beyond {LARGEST_EXACT:,}: float32 keeps seven digits of them" for name in exact),
        *_potency_hints(wide),
    ]


def _potency_hints(wide: Sequence[Target]) -> list[str]:
    return [
        f"{one.name} [{one.unit}] spans orders of magnitude: transform=p trains on −log10 of the molar value instead"
        for one in wide
    ]


def log_data(step: StepRun, store: Store, source: Source, quarantine: Path, share_rows: bool) -> None:
    """Log the data set as an input, its figures, and (with `share_rows`) store and quarantine."""
    import json

    import mlflow
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource

    from pipeline.report.fill import data_page

    digest = store.manifest["source"]["digest"]
    meta = MetaDataset(LocalArtifactDatasetSource(str(source.path)), name=source.name, digest=digest[:36])
    mlflow.log_input(meta, context="training")
    step.log_text(json.dumps(store.manifest["source"], indent=1), "data/report.json")
    step.log_text(data_page(store), "data/figures.html")
    if share_rows:
        step.log_folder(store.folder, "store")
        step.log_file(quarantine, "data")
    step.set_tags({SHARE_ROWS: share_rows, DATA_DIGEST: digest})


def _sizes(split: dict[str, Any]) -> str:
    return ", ".join(f"{count} {side}" for side, count in split["sizes"].items())


if __name__ == "__main__":
    run(main)
