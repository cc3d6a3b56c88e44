"""evaluate: checkpoints → ONNX, parity gate, bundle, test answers of that very bundle, metrics, verdict, card.

Reads the runs of `train` and `prepare`, writes `.graphline/bundles/<key>` with the card beside it, logs everything.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.cache import StepKey, step_key
from pipeline.machine import commit, disk_use, environment, graphline_version, human_size
from pipeline.verdict import EvaluateConfig, judge, read_gate
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run, say
from steps.train import open_prepared

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run

    from pipeline.card import CardInputs
    from pipeline.parity import ParityReport
    from pipeline.store import Store
    from pipeline.tracking import StepRun


def key_of(config: EvaluateConfig, inputs: Mapping[str, str]) -> StepKey:
    """The key of this step: what the gate says counts, not where it lies.

    Args:
        inputs: digests of `store` and `training`: the test side does not show in the weights.
    """
    gate = Path(config.gate).read_text(encoding="utf-8")
    values = {"gate": gate, "resamples": config.resamples, "graphline": graphline_version()}
    also = ("serving.model", "pipeline.answering")
    return step_key("evaluate", values, inputs, Path.cwd(), also=also, texts=("serving/requirements.txt",))


def fetch_training(trained: Run) -> Path:
    """The checkpoints of a finished `train` run, checked: the local copy, or else the run's artifact."""
    from pipeline.checkpoints import check_checkpoints
    from pipeline.tracking import COMPLETE, KEY, WORK, fetch_folder

    tags = trained.data.tags
    return fetch_folder(trained, "training", WORK / "checkpoints" / tags[KEY], check_checkpoints, tags[COMPLETE])


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(EvaluateConfig, argv, prog="evaluate")
    from pipeline.card import build_card
    from pipeline.evaluation import (
        MODEL,
        build_table,
        choose_thresholds,
        fit_store_baselines,
        score_table,
    )
    from pipeline.pages import fill_card
    from pipeline.split import TEST, VALIDATION
    from pipeline.tracking import COMPLETE, NAME, WORK, find_newest, find_run, start_step

    with start_step("evaluate") as step, tempfile.TemporaryDirectory(prefix="evaluate-") as temporary:
        trained = find_run(config.train_run or find_newest("train", step.experiment_id), "train")
        prepared = find_run(trained.data.tags["graphline.prepare_run"], "prepare")
        name = trained.data.tags[NAME]
        key = key_of(config, {"store": prepared.data.tags[COMPLETE], "training": trained.data.tags[COMPLETE]})
        folder = WORK / "bundles" / key
        step.hold(folder)
        step.set_tags({NAME: name, "mlflow.runName": f"evaluate {name}"})
        step.log_key(key)
        step.set_tags({"graphline.train_run": trained.info.run_id, "graphline.prepare_run": prepared.info.run_id})
        step.log_params({"gate": config.gate, "resamples": config.resamples})
        gate = read_gate(Path(config.gate))
        store = open_prepared(prepared)
        schema = store.schema
        share_rows = prepared.data.tags["graphline.share_rows"] == "True"
        checkpoints = fetch_training(trained)
        parity, digest, example = export(store, checkpoints, folder, Path(temporary), share_rows)
        say(f"evaluate: ONNX agrees with torch to {parity.worst.difference:.0e} in {len(parity.rows)} comparisons")

        test, validation = store.indices(TEST), store.indices(VALIDATION)
        thresholds = choose_thresholds(
            schema,
            store.arrays.y[validation],
            answer(store, validation, folder, Path(temporary) / "validation.parquet"),
        )
        baselines, how = fit_store_baselines(store, TEST)
        who = {MODEL: answer(store, test, folder, Path(temporary) / "test.parquet")} | baselines
        table = build_table(
            schema, store.rows[test], store.ids(test) if share_rows else None, store.arrays.y[test], who
        )
        metrics = score_table(schema, table, thresholds, resamples=config.resamples)
        verdict = judge(metrics, gate, {target.key: target.kind for target in schema.targets})
        code = commit(Path.cwd())
        card = fill_card(
            store,
            table,
            created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            verdict=verdict,
            metrics=metrics,
            thresholds=thresholds,
            training=json.loads((checkpoints / "training.json").read_text(encoding="utf-8")),
            parity=parity,
            digests={"bundle": digest, "store": store.digest, "data": store.manifest["source"]["digest"]},
            environment={"commit": code} | environment(),
            forest_note="Forest: {trees} trees on {columns} graph-blind columns.".format(**how),
        )
        page = folder.with_name(f"{folder.name}.card.html")
        page.write_text(build_card(card), encoding="utf-8")

        log_evaluation(step, card, table, parity)
        step.log_folder(folder, "bundle")
        step.set_tags(
            {
                "graphline.digest": digest,
                "graphline.verdict": "passed" if verdict.passed else "failed",
                "graphline.headline": verdict.headline,
                "graphline.card": page,
                "graphline.example": request_text(example, folder),
                "graphline.data_digest": store.manifest["source"]["digest"],
                "graphline.commit": code,
            }
            | {f"graphline.threshold.{target}": threshold for target, threshold in thresholds.items()}
        )
        say(f"  {verdict.headline}")
        say(f"  bundle {folder}, {human_size(disk_use(folder))}, sha256 {digest[:12]}; card {page}")
        step.finish(digest)


def log_evaluation(step: StepRun, card: CardInputs, table: pd.DataFrame, parity: ParityReport) -> None:
    """Log metrics, the prediction table, verdict, parity report, card and figures."""
    import mlflow

    from pipeline.card import build_card, build_markdown
    from pipeline.evaluation import table_to_json

    step.log_metrics(dict(card.metrics))
    mlflow.log_table(table, "predictions.json")  # so that MLflow's pages show it as a table
    step.log_text(table_to_json(table), "predictions.json")
    facts = {"schema": card.schema.to_json(), "thresholds": dict(card.thresholds)}
    step.log_text(json.dumps(facts), "evaluation.json")
    step.log_text(card.verdict.to_json(), "verdict.json")
    step.log_text(parity.to_json(), "parity.json")
    step.log_text(build_card(card), "card/card.html")
    step.log_text(build_markdown(card), "card/card.md")
    for target in card.schema.targets:
        for caption, svg in card.figures[target.name].items():
            name = caption.split(":")[0].replace(" ", "-").lower()
            step.log_text(svg, f"figures/{target.key.replace(':', '_')}/{name}.svg")


def export(
    store: Store, checkpoints: Path, folder: Path, temporary: Path, share_rows: bool
) -> tuple[ParityReport, str, Any]:
    """Networks → ONNX → parity gate → bundle at `folder`.

    Returns:
        The parity report, the digest of the bundle, and its input example.
    """
    import shutil

    from pipeline.bundle import build_bundle
    from pipeline.evaluation import build_example
    from pipeline.export import export_onnx
    from pipeline.parity import check_parity
    from pipeline.split import TEST
    from pipeline.training import load_networks

    schema = store.schema
    networks = load_networks(checkpoints, schema, store.statistics)
    onnx = temporary / "model.onnx"
    export_onnx(networks, schema, onnx, {"store": store.digest})
    scale = np.concatenate(
        [
            np.full(target.width, store.statistics["y"]["std"][t] if target.kind == "regression" else 1.0)
            for t, target in enumerate(schema.targets)
        ]
    )
    parity = check_parity(networks, onnx, schema, [store.graph(int(i)) for i in store.indices(TEST)[:1000]], scale)
    parity.raise_if_failed()
    example = build_example(store, share_rows)
    shutil.rmtree(folder, ignore_errors=True)  # of an evaluation that never finished
    return parity, build_bundle(folder, onnx, schema, example, {"graphline.store": store.digest}), example


def request_text(example: Any, bundle: Path) -> str:
    """What `curl -d` sends to try the model; a long one stays in its file, because MLflow cuts tags at 8,000 signs."""
    text = json.dumps({"dataframe_records": example.to_dict("records")[:1]})
    return text if len(text) <= 2000 else f"@{bundle / 'serving_input_example.json'}"


def answer(store: Store, indices: Any, folder: Path, path: Path) -> dict[str, Any]:
    """What the bundle answers for graphs of the store, asked in a process of its own as a client would."""
    from pipeline.evaluation import build_requests, read_answers
    from pipeline.scoring import score_file

    build_requests(store, indices).to_parquet(path)
    out = path.with_suffix(".answers.parquet")
    score_file(folder, path, out)
    return read_answers(out, store.schema)


if __name__ == "__main__":
    run(main)
