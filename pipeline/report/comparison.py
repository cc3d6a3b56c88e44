"""The part of the model card that sets a model beside the champion, and says what an answer costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count

from pipeline.evaluation.comparison import Comparison, Costs, Difference, Slices, Triple, WorseSlice
from pipeline.evaluation.gate import COSTS
from pipeline.evaluation.metrics import METRICS, tell_apart
from pipeline.report.html import Html, bullets, heading, inline_svg, paragraph, table

MAX_SLICES = 12


def comparison_blocks(comparison: Comparison, drawings: Mapping[int, str | None], ids: count[int]) -> list[Html]:
    """Build the section.

    Args:
        drawings: row -> SVG of its molecule; without it the row's name stands alone.
        ids: numbers not yet used on the page.
    """
    champion = comparison.champion
    if champion is None:
        return [paragraph("There was no champion when this model was judged: it is the first.")]
    known = paragraph(f"The {champion} has digest {champion.digest}.", "soft")
    if comparison.refusal:
        return [paragraph(f"The model {comparison.refusal}."), known]
    blocks = [bullets(comparison.notes), _metrics(comparison.metrics, str(champion)), *_slices(comparison.slices)]
    if comparison.moved:
        blocks += [heading("Answers that moved most"), _moved(comparison, drawings, ids)]
    return [*blocks, known]


def cost_blocks(costs: Costs) -> list[Html]:
    """Build the section on time and memory."""
    rows = []
    for name, title in COSTS.items():
        mine = getattr(costs.model, name)
        theirs = getattr(costs.champion, name) if costs.champion else None
        beside = [f"{theirs:.3g}", f"{mine / theirs:.2f}"] if theirs else []
        rows.append([title[0].upper() + title[1:], f"{mine:.3g}", *beside])
    head = ["Cost", "This model", *(["Champion", "Times the champion"] if costs.champion else [])]
    measured = "Measured in processes of their own, in turn" if costs.champion else "Measured in a process of its own"
    return [table(head, rows, f"{measured}, on the machine of the evaluation; medians")]


def difference_of(comparison: Comparison, target: str, metric: str) -> Difference | None:
    """One row of the comparison, or None."""
    return next((one for one in comparison.metrics if (one.target, one.metric) == (target, metric)), None)


def in_brackets(values: Triple, sign: str = "") -> str:
    """`0.580 [0.520, 0.650]`; the sign `+` shows it of positive values too."""
    value, lo, hi = (f"{one:{sign}.3f}".replace("-", "−") for one in values)
    return f"{value} [{lo}, {hi}]"


def which_is_better(one: Difference) -> str:
    """Which of the two the interval of the difference tells to be better."""
    if not any(one.difference):
        return "the same"
    words = {"better": "this model", "worse": "the champion", "unclear": "not told apart"}
    return words[tell_apart(one.difference, lower_is_better=one.lower_is_better)]


def _metrics(metrics: Iterable[Difference], title: str) -> Html:
    rows = [
        [
            f"{one.target}: {METRICS[one.metric].label}",
            one.rows,
            in_brackets(one.challenger),
            in_brackets(one.champion),
            in_brackets(one.difference, "+"),
            which_is_better(one),
        ]
        for one in metrics
    ]
    head = ["Metric", "Rows", "This model", title[0].upper() + title[1:], "Difference", "Better"]
    caption = "Both on the same test rows; difference = this model − champion, 95 % intervals of the same resamples"
    return table(head, rows, caption)


def _slices(slices: Slices) -> list[Html]:
    clear = sum(one.clear for one in slices.worse)
    if not slices.tried:
        return []
    text = (
        f"{slices.tried} kinds of test rows were tried, by size, scaffold and label; this model is worse in "
        f"{len(slices.worse)}. {clear or 'None'} of them {'is' if clear == 1 else 'are'} clear: worse beyond what so "
        "many tries find by chance (Holm's correction of a sign-flip test, 5 %)."
    )
    shown = slices.worse[:MAX_SLICES]
    caption = "Test rows on which this model is worse, the clearest first"
    if len(shown) < len(slices.worse):
        caption += f"; {len(shown)} of {len(slices.worse)}"
    head = ["Rows", "Number", "Metric", "This model", "Champion", "Difference", "Clear"]
    worse = [table(head, [_slice(one) for one in shown], caption)] if shown else []
    return [heading("Where it is worse"), paragraph(text), *worse]


def _slice(one: WorseSlice) -> list[object]:
    return [
        f"{one.target}, {one.kind}: {one.name}",
        one.rows,
        METRICS[one.metric].title,
        f"{one.challenger:.3f}",
        f"{one.champion:.3f}",
        in_brackets(one.difference, "+"),
        "yes" if one.clear else "no",
    ]


def _moved(comparison: Comparison, drawings: Mapping[int, str | None], ids: count[int]) -> Html:
    rows = []
    for one in comparison.moved:
        svg = drawings.get(one.row)
        name = f"Row {one.row}" + (f", {one.id}" if one.id else "")
        picture = inline_svg(svg, f"f{next(ids)}-", name) if svg else Html("")
        rows.append([name, picture, one.target, one.label, one.champion, one.challenger, f"{one.moved:.3g}"])
    head = ["Test row", "Molecule", "Target", "Label", "Champion", "This model", "Moved"]
    if not any(row[1] for row in rows):
        head, rows = head[:1] + head[2:], [row[:1] + row[2:] for row in rows]
    return table(head, rows, "Answers in original units; moved on the trained scale, of probability for classes")
