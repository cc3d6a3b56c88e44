"""evaluate: checkpoints → ONNX, parity gate, bundle; its test answers beside baselines and champion, verdict, card.

Reads the runs of `train` and `prepare` and the champion, if there is one; writes `.graphline/bundles/<key>` with the
card beside it, logs everything.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.evaluation.config import EvaluateConfig
from pipeline.evaluation.gate import Gate
from pipeline.machine import commit, disk_use, environment, graphline_version, human_size
from pipeline.runs.keys import StepKey, step_key
from pipeline.runs.tags import (
    CARD,
    COMMIT,
    COMPARED,
    COMPARED_DIGEST,
    COMPLETE,
    DATA_DIGEST,
    DATA_KIND,
    DIGEST,
    EXAMPLE,
    HEADLINE,
    KEY,
    NAME,
    NOTHING,
    PREPARE_RUN,
    SHARE_ROWS,
    THRESHOLD,
    TRAIN_RUN,
    VERDICT,
)
from pipeline.samples.kinds import kind_of
from pipeline.schema import metric_key
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run, say
from steps.train import open_prepared

if TYPE_CHECKING:
    from mlflow.entities import Run

    from pipeline.bundle.parity import ParityReport
    from pipeline.evaluation.champion import Champion
    from pipeline.evaluation.judge import Evaluation
    from pipeline.network.network import GraphNetwork
    from pipeline.report.card import CardInputs
    from pipeline.runs.tracking import StepRun
    from pipeline.schema import Schema
    from pipeline.store.store import Store


@dataclass(frozen=True)
class Given:
    """What is judged: the store and the checkpoints trained on it; `folder`: where the bundle goes."""

    store: Store
    checkpoints: Path
    folder: Path
    share_rows: bool
    champion: Champion | None


@dataclass(frozen=True)
class Exported:
    """The bundle's digest, its parity report and its input example."""

    digest: str
    parity: ParityReport
    example: Any


def key_of(config: EvaluateConfig, inputs: Mapping[str, str], data_kind: str | None) -> StepKey:
    """The key of this step: what the gate says counts, not where it lies.

    Args:
        inputs: digests of `store`, `training` and `champion`: the test side does not show in the weights.
    """
    gate = Path(config.gate).read_text(encoding="utf-8")
    values = {"gate": gate, "resamples": config.resamples, "graphline": graphline_version()}
    also = ("serving.model", "pipeline.bundle.answering")
    texts = ("serving/requirements.txt",)
    return step_key("evaluate", values, inputs, Path.cwd(), also=also, texts=texts, data_kind=data_kind)


def fetch_training(trained: Run) -> Path:
    """The checkpoints of a finished `train` run, checked: the local copy, or else the run's artifact."""
    from pipeline.runs.tracking import WORK, fetch_folder
    from pipeline.training.checkpoints import check_checkpoints

    tags = trained.data.tags
    return fetch_folder(trained, "training", WORK / "checkpoints" / tags[KEY], check_checkpoints, tags[COMPLETE], say)


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(EvaluateConfig, argv, prog="evaluate")
    from pipeline.evaluation.judge import judge_bundle
    from pipeline.evaluation.live import fetch_champion
    from pipeline.report.card import build_card
    from pipeline.runs.tracking import start_step

    with start_step("evaluate", say) as step, tempfile.TemporaryDirectory(prefix="evaluate-") as temporary:
        gate = Gate.read(Path(config.gate))
        given = open_given(step, config)
        # Before all work: a champion whose bytes are damaged must be mended first.
        champion = fetch_champion(given.champion, Path(temporary) / "champion") if given.champion else None
        made = export(given, Path(temporary) / "model.onnx")
        lines = len(made.parity.rows)
        say(f"evaluate: ONNX agrees with torch to {made.parity.worst.difference:.0e} in {lines} comparisons")
        found = judge_bundle(
            given.store, given.folder, champion, gate, share_rows=given.share_rows, resamples=config.resamples
        )
        card = card_of(given, made, found)
        page = given.folder.with_name(f"{given.folder.name}.card.html")
        page.write_text(build_card(card), encoding="utf-8")
        log_evaluation(step, card, found, made.parity)
        step.log_folder(given.folder, "bundle")
        step.set_tags(
            {
                DIGEST: made.digest,
                VERDICT: found.verdict.words,
                HEADLINE: found.verdict.headline,
                CARD: page,
                EXAMPLE: request_text(made.example, given.folder),
                DATA_DIGEST: given.store.manifest["source"]["digest"],
                COMMIT: card.environment["commit"],
            }
            | {f"{THRESHOLD}{metric_key(target)}": threshold for target, threshold in found.basis.thresholds.items()}
        )
        for line in (found.verdict.headline, *found.comparison.notes):
            say(f"  {line}")
        schema = given.store.schema
        has_descriptors = kind_of(schema.data_kind).source().has_descriptors
        if found.verdict.baseline_wins and has_descriptors and not schema.fingerprint_size:
            say("  -P forest=true lets trees answer together with the network: try it where the forest is better.")
        size = human_size(disk_use(given.folder))
        say(f"  bundle {given.folder}, {size}, sha256 {made.digest[:12]}; card {page}")
        step.finish(made.digest)


def open_given(step: StepRun, config: EvaluateConfig) -> Given:
    """Find the runs, the store, the checkpoints and the champion, and write down which they are."""
    from pipeline.evaluation.champion import champion_key
    from pipeline.evaluation.live import find_champion
    from pipeline.runs.tracking import WORK, find_newest, find_run

    trained = find_run(config.train_run or find_newest("train", step.experiment_id), "train")
    prepared = find_run(trained.data.tags[PREPARE_RUN], "prepare")
    name = trained.data.tags[NAME]
    champion = find_champion(name)
    digests = {"store": prepared.data.tags[COMPLETE], "training": trained.data.tags[COMPLETE]}
    key = key_of(config, digests | {"champion": champion_key(champion)}, prepared.data.tags.get(DATA_KIND))
    folder = WORK / "bundles" / key
    step.hold(folder)
    step.set_tags({NAME: name, "mlflow.runName": f"evaluate {name}"})
    step.log_key(key)
    step.set_tags({TRAIN_RUN: trained.info.run_id, PREPARE_RUN: prepared.info.run_id})
    version, digest = (champion.version, champion.digest) if champion else (NOTHING, NOTHING)
    step.set_tags({COMPARED: version, COMPARED_DIGEST: digest})
    step.log_params({"gate": config.gate, "resamples": config.resamples})
    share_rows = prepared.data.tags[SHARE_ROWS] == "True"
    return Given(open_prepared(prepared), fetch_training(trained), folder, share_rows, champion)


def export(given: Given, onnx: Path) -> Exported:
    """Networks → thresholds → ONNX → parity gate → bundle."""
    from pipeline.bundle.build import STORE, build_bundle
    from pipeline.bundle.export import export_onnx
    from pipeline.bundle.parity import check_parity
    from pipeline.bundle.requests import build_example
    from pipeline.dataset.split import TEST
    from pipeline.store.scope import covered, with_ranges
    from pipeline.training.train import load_networks

    store = given.store
    networks = load_networks(given.checkpoints, store.schema, store.statistics)
    schema = with_ranges(with_thresholds(store, networks), covered(store))
    export_onnx(networks, schema, onnx, {"store": store.digest})
    scale = np.concatenate(
        [
            np.full(target.width, 1.0 if target.task.has_classes else store.statistics["y"]["std"][t])
            for t, target in enumerate(schema.targets)
        ]
    )
    parity = check_parity(networks, onnx, schema, [store.graph(int(i)) for i in store.indices(TEST)[:1000]], scale)
    parity.raise_if_failed()
    example = build_example(store, given.share_rows)
    shutil.rmtree(given.folder, ignore_errors=True)  # of an evaluation that never finished
    digest = build_bundle(given.folder, onnx, schema, example, {STORE: store.digest})
    return Exported(digest, parity, example)


def with_thresholds(store: Store, networks: Sequence[GraphNetwork]) -> Schema:
    """The schema of the bundle: that of the store, and from which probability on each binary target is called."""
    from pipeline.bundle.torch_answers import answer_graphs
    from pipeline.dataset.split import VALIDATION
    from pipeline.evaluation.predictions import choose_thresholds

    schema, validation = store.schema, store.indices(VALIDATION)
    if not any(target.task.has_threshold for target in schema.targets):
        return schema
    chosen = choose_thresholds(schema, store.arrays.y[validation], answer_graphs(networks, store, validation))
    return replace(schema, targets=tuple(replace(one, threshold=chosen.get(one.name)) for one in schema.targets))


def card_of(given: Given, made: Exported, found: Evaluation) -> CardInputs:
    """What stands on the card."""
    from pipeline.report.fill import fill_card

    store = given.store
    return fill_card(
        store,
        found,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        training=json.loads((given.checkpoints / "training.json").read_text(encoding="utf-8")),
        parity=made.parity,
        digests={"bundle": made.digest, "store": store.digest, "data": store.manifest["source"]["digest"]},
        environment={"commit": commit(Path.cwd())} | environment(),
    )


def log_evaluation(step: StepRun, card: CardInputs, found: Evaluation, parity: ParityReport) -> None:
    """Log metrics, the prediction table, verdict, comparison, parity report, card and figures."""
    import mlflow

    from pipeline.evaluation.predictions import table_to_json
    from pipeline.report.card import build_card
    from pipeline.report.markdown import build_markdown

    step.log_metrics(found.metrics)
    mlflow.log_table(found.table, "predictions.json")  # so that MLflow's pages show it as a table
    texts = {
        "predictions.json": table_to_json(found.table),
        "evaluation.json": found.basis.to_json(),
        "verdict.json": found.verdict.to_json(),
        "comparison.json": found.comparison.to_json(),
        "parity.json": parity.to_json(),
        "card/card.html": build_card(card),
        "card/card.md": build_markdown(card),
    }
    for name, text in texts.items():
        step.log_text(text, name)
    for target in card.schema.targets:
        for caption, svg in card.figures[target.name].items():
            name = caption.split(":")[0].replace(" ", "-").lower()
            step.log_text(svg, f"figures/{target.key.replace(':', '_')}/{name}.svg")


def request_text(example: Any, bundle: Path) -> str:
    """What `curl -d` sends to try the model; a long one stays in its file, because MLflow cuts tags at 8,000 signs."""
    text = json.dumps({"dataframe_records": example.to_dict("records")[:1]})
    return text if len(text) <= 2000 else f"@{bundle / 'serving_input_example.json'}"


if __name__ == "__main__":
    run(main)
