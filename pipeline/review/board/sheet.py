"""One candidate beside the champion: what its runs logged, as the board shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import mlflow
import numpy as np
import pandas as pd
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from pipeline.errors import RegistryError
from pipeline.evaluation.metrics import METRICS, Metric, best_baseline, leading_metrics, metrics_of, tell_apart
from pipeline.evaluation.predictions import answer_columns, answerers, answers_of, labels_of, read_table
from pipeline.report.figures import draw_sample, learning_curve, parity_plot, target_figures
from pipeline.report.fill import worst_cases
from pipeline.review.board.page import Molecule, Score, Sheet, SliceLine, Standing, minus, with_interval
from pipeline.review.decision import name_release
from pipeline.review.review import judge_candidate
from pipeline.runs.tags import AUTHOR, COMMIT, DATA_DIGEST, DIGEST, TRAIN_RUN
from pipeline.runs.tracking import fetch_files, find_run
from pipeline.schema import Schema, Target, TargetKind

Metrics = Mapping[str, float]

MAX_TARGETS = 6  # whose pictures and rows are shown, the first ones
FIGURES = ("Parity: answers over labels", "ROC curve", "Reliability: stated and seen", "Confusion matrix")
COSTS = {"ms_per_request": "ms a request", "ms_per_row": "ms a row of many", "peak_memory_mb": "MB of memory"}


def fill_sheet(candidate: ModelVersion, champion: int, champion_run: Run | None, gate: Path, folder: Path) -> Sheet:
    """Gather what stands on the sheet of a candidate.

    Args:
        champion: release that is live, 0 for none; `champion_run`: the run that evaluated it, where it can be read.
        folder: empty, for files.
    """
    title = f"Version {candidate.version} of {candidate.name.removesuffix('-candidates')}"
    run, verdict, headline = judge_candidate(candidate, gate, folder)
    origin = _origin(candidate, run)
    if run is None or not (folder / "evaluation.json").is_file():
        nothing = "There is nothing to compare: its evaluation cannot be read."
        return Sheet(title, "missing", f"No verdict: {headline}", "unknown", nothing, facts=origin)
    facts = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    schema, table = Schema.from_json(facts["schema"]), read_table(folder / "predictions.json")
    beside = Beside(schema, run.data.metrics, champion, _comparison(run, folder), champion_run)
    standing, summary = beside.summary()
    shown = schema.targets[:MAX_TARGETS]
    return Sheet(
        title,
        verdict.status if verdict else "missing",
        headline if verdict else f"No verdict: {headline}",
        standing,
        summary,
        scores={target.name: beside.scores(target) for target in schema.targets},
        notes=beside.notes(),
        drawn=_drawn(schema, table, facts["thresholds"]) | _curve(run, folder),
        slices=beside.slices(),
        slices_note=beside.slices_note(),
        moved={target.name: beside.moved(target) for target in shown if beside.moved(target)},
        worst={target.name: _worst(schema, table, target) for target in shown},
        checks=[("passed" if check.passed else "failed", check.reason) for check in verdict.checks] if verdict else (),
        facts=origin | beside.costs(),
    )


def lead_score(metrics: Metrics) -> str:
    """The first target's metric that counts most, with its interval."""
    firsts = {leading_metrics(kind)[0].name for kind in get_args(TargetKind)}
    for name in metrics:
        place, _, metric = name.rpartition("/")
        if place.startswith("test/") and metric in firsts:
            return f"{METRICS[metric].title} {_text(metrics, name)} on {place.removeprefix('test/')}"
    return "–"


class Beside:
    """A candidate beside the champion that is live now.

    Args:
        metrics: of the candidate's evaluate run.
        champion: release that is live, 0 for none.
        comparison: content of `comparison.json`, {} without one; it counts if its champion is the one that is live.
        champion_run: the evaluation of the champion itself, or None.
    """

    def __init__(
        self, schema: Schema, metrics: Metrics, champion: int, comparison: Mapping[str, Any], champion_run: Run | None
    ) -> None:
        self.schema = schema
        self.metrics = metrics
        self.champion = champion
        self.before = str((comparison.get("champion") or {}).get("version", ""))
        self.refusal = comparison.get("refusal")
        self.paired = champion > 0 and self.before == str(champion)
        self.comparison = comparison if self.paired else {}
        self.pairs = {(pair["target"], pair["metric"]): pair for pair in self.comparison.get("metrics", ())}
        self.own: Metrics = champion_run.data.metrics if champion_run else {}

    def notes(self) -> list[str]:
        """Where the champion's numbers come from, and what else to know of them."""
        if not self.champion:
            return []
        if self.paired:
            rows = self.comparison.get("rows") or {}
            first = f"Both on the same {rows.get('compared', '')} test rows; difference: candidate − champion, paired."
            return [first, *self.comparison.get("notes", ())]
        return [
            "The champion's numbers are those of its own evaluation, perhaps on other rows, so no differences are "
            "given. `mlflow run . -e evaluate` scores both on the same rows."
        ]

    def summary(self) -> tuple[Standing, str]:
        """Against the champion in a sentence or two; of several targets the worst first."""
        champion = f"the champion, {name_release(self.champion)}"
        if not self.champion:
            return "unknown", "Nothing is live, so there is no champion to compare with."
        if not self.paired:
            before = f"compared with release {self.before}, not" if self.before.isdecimal() else "not compared"
            return "unknown", f"It was {before} with {champion}: which one is better is not known."
        if self.refusal:
            return "worse", f"It {self.refusal}."
        leads = [(self.standing(*pair), *pair) for target in self.schema.targets if (pair := self._lead(target))]
        if not leads:
            return "unknown", f"It has no metric that {champion}, has too."
        order: list[Standing] = ["worse", "unclear", "better", "unknown"]
        standing, target, metric = min(leads, key=lambda lead: order.index(lead[0]))
        words = {"better": "Better than", "worse": "Worse than", "unclear": "No clear difference to"}
        several = f", on {sum(lead[0] == standing for lead in leads)} of {len(leads)} targets" if leads[1:] else ""
        one = self._score(target, metric)
        return standing, (
            f"{words[standing]} {champion}{several}: {metric.title} on {target.name} {one.candidate} "
            f"against {one.champion}; difference {one.difference} (95 % intervals)."
        )

    def scores(self, target: Target) -> list[Score]:
        """The metrics of a target that the candidate has."""
        own = [one for one in metrics_of(target.kind) if f"test/{target.key}/{one.name}" in self.metrics]
        return [self._score(target, one) for one in own]

    def standing(self, target: Target, metric: Metric) -> Standing:
        """Better or worse than the champion, where the interval of the difference leaves out zero."""
        pair = self.pairs.get((target.name, metric.name))
        return tell_apart(pair["difference"], lower_is_better=metric.lower_is_better) if pair else "unknown"

    def slices(self) -> list[SliceLine]:
        """Parts of the test rows on which the candidate is worse, the clearest first."""
        return [
            SliceLine(
                f"{one['target']}, {one['kind']}: {one['name']}",
                f"{one['rows']:,}",
                METRICS[one["metric"]].title,
                with_interval(one["challenger"]),
                with_interval(one["champion"]),
                with_interval(*one["difference"], signed=True),
                "worse" if one["clear"] else "unclear",
            )
            for one in (self.comparison.get("slices") or {}).get("worse", ())[:10]
        ]

    def slices_note(self) -> str:
        """How far the slices can be trusted."""
        tried = (self.comparison.get("slices") or {}).get("tried", 0)
        worse = (self.comparison.get("slices") or {}).get("worse", ())
        if not tried:
            return ""
        clear = sum(one["clear"] for one in worse)
        return (
            f"{tried} parts of the test rows were tried, by size, scaffold and label. The candidate is clearly worse "
            f"on {clear or 'none'} of them after correction for so many tests"
            + (f"; on {len(worse) - clear} more it may be chance." if len(worse) > clear else ".")
        )

    def moved(self, target: Target) -> list[Molecule]:
        """The rows whose answers moved most."""
        return [
            Molecule(
                f"label {minus(one['label'])}: champion {minus(one['champion'])}, candidate {minus(one['challenger'])}",
                _named(one["row"], one["id"]),
                draw_sample(self.schema, one["id"]),
            )
            for one in self.comparison.get("moved", ())
            if one["target"] == target.name
        ]

    def costs(self) -> dict[str, str]:
        """What an answer costs, beside the champion's."""
        cost = self.comparison.get("cost") or {}
        mine, theirs = cost.get("model") or {}, cost.get("champion") or {}
        return {
            title: f"{mine[name]:.3g}" + (f", the champion {theirs[name]:.3g}" if name in theirs else "")
            for name, title in COSTS.items()
            if name in mine
        }

    def _lead(self, target: Target) -> tuple[Target, Metric] | None:
        leads = leading_metrics(target.kind)
        return next(((target, one) for one in leads if (target.name, one.name) in self.pairs), None)

    def _score(self, target: Target, metric: Metric) -> Score:
        name = f"test/{target.key}/{metric.name}"
        pair = self.pairs.get((target.name, metric.name))
        best = best_baseline(self.metrics, target.key, metric)
        return Score(
            metric.label,
            with_interval(*pair["challenger"]) if pair else _text(self.metrics, name),
            with_interval(*pair["champion"]) if pair else _text(self.own, name),
            with_interval(*pair["difference"], signed=True) if pair else "–",
            self.standing(target, metric),
            f"{with_interval(best[1])} ({best[0]})" if best else "–",
        )


def _text(metrics: Metrics, name: str) -> str:
    if name not in metrics:
        return "–"
    return with_interval(metrics[name], metrics.get(f"{name}_lo"), metrics.get(f"{name}_hi"))


def _comparison(run: Run, folder: Path) -> dict[str, Any]:
    try:
        file = fetch_files(run, ["comparison.json"], folder) / "comparison.json"
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (RegistryError, ValueError):
        return {}


def _drawn(schema: Schema, table: pd.DataFrame, thresholds: Mapping[str, float]) -> dict[str, str]:
    """Caption -> SVG: answers of the first targets over their labels."""
    drawn: dict[str, str] = {}
    for target in schema.targets[:MAX_TARGETS]:
        labels = labels_of(table, target)
        answers = {who: answers_of(table, target, who) for who in answerers(table, target)}
        pictures = target_figures(target, labels, answers, thresholds.get(target.name))
        drawn |= {f"{target.name}: {name.lower()}": pictures[name] for name in FIGURES if name in pictures}
        if not target.task.has_classes and set(answer_columns(target, "champion")) <= set(table.columns):
            theirs = answers_of(table, target, "champion")
            drawn[f"{target.name}, the champion's answers"] = parity_plot(
                target, np.where(np.isfinite(theirs), labels, np.nan), theirs
            )
    return drawn


def _curve(run: Run, folder: Path) -> dict[str, str]:
    """Caption -> SVG of the learning curve; nothing where the train run is gone: it is worth a look, not a refusal."""
    try:
        trained = find_run(run.data.tags.get(TRAIN_RUN, ""), "train")
        file = fetch_files(trained, ["training/training.json"], folder) / "training.json"
        members = json.loads(file.read_text(encoding="utf-8"))["members"]
    except (RegistryError, OSError, ValueError, KeyError):
        return {}
    curves = [member["curve"] for member in members]
    return {"Learning curve": learning_curve(curves, [member["best_epoch"] for member in members])}


def _worst(schema: Schema, table: pd.DataFrame, target: Target) -> list[Molecule]:
    return [
        Molecule(f"label {minus(one.label)}, answer {minus(one.answer)}", _named(one.row, one.name), one.svg)
        for one in worst_cases(schema, table, target)
    ]


def _named(row: int, name: str | None) -> str:
    return f"row {row}" + (f", {name}" if name else "")


def _origin(candidate: ModelVersion, run: Run | None) -> dict[str, object]:
    tags = run.data.tags if run else {}
    return {
        "author": candidate.tags.get(AUTHOR) or "not recorded",
        "candidate": f"{candidate.name} version {candidate.version}",
        "sha256 of the bundle": tags.get(DIGEST, ""),
        "sha256 of the data": tags.get(DATA_DIGEST, ""),
        "commit of the code": tags.get(COMMIT, ""),
        "evaluate run": _address(run) if run else "",
        "model card": "card/card.html among the artifacts of that run" if run else "",
    }


def _address(run: Run) -> str:
    uri = mlflow.get_tracking_uri()
    place = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    return f"{uri.rstrip('/')}/{place}" if uri.startswith("http") else str(run.info.run_id)
