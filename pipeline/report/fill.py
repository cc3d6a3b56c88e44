"""What a store and its evaluation say on the two pages for people: the data page and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.dataset.split import SIDES, TRAIN
from pipeline.evaluation.comparison import Comparison
from pipeline.evaluation.predictions import MODEL, answer_columns, answerers, answers_of, labels_of, worst_rows
from pipeline.report.card import CardInputs, Scope, WorstCase, build_data_page, known_categories
from pipeline.report.figures import (
    draw_sample,
    label_histogram,
    learning_curve,
    size_histogram,
    split_sizes,
    target_figures,
)
from pipeline.samples.kinds import kind_of
from pipeline.schema import Schema, Target
from pipeline.store.scope import covered

if TYPE_CHECKING:
    from pipeline.evaluation.judge import Evaluation
    from pipeline.store.store import Store


def data_figures(store: Store) -> dict[str, str]:
    """Caption -> SVG: labels by side, graph sizes, split sizes."""
    y = store.arrays.y
    drawn = {
        f"Labels: {target.name}": label_histogram(
            target, {side: y[store.indices(code), t] for code, side in enumerate(SIDES)}
        )
        for t, target in enumerate(store.schema.targets)
    }
    drawn["Graph sizes"] = size_histogram(np.diff(store.arrays.node_ptr), kind_of(store.schema.data_kind).nouns)
    drawn["Split sizes"] = split_sizes(store.manifest["source"]["split"]["sizes"])
    return drawn


def data_page(store: Store) -> str:
    """The page of figures that `prepare` logs."""
    report = store.manifest["source"]
    numbers: dict[str, Mapping[str, object]] = {
        "Rows": count_rows(report),
        "Split": split_facts(report),
        "Source": source_facts(report),
    }
    return build_data_page(store.schema.name, numbers, data_figures(store))


def count_rows(report: Mapping[str, Any]) -> dict[str, int]:
    """What became of every row, by reason; the first minus all others but the last is the last."""
    counts = {"rows read": report["rows"]}
    counts |= {f"left out: {code}": count for code, count in report["quarantined"].items()}
    counts |= {"merged replicates": report["replicates"]["merged"]} if report["replicates"]["merged"] else {}
    leaks = report["split"]["leaks"].items()
    counts |= {f"left {side}: stands on a later side too": count for side, count in leaks if count}
    without = report["split"].get("without_side", 0)
    counts |= {"left out: no side": without} if without else {}
    counts["graphs used"] = report["graphs"]
    counts |= {f"labels left out: {code}": count for code, count in report["labels_left"].items()}
    counts |= {"labels taken at their bound": report["bounds"]} if report.get("bounds") else {}
    return counts


def split_facts(report: Mapping[str, Any]) -> dict[str, object]:
    split = report["split"]
    facts: dict[str, object] = {"method": split["method"], "seed": split["seed"], **split["sizes"]}
    facts["graphs on two sides"] = split["groups_on_two_sides"]
    for target, found in report["replicates"]["targets"].items():
        if found.get("spread") is not None:
            facts[f"noise floor of {target} (pooled standard deviation of replicates)"] = f"{found['spread']:.3g}"
    return facts


def source_facts(report: Mapping[str, Any]) -> dict[str, object]:
    recipe = report["built_in"]
    source = recipe.get("source", {})
    facts: dict[str, object] = {"file": report["file"], "sha256": report["digest"]}
    facts["licence"] = recipe.get("license", "not stated (data of the user)")
    if recipe:
        facts["source"] = source.get("title", source)
        facts |= {f"at its making: {key}": value for key, value in recipe.get("counts", {}).items()}
    return facts


def fill_card(
    store: Store,
    evaluation: Evaluation,
    *,
    created: str,
    training: Mapping[str, Any],
    parity: Any,
    digests: Mapping[str, str],
    environment: Mapping[str, object],
) -> CardInputs:
    """Gather what stands on the card of one model.

    Args:
        evaluation: where its prediction table has no column `id`, no structure is named or drawn.
        training: what `training.json` holds.
        parity: a `ParityReport`.
    """
    table, thresholds = evaluation.table, evaluation.basis.thresholds
    schema, report = store.schema, store.manifest["source"]
    members = training["members"]
    settings = {key: value for key, value in training["config"].items() if value not in (None, {}, "")}
    outcome = {
        "weights": members[0]["num_parameters"],
        "best epoch": ", ".join(str(member["best_epoch"]) for member in members),
        "training time, s": f"{sum(member['train_time_s'] for member in members):.0f}",
    }
    worst_case = parity.worst
    return CardInputs(
        name=schema.name,
        created=created,
        schema=schema,
        verdict=evaluation.verdict,
        metrics=evaluation.metrics,
        scope=_scope(store),
        thresholds=thresholds,
        data=source_facts(report),
        counts=count_rows(report),
        split=split_facts(report),
        training=settings | outcome,
        parity_summary=(
            f"{len(parity.rows)} comparisons of torch with ONNX Runtime; the largest difference is "
            f"{worst_case.difference:.1e} of the target's spread ({worst_case.case}), allowed are {parity.tolerance:g}."
        ),
        parity=[
            {"batch": row.case, "threads": row.threads, "graphs": row.num_graphs, "difference": f"{row.difference:.1e}"}
            for row in parity.rows
            if row.run == 0
        ],
        digests=digests,
        environment=environment,
        figures={target.name: _figures(schema, table, target, thresholds) for target in schema.targets},
        data_figures=data_figures(store),
        training_figures={
            "Learning curve": learning_curve(
                [member["curve"] for member in members], [member["best_epoch"] for member in members]
            )
        },
        worst={target.name: worst_cases(schema, table, target) for target in schema.targets},
        forest_note=evaluation.forest_note,
        calibration=evaluation.calibration,
        comparison=evaluation.comparison,
        drawings=_drawings(schema, evaluation.comparison),
    )


def _figures(schema: Schema, table: pd.DataFrame, target: Target, thresholds: Mapping[str, float]) -> dict[str, str]:
    answers = {who: answers_of(table, target, who) for who in answerers(table, target)}
    return target_figures(target, labels_of(table, target), answers, thresholds.get(target.name))


def _drawings(schema: Schema, comparison: Comparison) -> dict[int, str | None]:
    return {one.row: draw_sample(schema, one.id, (200, 130)) for one in comparison.moved}


def worst_cases(schema: Schema, table: pd.DataFrame, target: Target) -> list[WorstCase]:
    """The test rows that the model gets most wrong, drawn where they are molecules that may be shown."""
    cases = []
    rows = worst_rows(schema, table, target)
    for _, row in rows.iterrows():
        name = row.get("id")
        answer = row[answer_columns(target, MODEL)]
        said = target.classes[int(answer.argmax())] if target.task.per_class else f"{float(answer.iloc[0]):.3g}"
        label = row[target.name]
        cases.append(
            WorstCase(
                row=int(row["row"]),
                name=name,
                label=str(label) if target.task.has_classes else f"{label:.3g}",
                answer=said,
                svg=draw_sample(schema, name),
            )
        )
    return cases


def _scope(store: Store) -> Scope:
    """What the training side covers."""
    train = store.indices(TRAIN)
    arrays, schema = store.arrays, store.schema
    u, found = arrays.u[train], covered(store)
    return Scope(
        nodes=found.nodes,
        known=known_categories(schema),
        labels=found.labels,
        features={
            column.name: (float(u[:, c].min()), float(u[:, c].max())) for c, column in enumerate(schema.graph_columns)
        },
    )
