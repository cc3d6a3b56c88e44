"""Pictures of data, answers and training: each function draws one and returns an SVG string."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.evaluation.calibration import reliability, stated_and_came
from pipeline.report.canvas import COLORS, GREY, STROKES, Array, bare_svg, draw_figure, scatter, shorten, thin
from pipeline.samples.kind import Nouns
from pipeline.samples.kinds import kind_of
from pipeline.schema import Schema, Target


def parity_plot(target: Target, y: ArrayLike, answer: ArrayLike) -> str:
    """Draw answers over labels of a regression target, (n,) each on the trained scale; NaN labels are left out."""
    labels, answers = _labelled(y, answer)
    low, high = _range(labels, answers)

    def draw(axes: Any) -> None:
        axes.plot([low, high], [low, high], color=GREY, linestyle="--", linewidth=1, label="answer = label")
        scatter(axes, labels, answers)
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.set_xlabel(f"label, {axis_name(target)}")
        axes.set_ylabel(f"answer, {axis_name(target)}")
        axes.legend(loc="upper left")

    return draw_figure(draw, size=(4.8, 4.8))


def residual_plot(target: Target, y: ArrayLike, answer: ArrayLike) -> str:
    """Draw answer − label over answers, (n,) each on the trained scale; NaN labels are left out."""
    labels, answers = _labelled(y, answer)
    error = answers - labels

    def draw(axes: Any) -> None:
        rmse = float(np.sqrt(np.mean(error**2))) if len(error) else 0.0
        axes.axhline(0, color=GREY, linewidth=1)
        for sign in (-1, 1):
            label = f"± RMSE ({rmse:.3g})" if sign > 0 else None
            axes.axhline(sign * rmse, color=COLORS[1], linestyle="--", linewidth=1, label=label)
        scatter(axes, answers, error)
        axes.set_xlabel(f"answer, {axis_name(target)}")
        axes.set_ylabel("answer − label")
        axes.legend(loc="best")

    return draw_figure(draw)


def roc_plot(target: Target, y: ArrayLike, answers: Mapping[str, ArrayLike], threshold: float | None = None) -> str:
    """Draw ROC curves of a class target.

    Args:
        y: (n,) class index; NaN is missing.
        answers: who answered -> (n,) probabilities of the positive class, a curve each; multi-class: (n, K), and the
            first one's curves of the most frequent classes against the rest.
        threshold: marked on the first curve.
    """

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
        for k, (name, positive, score) in enumerate(_one_vs_rest(target, y, answers)):
            tp, fp, cut = _counts(positive, score)
            rates = fp / max(fp[-1], 1), tp / max(tp[-1], 1)
            area = np.trapezoid(rates[1], rates[0])
            label = f"{shorten(name, 24)}: area {area:.3f}"
            axes.plot(*thin(*rates), color=COLORS[k], linestyle=STROKES[k], linewidth=1.8, label=label)
            if k == 0 and threshold is not None:
                _mark(axes, *rates, cut, threshold)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set_xlabel("false positive rate (1 − specificity)")
        axes.set_ylabel("true positive rate (recall)")
        axes.legend(loc="lower right")

    return draw_figure(draw, size=(4.8, 4.8))


def pr_plot(target: Target, y: ArrayLike, answers: Mapping[str, ArrayLike], threshold: float | None = None) -> str:
    """Draw precision over recall; arguments as for `roc_plot`."""

    def draw(axes: Any) -> None:
        for k, (name, positive, score) in enumerate(_one_vs_rest(target, y, answers)):
            tp, fp, cut = _counts(positive, score)
            recall, precision = tp[1:] / max(tp[-1], 1), tp[1:] / np.maximum(tp[1:] + fp[1:], 1)
            average = np.sum(np.diff(recall, prepend=0) * precision)
            label = f"{shorten(name, 24)}: average precision {average:.3f}"
            axes.step(
                *thin(np.append(0, recall), np.append(precision[:1], precision)),
                color=COLORS[k],
                linestyle=STROKES[k],
                linewidth=1.8,
                label=label,
            )
            if k == 0 and threshold is not None:
                _mark(axes, recall, precision, cut[1:], threshold)
            if k == 0 and target.task.has_threshold and len(positive):
                axes.axhline(
                    positive.mean(), color=GREY, linewidth=1, label=f"share of positives {positive.mean():.3f}"
                )
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        axes.legend(loc="best")

    return draw_figure(draw, size=(4.8, 4.8))


def confusion_plot(target: Target, y: ArrayLike, answer: ArrayLike, threshold: float | None = None) -> str:
    """Draw how often each class was called what.

    Args:
        y: (n,) class index; NaN is missing.
        answer: (n,) probability of the positive class, called positive from `threshold` (0.5 when None) up, or (n, K).
    """
    labels, answers = _labelled(y, answer)
    cut = 0.5 if threshold is None else threshold
    called = answers.argmax(axis=1) if answers.ndim == 2 else (answers >= cut).astype(np.intp)
    k = max(2, len(target.classes))
    counts = np.bincount(labels.astype(np.intp) * k + called, minlength=k * k).reshape(k, k)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def draw(axes: Any) -> None:
        axes.pcolormesh(share, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1)
        axes.invert_yaxis()
        names = [shorten(name, 16) for name in target.classes] or ["0", "1"]
        fontsize = 10 if k <= 5 else max(3, 60 // k)
        ticks = np.arange(k) + 0.5
        axes.set_xticks(ticks, names, fontsize=fontsize, rotation=0 if k <= 3 else 90)
        axes.set_yticks(ticks, names, fontsize=fontsize)
        axes.tick_params(length=0)
        for i, j in np.argwhere(counts > 0) if k <= 20 else ():
            color = "white" if share[i, j] > 0.55 else "black"
            text = f"{counts[i, j]:,}\n{share[i, j]:.0%}" if k <= 5 else f"{counts[i, j]}"
            axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", color=color, fontsize=fontsize)
        axes.set_xlabel(f"called, at threshold {cut:.3g}" if target.task.has_threshold else "called")
        axes.set_ylabel("label")
        axes.set_aspect("equal")

    return draw_figure(draw, size=(4.8, 4.8), grid=False)


def reliability_plot(target: Target, y: ArrayLike, answer: ArrayLike) -> str:
    """Draw how often a stated probability comes true, in ten bins, with 95 % intervals (Wilson 1927).

    Args:
        y: (n,) class index; NaN is missing.
        answer: (n,) probability of the positive class, or (n, K): then of the class that was called.
    """
    labels, answers = _labelled(y, answer)
    n, said, seen = reliability(*stated_and_came(labels, answers))
    z = 1.96
    middle = (seen + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(seen * (1 - seen) / n + z**2 / (4 * n**2))
    bars = np.clip([seen - (middle - half), (middle + half) - seen], 0, None)

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="stated = seen")
        axes.errorbar(
            said, seen, bars, color=COLORS[0], marker="o", linewidth=1.4, capsize=3, label="model, 95 % interval"
        )
        for x, top, count in zip(said, seen + bars[1], n, strict=True):
            axes.annotate(f"{count:,}", (x, top), (0, 5), textcoords="offset points", ha="center", fontsize=7.5)
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.12), aspect="equal")
        one = "the call" if target.positive is None else shorten(target.positive, 24)
        axes.set_xlabel(f"stated probability of {one}")
        axes.set_ylabel("share that came true (number of rows)")
        axes.legend(loc="lower right")

    return draw_figure(draw, size=(4.8, 4.8))


def label_histogram(target: Target, y: Mapping[str, ArrayLike]) -> str:
    """Draw the labels of each side of the split: side -> (n,) on the trained scale, NaN is missing."""
    sides = {side: _labelled(values, values)[0] for side, values in y.items()}

    def draw(axes: Any) -> None:
        low, high = _range(*sides.values())
        for k, (side, labels) in enumerate(sides.items()):
            name = f"{side} ({len(labels):,})"
            if target.task.has_classes:
                share = np.bincount(labels.astype(np.intp), minlength=len(target.classes)) / max(len(labels), 1)
                left = np.arange(len(share)) + (k - (len(sides) - 1) / 2) * 0.8 / len(sides)
                axes.bar(left, share, 0.8 / len(sides), color=COLORS[k], edgecolor="black", linewidth=0.5, label=name)
            else:
                counts, edges = np.histogram(labels, bins=30, range=(low, high))
                share = counts / max(len(labels), 1)
                axes.stairs(share, edges, color=COLORS[k], linestyle=STROKES[k], linewidth=1.8, label=name)
        if not target.task.has_classes:
            axes.set_xlabel(axis_name(target))
        else:
            many = len(target.classes) > 4
            names = [shorten(name, 16) for name in target.classes]
            axes.set_xticks(
                range(len(names)), names, rotation=90 if many else 0, fontsize=max(3, min(10, 150 // len(names)))
            )
            axes.set_xlabel(shorten(target.name, 60))
        axes.set_ylabel("share of the side's labels")
        axes.legend(loc="best")

    return draw_figure(draw)


def size_histogram(num_nodes: ArrayLike, nouns: Nouns) -> str:
    """Draw the sizes of graphs: (G,) numbers of nodes."""
    sizes = np.asarray(num_nodes)
    largest = int(sizes.max(initial=1))

    def draw(axes: Any) -> None:
        wide = largest > 60 * max(float(np.median(sizes)) if len(sizes) else 1.0, 1.0)
        bins = np.unique(np.geomspace(1, largest + 1, 40).astype(int)) - 0.5 if wide else _whole_bins(sizes)
        axes.hist(sizes, bins=bins, color=COLORS[0], edgecolor="white", linewidth=0.4)
        if wide:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
            axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.set_xlabel(f"{nouns.nodes} of a {nouns.sample}" + (f" ({nouns.node_note})" if nouns.node_note else ""))
        axes.set_ylabel(nouns.samples)

    return draw_figure(draw)


def split_sizes(sizes: Mapping[str, int]) -> str:
    """Draw the number of graphs on each side of the split."""
    total = max(sum(sizes.values()), 1)

    def draw(axes: Any) -> None:
        names = list(sizes)
        axes.barh(
            [shorten(name, 24) for name in names],
            [sizes[name] for name in names],
            color=[COLORS[k % len(COLORS)] for k in range(len(names))],
        )
        for row, name in enumerate(names):
            text = f"{sizes[name]:,} ({sizes[name] / total:.1%})"
            axes.annotate(text, (sizes[name], row), (5, 0), textcoords="offset points", va="center")
        axes.invert_yaxis()
        axes.set_xlim(0, 1.35 * max(*sizes.values(), 1))
        axes.set_xlabel("graphs")

    return draw_figure(draw, size=(5.6, 2.2))


def learning_curve(curves: Sequence[Sequence[Mapping[str, float]]], best_epochs: Sequence[int]) -> str:
    """Draw training and validation loss of each member of the ensemble over the epochs.

    Args:
        curves: per member its epochs, each with `epoch`, `train/loss` and `val/loss`.
        best_epochs: per member the epoch whose weights were kept.
    """

    def draw(axes: Any) -> None:
        for m, (curve, best) in enumerate(zip(curves, best_epochs, strict=True)):
            for k, (key, name) in enumerate((("train/loss", "training"), ("val/loss", "validation"))):
                points = [(row["epoch"], row[key]) for row in curve if key in row]
                if not points:
                    continue
                x, y = np.array(points, dtype=np.float64).T
                label = name if m == 0 else None
                axes.plot(x, y, color=COLORS[k], linestyle=STROKES[k], linewidth=1.6 if m == 0 else 0.8, label=label)
                if key == "val/loss" and best in x:
                    label = "weights that were kept" if m == 0 else None
                    axes.plot(best, y[x == best][0], "o", color="black", markersize=6, fillstyle="none", label=label)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        if axes.get_lines():
            axes.legend(loc="upper right")

    return draw_figure(draw)


def target_figures(
    target: Target, y: ArrayLike, answers: Mapping[str, ArrayLike], threshold: float | None = None
) -> dict[str, str]:
    """Draw all pictures of one target's answers, caption -> SVG.

    Args:
        y: (n,) labels on the trained scale; NaN is missing.
        answers: who answered -> (n,) or (n, K), the model first.
    """
    model = next(iter(answers.values()))
    if not np.isfinite(np.asarray(y, dtype=np.float64)).any():
        return {}
    if not target.task.has_classes:
        return {
            "Parity: answers over labels": parity_plot(target, y, model),
            "Residuals over answers": residual_plot(target, y, model),
        }
    return {
        "ROC curve": roc_plot(target, y, answers, threshold),
        "Precision and recall": pr_plot(target, y, answers, threshold),
        "Confusion matrix": confusion_plot(target, y, model, threshold),
        "Reliability: stated and seen": reliability_plot(target, y, model),
    }


def draw_sample(schema: Schema, name: str | None, size: tuple[int, int] = (260, 180)) -> str | None:
    """Draw a sample by its name, in pixels of width and height; None where there is no picture of it."""
    svg = kind_of(schema.data_kind).source().draw(name, size) if name else None
    return svg and bare_svg(svg)


def axis_name(target: Target) -> str:
    """Name a target's trained scale: `logS [mol/L]`, `log10(k / 1/s)`, `−log10(IC50 / M)`."""
    name = shorten(target.name, 40)
    if target.transform == "p":
        return f"−log10({name} / M)"
    if target.transform == "log10":
        return f"log10({name} / {shorten(target.unit, 20)})" if target.unit else f"log10({name})"
    return f"{name} [{shorten(target.unit, 30)}]" if target.unit else name


def _mark(axes: Any, x: Array, y: Array, cut: Array, threshold: float) -> None:
    """Mark the point of a curve that a threshold stands for: the last cut that is not below it."""
    at = max(int(np.searchsorted(-cut, -threshold, side="right")) - 1, 0)
    axes.plot(x[at], y[at], "o", color="black", markersize=7, fillstyle="none", label=f"threshold {threshold:.3g}")


def _labelled(y: ArrayLike, answer: ArrayLike) -> tuple[Array, Array]:
    labels, answers = np.asarray(y, dtype=np.float64), np.asarray(answer, dtype=np.float64)
    there = np.isfinite(labels)
    return labels[there], answers[there]


def _range(*values: Array) -> tuple[float, float]:
    """Lowest and highest of all, with a margin."""
    joined = np.concatenate(values)
    if len(joined) == 0:
        return 0.0, 1.0
    low, high = float(joined.min()), float(joined.max())
    margin = 0.04 * (high - low) or max(1.0, 0.01 * abs(high))
    return low - margin, high + margin


def _whole_bins(sizes: NDArray[Any]) -> Array:
    """Bins of equal whole width around whole numbers, 40 at most."""
    low, high = int(sizes.min(initial=1 if len(sizes) == 0 else sizes[0])), int(sizes.max(initial=1))
    width = 1 + (high - low) // 40
    return np.arange(low, high + width + 1, width, dtype=np.float64) - 0.5


def _one_vs_rest(
    target: Target, y: ArrayLike, answers: Mapping[str, ArrayLike]
) -> list[tuple[str, NDArray[np.bool_], Array]]:
    """The curves to draw: name, which rows are positive, their scores."""
    if target.task.has_threshold:
        pairs = {name: _labelled(y, answer) for name, answer in list(answers.items())[: len(COLORS)]}
        return [(name, labels == 1, scores) for name, (labels, scores) in pairs.items()]
    labels, scores = _labelled(y, next(iter(answers.values())))
    frequent = np.argsort(-np.bincount(labels.astype(np.intp), minlength=target.width), kind="stable")[: len(COLORS)]
    return [(target.classes[c], labels == c, scores[:, c]) for c in np.sort(frequent)]


def _counts(positive: NDArray[np.bool_], score: Array) -> tuple[Array, Array, Array]:
    """True and false positives when everything from a cut up is called positive; cuts descend from infinity."""
    from sklearn.metrics import confusion_matrix_at_thresholds

    if len(score) == 0:
        return np.zeros(1), np.zeros(1), np.full(1, np.inf)
    _, fp, _, tp, cut = confusion_matrix_at_thresholds(positive, score)
    return np.append(0.0, tp), np.append(0.0, fp), np.append(np.inf, cut)
