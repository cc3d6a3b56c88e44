"""The short form of the model card: the description of a version on the registry's page, which renders markdown.

Lists of versions show the first line raw and cut, so that one is plain text: the verdict.
"""

from __future__ import annotations

from pipeline.evaluation.metrics import best_baseline, metrics_of
from pipeline.report.card import CardInputs, describe_target, limits_of
from pipeline.report.comparison import difference_of, which_is_better
from pipeline.schema import Target

MAX_TARGETS = 4
MAX_LIMIT = 160  # characters of a sentence about limits; lists of categories are long


def build_markdown(card: CardInputs) -> str:
    """Build the description: at most 40 lines, the verdict first."""
    targets = card.schema.targets[:MAX_TARGETS]
    lines = [_plain(card.verdict.headline), "", "**Predicts**", ""]
    lines += [f"- {_md(describe_target(target))}" for target in targets]
    if len(card.schema.targets) > len(targets):
        lines.append(f"- and {len(card.schema.targets) - len(targets)} more targets; see the card")
    lines += ["", *_metrics(card, targets)]
    if card.comparison and card.comparison.notes:
        lines += ["", _md(card.comparison.notes[0])]
    lines += ["", "**Not for**", "", *(f"- {_md(_cut(limit))}" for limit in limits_of(card)[:3])]
    for title, values in (("Data", card.data), ("Split", card.split), ("Digests (sha256)", card.digests)):
        if values:
            lines += [
                "",
                f"**{title}**: {'; '.join(f'{_md(key)} {_md(value)}' for key, value in list(values.items())[:5])}",
            ]
    commit = card.environment.get("commit")
    made = f"Made {_md(card.created)}" + (f" by commit {_md(commit)}" if commit else "")
    return "\n".join([*lines, "", f"{made}. The whole card is `card/card.html` of the evaluate run."]) + "\n"


def _metrics(card: CardInputs, targets: tuple[Target, ...]) -> list[str]:
    """A table; the champion's columns only where there is one."""
    compared = card.comparison is not None and bool(card.comparison.metrics)
    head = ["test metric", "model", "95 % interval", "best baseline", *(["champion", "better"] if compared else [])]
    lines = [_row(head), _row(["---"] * len(head))]
    for target in targets:
        for metric in metrics_of(target.kind)[: 2 if len(targets) > 1 else 4]:
            name = f"test/{target.key}/{metric.name}"
            if name not in card.metrics:
                continue
            lo, hi = card.metrics.get(f"{name}_lo"), card.metrics.get(f"{name}_hi")
            interval = "–" if lo is None or hi is None else f"[{lo:.3f}, {hi:.3f}]"
            title = f"{_md(target.name)}: {metric.title}"
            best = best_baseline(card.metrics, target.key, metric)
            baseline = f"{best[1]:.3f} ({best[0]})" if best else "–"
            beside = _beside(card, target, metric.name) if compared else []
            lines.append(_row([title, f"{card.metrics[name]:.3f}", interval, baseline, *beside]))
    return lines


def _beside(card: CardInputs, target: Target, metric: str) -> list[str]:
    one = difference_of(card.comparison, target.name, metric) if card.comparison else None
    return [f"{one.champion[0]:.3f}", which_is_better(one)] if one else ["–", "–"]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LIMIT else f"{text[: MAX_LIMIT - 1]}…"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("<", "&lt;")


def _md(value: object) -> str:
    """Text that means nothing to markdown, nor to the HTML in it."""
    text = " ".join(str(value).split())
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\\<", "&lt;").replace("\\>", "&gt;")
