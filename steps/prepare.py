"""prepare: a table of graphs → a memory-mapped store, a quarantine, a page of figures.

Reads `data` (or calls `dataset`), writes `.graphline/stores/<key>`, logs the data set as an input of the run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cache import step_key
from pipeline.machine import disk_use, human_size
from pipeline.source import PrepareConfig, Source, find_source
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run, say

if TYPE_CHECKING:
    from pipeline.store import Store
    from pipeline.tracking import StepRun


def key_of(config: PrepareConfig, source: Source, digest: str) -> str:
    """The key of this step: how many processes work does not change the result."""
    values = dataclasses.asdict(config) | {"processes": None, "data": source.path.name, "name": source.name}
    return step_key("prepare", values, [digest], Path.cwd())


def locate(config: PrepareConfig) -> tuple[Source, str]:
    """Find the data and its digest."""
    from pipeline.table import file_digest

    source = find_source(config, Path.cwd(), Path(".graphline") / "dataset")
    return source, file_digest(source.path)


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(PrepareConfig, argv, prog="prepare")
    source, digest = locate(config)
    key = key_of(config, source, digest)
    from pipeline.dataset import build_store, quarantine_path
    from pipeline.tracking import KEY, NAME, WORK, start_step

    folder = WORK / "stores" / key
    say(f"prepare: {source.path} → model '{source.name}'")
    with start_step("prepare", name=source.name) as step:
        step.log_params(dataclasses.asdict(config))
        step.set_tags({KEY: key, NAME: source.name})
        from tqdm import tqdm

        with tqdm(unit=" rows", desc="prepare", leave=False, disable=None) as bar:
            store = build_store(config, source, folder, digest, bar.update)
        report = store.manifest["source"]
        for line in describe(store, report):
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
        positive = f" (positive: {target.classes[1]})" if target.kind == "binary" else ""
        transform = {"p": ", trained as −log10 of mol/L", "log10": ", trained as log10"}.get(target.transform or "", "")
        options = "kind=, positive=" if target.kind == "binary" else "kind="
        found = f"{target.kind}{classes}{positive}{transform}"
        lines.append(f"target {target.name}{unit} is {found}; set it with {options}")
    for kind, columns in (("node", store.schema.node_columns), ("edge", store.schema.edge_columns)):
        if store.schema.data_kind == "graph" and columns:
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
        lines.append(f"{merged} replicate rows merged into their molecule's median")
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


def log_data(step: StepRun, store: Store, source: Source, quarantine: Path, share_rows: bool) -> None:
    """Log the data set as an input, its figures, and (with `share_rows`) store and quarantine."""
    import json

    import mlflow
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource

    from pipeline.pages import data_page

    digest = store.manifest["source"]["digest"]
    meta = MetaDataset(LocalArtifactDatasetSource(str(source.path)), name=source.name, digest=digest[:36])
    mlflow.log_input(meta, context="training")
    step.log_text(json.dumps(store.manifest["source"], indent=1), "data/report.json")
    step.log_text(data_page(store), "data/figures.html")
    if share_rows:
        step.log_folder(store.folder, "store")
        step.log_file(quarantine, "data")
    step.set_tags({"graphline.share_rows": share_rows, "graphline.data_digest": digest})


def _sizes(split: dict[str, Any]) -> str:
    return ", ".join(f"{count} {side}" for side, count in split["sizes"].items())


if __name__ == "__main__":
    run(main)
