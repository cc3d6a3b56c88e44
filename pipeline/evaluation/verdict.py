"""Thresholds against metrics: is a model good enough to be released, and is there something simpler that is better?"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Literal

from pipeline.evaluation.champion import Champion
from pipeline.evaluation.gate import COSTS, Gate, Rule
from pipeline.evaluation.metrics import (
    METRICS,
    Metric,
    best_baseline,
    leading_baseline,
    leading_metrics,
    tell_apart,
)

Status = Literal["passed", "behind", "failed"]
BEHIND = "passed, but a baseline is better"


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        name: the metric, `test/logS/rmse`.
        value: None when it is missing or not a number.
        threshold: what it was held against; None when a baseline is missing.
        reason: the whole check as a sentence.
    """

    name: str
    value: float | None
    threshold: float | None
    passed: bool
    reason: str


@dataclass(frozen=True)
class Verdict:
    """The outcome of all checks.

    Attributes:
        headline: one or two sentences; where a baseline is better than the network, that comes first.
        baseline_wins: a sentence for each target on which a baseline is better.
    """

    passed: bool
    headline: str
    checks: tuple[Check, ...]
    baseline_wins: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        """What pages colour by: `behind` has passed, but a baseline is better."""
        return "failed" if not self.passed else "behind" if self.baseline_wins else "passed"

    @property
    def words(self) -> str:
        """The status for people, as lists and tags have it."""
        return BEHIND if self.status == "behind" else self.status

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it failed."""
        return tuple(check.reason for check in self.checks if not check.passed)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        values = json.loads(text)
        checks = tuple(Check(**check) for check in values["checks"])
        return cls(values["passed"], values["headline"], checks, tuple(values["baseline_wins"]))


def judge_metrics(
    metrics: Mapping[str, float],
    gate: Gate,
    kinds: Mapping[str, str] | None = None,
    champion: Champion | None = None,
    names: Mapping[str, str] | None = None,
) -> Verdict:
    """Hold metrics against a gate.

    Args:
        metrics: `test/<target>/<metric>`, `baseline/<kind>/<target>/<metric>`, and their `_lo` and `_hi`; against a
            champion also `champion/…` and `difference/<target>/<metric>`; where a baseline is better,
            `baseline_difference/<kind>/<target>/<metric>`; `cost/model/<cost>`, `cost/champion/<cost>`.
        kinds: target, as in the metrics' names, -> `regression`, `binary` or `multiclass`. A target without any metric
            then fails instead of being overlooked; None reads targets and kinds off the metrics.

        names: target, as in the metrics' names, -> as in the data, for sentences; what is not in it is named alike.

    Returns:
        A verdict that fails when a check fails, when a metric that a rule needs is missing, when a target has no
        rule at all, or when model and champion cannot be compared. Without a champion the rules about it pass.
    """
    kinds = _kinds(metrics) if kinds is None else kinds
    names = dict(zip(kinds, kinds, strict=True)) | dict(names or {})
    checks: list[Check] = []
    if champion and champion.refusal:
        checks.append(Check("champion", None, None, False, champion.refusal))
    rules = [(target, *rule) for target, kind in kinds.items() for rule in gate.rules_of(target, kind)]
    asked = sum(rule.get("champion") == "interval" for _, _, rule in rules)
    for target, kind in kinds.items():
        mine = [(metric, rule) for name, metric, rule in rules if name == target]
        own = [
            check
            for metric, rule in mine
            for check in _check(metrics, target, names[target], metric, rule, champion, asked)
        ]
        nothing = (
            f"{names[target]}: no rule of the gate is for this {kind} target, and what is not checked does not pass"
        )
        checks.extend(own or [Check(f"test/{target}", None, None, False, nothing)])
    for name, rule in gate.cost_rules.items():
        checks.extend(_check_cost(metrics, name, rule, champion))
    if not kinds:
        checks.append(Check("test", None, None, False, "there are no test metrics"))
    passed = all(check.passed for check in checks)
    wins = [win for target, kind in kinds.items() if (win := _baseline_win(metrics, target, names[target], kind))]
    return Verdict(passed, _headline(metrics, kinds, names, champion, checks, wins), tuple(checks), tuple(wins))


def _headline(
    metrics: Mapping[str, float],
    kinds: Mapping[str, str],
    names: Mapping[str, str],
    champion: Champion | None,
    checks: list[Check],
    wins: list[str],
) -> str:
    if champion and champion.refusal:
        return f"Failed: {champion.refusal}."
    failed = [check.reason for check in checks if not check.passed]
    if failed:
        outcome = f"Failed {len(failed)} of {len(checks)} checks: {failed[0]}" + ("; …" if failed[1:] else ".")
    else:
        behind = f"Passed, but behind a baseline: {len(checks)} of {len(checks)} checks hold."
        outcome = behind if wins else f"Passed: {_summary(metrics, kinds, names, champion)}"
    if len(wins) > 1:
        return f"Baselines are better than the network on {len(wins)} of {len(kinds)} targets. {wins[0]} {outcome}"
    return " ".join([*wins, outcome])


def _kinds(metrics: Mapping[str, float]) -> dict[str, str]:
    """Targets and their kinds, by the metric that only that kind has."""
    mark = {metric.name: metric.kinds[0] for metric in METRICS.values() if metric.is_loss}
    names = [name.removeprefix("test/").rpartition("/") for name in metrics if name.startswith("test/")]
    return {target: mark[metric] for target, _, metric in names if metric in mark}


def _check(
    metrics: Mapping[str, float],
    target: str,
    called: str,
    metric: str,
    rule: Rule,
    champion: Champion | None,
    asked: int,
) -> Iterator[Check]:
    name = f"test/{target}/{metric}"
    value = _number(metrics, name)
    title = f"{_title(metric)} on {called}"
    if value is None:
        yield Check(name, None, None, False, f"{title} is missing: it was not computed, or is not a number")
        return
    if "min" in rule:
        yield _compare(name, title, value, float(rule["min"]), lower=False, than="the least allowed")
    if "max" in rule:
        yield _compare(name, title, value, float(rule["max"]), lower=True, than="the most allowed")
    if "baseline" in rule:
        kind, by = rule["baseline"], float(rule.get("better_by", 0.0))
        other = _number(metrics, f"baseline/{kind}/{target}/{metric}")
        if other is None:
            yield Check(name, value, None, False, f"{title} has no {kind} baseline to be held against")
            return
        lower = _metric(metric).lower_is_better
        than = f"the {kind} baseline's {other:.3g}" + (f" by a margin of {by:g}" if by else "")
        yield _compare(name, title, value, other - by if lower else other + by, lower=lower, than=than)
    if "champion" in rule:
        yield from _check_champion(
            metrics, name.removeprefix("test/"), title, metric, rule["champion"], champion, asked
        )


def _check_champion(
    metrics: Mapping[str, float],
    place: str,
    title: str,
    metric: str,
    allowed: float | str,
    champion: Champion | None,
    asked: int,
) -> Iterator[Check]:
    """Not worse than the champion by more than a margin, in the metric's own unit.

    The margin `interval` is half the width of the paired 95 % interval: less may be chance. Where it is asked several
    times, one or the other would exceed it by chance; it grows so that all together do not (Bonferroni).
    """
    name = f"difference/{place}"
    if champion is None:
        yield Check(name, None, None, True, f"{title}: there is no champion yet to be held against")
    if champion is None or champion.refusal:
        return
    difference = _difference(metrics, name)
    if difference is None:
        yield Check(name, None, None, False, f"{title} has no value of {champion} to be held against")
        return
    value, lo, hi = difference
    if allowed == "interval":
        quantile = NormalDist().inv_cdf
        margin = (hi - lo) / 2 * quantile(1 - 0.025 / asked) / quantile(0.975)
        origin = ", half the width of the paired interval"
    else:
        margin, origin = float(allowed), ""
    sign = _metric(metric).sign
    reason = f"{title} is {_beside(metric, value, champion)}; {margin:.3g} worse is allowed{origin}"
    yield Check(name, value, sign * margin, sign * value <= margin, reason)


def _check_cost(metrics: Mapping[str, float], cost: str, rule: Rule, champion: Champion | None) -> Iterator[Check]:
    name, title = f"cost/model/{cost}", COSTS[cost]
    value, theirs = _number(metrics, name), _number(metrics, f"cost/champion/{cost}")
    if "max" in rule and value is not None:
        yield _compare(name, title, value, float(rule["max"]), lower=True, than="the most allowed")
    elif "max" in rule:
        yield Check(name, None, None, False, f"{title}: not measured")
    if "times_champion" not in rule or (champion and champion.refusal):
        return
    times = float(rule["times_champion"])
    if champion is None:
        yield Check(name, value, None, True, f"{title}: there is no champion yet to be held against")
    elif value is None or theirs is None:
        yield Check(name, value, None, False, f"{title}: not measured beside {champion}")
    else:
        passed = value <= times * theirs
        reason = f"{title}: {value:.3g} against {theirs:.3g} of {champion}; {times:g} times as much is allowed"
        yield Check(name, value, times * theirs, passed, reason)


def _compare(name: str, title: str, value: float, threshold: float, *, lower: bool, than: str) -> Check:
    passed = value <= threshold if lower else value >= threshold
    held = ("not above" if lower else "not below") if passed else ("above" if lower else "below")
    shown = f"{threshold:.3g}, {than}" if "baseline" not in than else than
    return Check(name, value, threshold, passed, f"{title} is {value:.3g}, {held} {shown}")


def _baseline_win(metrics: Mapping[str, float], target: str, called: str, kind: str) -> str | None:
    """A sentence if some baseline is better than the network; the best of them."""
    ahead = leading_baseline(metrics, target, kind)
    if ahead is None:
        return None
    metric, name = ahead
    mine, theirs = _apart(metrics[f"test/{target}/{metric.name}"], metrics[f"baseline/{name}/{target}/{metric.name}"])
    how, end = "better", ""
    difference = _difference(metrics, f"baseline_difference/{name}/{target}/{metric.name}")
    if difference:
        clear = tell_apart(difference, lower_is_better=metric.lower_is_better) == "worse"
        how, end = ("clearly better", "") if clear else ("better", ", which may be chance")
    return f"The {name} baseline is {how} than the network on {called}: {metric.title} {theirs} against {mine}{end}."


def _summary(
    metrics: Mapping[str, float], kinds: Mapping[str, str], names: Mapping[str, str], champion: Champion | None
) -> str:
    """The first target's headline metric with its interval, beside its best baseline and the champion."""
    target, kind = next(iter(kinds.items()))
    more = f" ({len(kinds) - 1} more targets)" if len(kinds) > 1 else ""
    for metric in leading_metrics(kind):
        name = f"test/{target}/{metric.name}"
        value, lo, hi = _number(metrics, name), _number(metrics, f"{name}_lo"), _number(metrics, f"{name}_hi")
        if value is None:
            continue
        interval = f" [{lo:.3g}, {hi:.3g}]" if lo is not None and hi is not None else ""
        best = best_baseline(metrics, target, metric)
        beside = f", the {best[0]} baseline {best[1]:.3g}" if best else ""
        difference = _number(metrics, f"difference/{target}/{metric.name}")
        if difference is not None:
            beside += f"; {_beside(metric.name, difference, champion)}"
        return f"{metric.title} {value:.3g}{interval} on {names[target]}{beside}{more}."
    return f"all checks{more}."


def _apart(value: float, other: float) -> tuple[str, str]:
    """Both with as few digits as tell them apart, two decimals at least."""
    for digits in range(2, 6):
        texts = f"{value:.{digits}f}", f"{other:.{digits}f}"
        if texts[0] != texts[1]:
            return texts
    return repr(value), repr(other)


def _number(metrics: Mapping[str, float], name: str) -> float | None:
    value = metrics.get(name)
    return float(value) if value is not None and math.isfinite(value) else None


def _difference(metrics: Mapping[str, float], name: str) -> tuple[float, float, float] | None:
    """Value and both ends of a paired difference, where all are numbers."""
    value, lo, hi = (_number(metrics, name + end) for end in ("", "_lo", "_hi"))
    return None if value is None or lo is None or hi is None else (value, lo, hi)


def _beside(metric: str, difference: float, champion: Champion | None) -> str:
    if difference == 0:
        return f"equal to {champion}"
    word = "worse" if (difference > 0) == _metric(metric).lower_is_better else "better"
    return f"{abs(difference):.3g} {word} than {champion}"


def _metric(name: str) -> Metric:
    """The metric of a rule, which may be for an end of its interval."""
    return METRICS[name.removesuffix("_lo").removesuffix("_hi")]


def _title(name: str) -> str:
    ends = {"_lo": " (lower end)", "_hi": " (upper end)"}
    return _metric(name).title + ends.get(name[-3:], "")
