"""The model card: what a reviewer must know before a release, on one page that can be kept, mailed and printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from pipeline.evaluation.comparison import Comparison
from pipeline.evaluation.metrics import Metric, baselines_of, metrics_of
from pipeline.evaluation.verdict import Verdict
from pipeline.report.comparison import comparison_blocks, cost_blocks
from pipeline.report.html import Html, build_page, bullets, facts, figures, heading, html, paragraph, sections, table
from pipeline.samples.kinds import kind_of
from pipeline.schema import ANSWERERS, Schema, Target

CALIBRATION = ("Residuals", "Reliability")
"""How the captions of figures begin that tell of calibration."""


@dataclass(frozen=True)
class WorstCase:
    """A test row that the model gets most wrong.

    Attributes:
        name: SMILES or graph id; None when rows are not shared, then only the row number is shown.
        svg: drawn molecule, or None.
    """

    row: int
    name: str | None
    label: str
    answer: str
    svg: str | None = None


@dataclass(frozen=True)
class Scope:
    """What the training data cover; outside, the model guesses.

    Attributes:
        nodes: smallest and largest number of nodes of a training graph.
        known: column of node or edge categories -> the categories that training had at least twice.
        labels: target -> lowest and highest training label, on the trained scale; regression only.
        features: graph feature -> lowest and highest value in training.
    """

    nodes: tuple[int, int]
    known: Mapping[str, Sequence[str]] = field(default_factory=dict)
    labels: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    features: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class CardInputs:
    """All that stands on a card. Mappings are shown in their order, name and value; all text is escaped.

    Attributes:
        name: of the model.
        created: date and time, as text.
        metrics: `test/<target>/<metric>`, `baseline/<kind>/<target>/<metric>`, and their `_lo` and `_hi`.
        thresholds: binary target -> probability from which it is called positive.
        data: source, licence, digest, …
        counts: what became of the rows: read, merged, left by reason, used.
        split: method, seed, sizes, leaks, …
        training: settings, epochs, time, …
        parity: columns and rows of the parity report; `parity_summary` in one sentence.
        digests: file or product -> sha256.
        environment: commit, versions, machine.
        figures: target -> caption -> SVG; `data_figures` and `training_figures`: caption -> SVG.
        worst: target -> its worst test rows, worst first.
        forest_note: how the baselines were made, in a sentence.
        calibration: target -> name -> value.
        comparison: with the champion; `drawings`: row -> SVG of the molecules in it.
    """

    name: str
    created: str
    schema: Schema
    verdict: Verdict
    metrics: Mapping[str, float]
    scope: Scope
    thresholds: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, object] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    split: Mapping[str, object] = field(default_factory=dict)
    training: Mapping[str, object] = field(default_factory=dict)
    parity_summary: str = ""
    parity: Sequence[Mapping[str, object]] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, object] = field(default_factory=dict)
    figures: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    data_figures: Mapping[str, str] = field(default_factory=dict)
    training_figures: Mapping[str, str] = field(default_factory=dict)
    worst: Mapping[str, Sequence[WorstCase]] = field(default_factory=dict)
    forest_note: str = ""
    calibration: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    comparison: Comparison | None = None
    drawings: Mapping[int, str | None] = field(default_factory=dict)


def build_card(card: CardInputs) -> str:
    """Build the card as one HTML page without script or outside address; the verdict is its first line."""
    ids = count(1)
    top = [
        Html('<a class="skip" href="#content">Skip to the content</a>'),
        Html(f'<p class="verdict {card.verdict.status}" role="status">{html(card.verdict.headline)}</p>'),
        Html(f"<h1>Model card: {html(card.name)}</h1>"),
        paragraph(f"Made {card.created}.", "soft"),
    ]
    parts = {
        "What it predicts": _predictions(card),
        "How good it is": _quality(card, ids),
        "Beside the champion": comparison_blocks(card.comparison, card.drawings, ids) if card.comparison else [],
        "Calibration": _calibration(card, ids),
        "Worst cases": _worst(card, ids),
        "Where not to use it": [bullets(limits_of(card))],
        "What an answer costs": cost_blocks(card.comparison.cost) if card.comparison else [],
        "Data": _data(card, ids),
        "Training": _if(card.training, facts(card.training, "Settings and outcome"))
        + _if(card.training_figures, figures(card.training_figures.items(), ids)),
        "Export": _parity(card),
        "Where it comes from": _if(card.digests, facts(card.digests, "Digests (sha256)"))
        + _if(card.environment, facts(card.environment, "Commit and environment")),
    }
    return build_page(f"Model card: {card.name}", [*top, sections(parts)])


def build_data_page(name: str, numbers: Mapping[str, Mapping[str, object]], drawn: Mapping[str, str]) -> str:
    """Build the page of a data set.

    Args:
        numbers: title -> name -> value, a table each.
        drawn: caption -> SVG.
    """
    tables = [facts(values, title) for title, values in numbers.items() if values]
    top = [Html('<a class="skip" href="#content">Skip to the content</a>'), Html(f"<h1>Data: {html(name)}</h1>")]
    parts = {"Figures": _if(drawn, figures(drawn.items(), count(1))), "Numbers": tables}
    return build_page(f"Data: {name}", [*top, sections(parts)])


def describe_target(target: Target) -> str:
    """Say in a line what is predicted and in which unit."""
    what = f"{target.name}: {target.description}" if target.description else target.name
    if target.positive is not None:
        return f"{what}. Answer: the probability of '{target.positive}' (0 to 1), against '{target.classes[0]}'."
    if target.task.per_class:
        return f"{what}. Answer: one of {len(target.classes)} classes and the probability of each."
    unit = f"in {target.unit}" if target.unit else "in the unit of the data, which was not stated"
    scale = {"log10": "log10", "p": "−log10 of mol/L"}.get(target.transform or "")
    return f"{what}. Answer: a number {unit}." + (f" Trained and measured as {scale}." if scale else "")


def known_categories(schema: Schema) -> dict[str, tuple[str, ...]]:
    """Name the categories that the network tells apart; of molecules the elements, of other graphs each column's."""
    columns = [column for column in (*schema.node_columns, *schema.edge_columns) if column.kind == "categorical"]
    fixed = kind_of(schema.data_kind).fixed_columns
    return {
        column.name: tuple(name for name, known in zip(column.categories, column.known[1:], strict=True) if known)
        for column in columns
        if not fixed or column.name == "element"
    }


def limits_of(card: CardInputs) -> list[str]:
    """Say where the model has seen nothing, from what the training data cover."""
    scope = card.scope
    nouns = kind_of(card.schema.data_kind).nouns
    limits = [
        f"{nouns.samples.capitalize()} with fewer than {scope.nodes[0]:,} or more than {scope.nodes[1]:,} "
        f"{nouns.counted}: none in training."
    ]
    for column, values in scope.known.items():
        shown = ", ".join(map(str, values[:40])) + (f" and {len(values) - 40} more" if len(values) > 40 else "")
        limits.append(f"{column}: training knows only {shown or 'nothing'}; all else is read as unknown.")
    scaled = {target.name for target in card.schema.targets if target.transform}
    for name, (low, high) in scope.labels.items():
        scale = " (trained scale)" if name in scaled else ""
        limits.append(f"{name} outside {low:.4g} to {high:.4g}{scale}: no label in training lies there.")
    for name, (low, high) in scope.features.items():
        limits.append(f"Feature {name} outside {low:.4g} to {high:.4g}: none in training.")
    unit = [target.name for target in card.schema.targets if not target.task.has_classes and not target.unit]
    if unit:
        limits.append(f"Where a unit matters: none was stated for {', '.join(unit)}.")
    if scope.known:
        limits.append("Where a request holds something unknown, the answer says so in its column warning.")
    limits.append(
        "The intervals tell how far the test rows decide, not how well the model does on another kind of data."
    )
    return limits


def _predictions(card: CardInputs) -> list[Html]:
    blocks = [paragraph(card.schema.description)] if card.schema.description else []
    blocks.append(bullets(describe_target(target) for target in card.schema.targets))
    takes = kind_of(card.schema.data_kind).nouns.takes
    extra = [column.name for column in card.schema.graph_columns]
    return [*blocks, paragraph(f"It takes {takes}" + (f", and {', '.join(extra)}." if extra else "."))]


def _quality(card: CardInputs, ids: count[int]) -> list[Html]:
    blocks = []
    if card.verdict.baseline_wins:
        blocks.append(bullets(card.verdict.baseline_wins))
    for target in card.schema.targets:
        rows = [row for metric in metrics_of(target.kind) if (row := _metric_row(card, target, metric))]
        blocks.append(heading(target.name))
        if not rows:
            blocks.append(paragraph("No metric: the test split has no label for it."))
            continue
        caption = f"Test split, 95 % bootstrap intervals in brackets; {target.name}"
        if target.transform:
            caption += f"; on the trained scale ({'log10' if target.transform == 'log10' else '−log10 of mol/L'})"
        if target.name in card.thresholds:
            caption += f"; called positive from {card.thresholds[target.name]:.3g}, chosen on validation"
            caption += ", as each baseline from a threshold of its own"
        kinds = _baseline_kinds(card, target)
        blocks.append(table(["Metric", "Model", *[f"Baseline: {kind}" for kind in kinds]], rows, caption))
        blocks += _figures(card, target.name, ids, calibration=False)
    if card.forest_note:
        blocks.append(paragraph(card.forest_note, "soft"))
    checks = [
        (
            "passed" if check.passed else "failed",
            check.name,
            _or_dash(check.value),
            _or_dash(check.threshold),
            check.reason,
        )
        for check in card.verdict.checks
    ]
    return [
        *blocks,
        heading("Verdict"),
        table(["Outcome", "Check", "Value", "Threshold", "Why"], checks, "Checks of the gate"),
    ]


def _metric_row(card: CardInputs, target: Target, metric: Metric) -> list[str] | None:
    if f"test/{target.key}/{metric.name}" not in card.metrics:
        return None
    cells = []
    for place in ["test", *[f"baseline/{kind}" for kind in _baseline_kinds(card, target)]]:
        name = f"{place}/{target.key}/{metric.name}"
        value, interval = card.metrics.get(name), _interval(card, name)
        cells.append("–" if value is None else f"{value:.3f}" + (f" {interval}" if interval else ""))
    return [metric.label, *cells]


def _interval(card: CardInputs, name: str) -> str:
    lo, hi = card.metrics.get(f"{name}_lo"), card.metrics.get(f"{name}_hi")
    return "" if lo is None or hi is None else f"[{lo:.3f}, {hi:.3f}]"


def _baseline_kinds(card: CardInputs, target: Target) -> list[str]:
    found = [baselines_of(card.metrics, target.key, metric.name) for metric in metrics_of(target.kind)]
    return [name for name in ANSWERERS if any(name in one for one in found)]


def _calibration(card: CardInputs, ids: count[int]) -> list[Html]:
    blocks = []
    for target in card.schema.targets:
        numbers = card.calibration.get(target.name, {})
        scale = ", on the trained scale" if target.transform else ""
        blocks += _if(numbers, facts(numbers, f"{target.name}, test side{scale}"))
        blocks += _figures(card, target.name, ids, calibration=True)
    return blocks


def _figures(card: CardInputs, target: str, ids: count[int], *, calibration: bool) -> list[Html]:
    """The figures of a target that tell of its calibration, or the others."""
    drawn = [
        (f"{caption}, {target}", svg)
        for caption, svg in card.figures.get(target, {}).items()
        if caption.startswith(CALIBRATION) is calibration
    ]
    return _if(drawn, figures(drawn, ids))


def _worst(card: CardInputs, ids: count[int]) -> list[Html]:
    blocks: list[Html] = []
    for target, cases in card.worst.items():
        if not cases:
            continue
        blocks.append(heading(target))
        drawn = [(f"{_case(case)}: label {case.label}, answer {case.answer}", case.svg) for case in cases]
        blocks.append(figures(drawn, ids, small=True))
    return blocks


def _case(case: WorstCase) -> str:
    return f"Row {case.row}" + (f", {case.name}" if case.name is not None else "")


def _data(card: CardInputs, ids: count[int]) -> list[Html]:
    return [
        *_if(card.data, facts(card.data, "Source")),
        *_if(card.counts, facts(card.counts, "What became of the rows")),
        *_if(card.split, facts(card.split, "Split")),
        *_if(card.data_figures, figures(card.data_figures.items(), ids)),
    ]


def _parity(card: CardInputs) -> list[Html]:
    blocks = [paragraph(card.parity_summary)] if card.parity_summary else []
    if card.parity:
        head = list(card.parity[0])
        rows = [[row.get(key) for key in head] for row in card.parity]
        blocks.append(table(head, rows, "Torch against ONNX Runtime, largest relative difference"))
    return blocks


def _if(there: object, block: Html) -> list[Html]:
    return [block] if there else []


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
