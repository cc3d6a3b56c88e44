"""Thresholds against metrics: is a model good enough to be released, and is there something simpler that is better?

The file `gate.yaml` says at its top how rules are written; `check_gate` is that grammar in code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError

METRICS: dict[str, tuple[str, ...]] = {
    "regression": ("rmse", "mae", "r2", "spearman"),
    "binary": ("roc_auc", "prc_auc", "accuracy", "f1", "mcc", "brier"),
    "multiclass": ("roc_auc", "accuracy", "f1", "mcc", "log_loss"),
}
LOWER_IS_BETTER = {"rmse", "mae", "brier", "log_loss"}
HEADLINE = {"regression": ("rmse",), "binary": ("roc_auc", "brier"), "multiclass": ("roc_auc", "log_loss")}
"""Per kind: the metric by which network and baselines are compared in the headline; the first that all have."""

TITLES = {
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
    "spearman": "Spearman",
    "roc_auc": "ROC-AUC",
    "prc_auc": "PR-AUC",
    "accuracy": "accuracy",
    "f1": "F1",
    "mcc": "MCC",
    "brier": "Brier score",
    "log_loss": "log loss",
}
RULE_KEYS = ("min", "max", "baseline", "better_by")


@dataclass(frozen=True)
class EvaluateConfig:
    """How a model is judged.

    Attributes:
        train_run: run whose networks are judged; default: the newest finished one.
        gate: file of thresholds.
        resamples: of the bootstrap intervals.
    """

    train_run: str | None = None
    gate: str = "gate.yaml"
    resamples: int = 1000

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise ConfigError(f"resamples={self.resamples}: expected a whole number of at least 1.")
        if not Path(self.gate).is_file():
            raise ConfigError(f"gate={self.gate}: no file at {Path(self.gate).absolute()}; pass gate=FILE.")


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


def read_gate(path: Path) -> dict[str, Any]:
    """Read and check a gate file.

    Raises:
        ConfigError: if it is not there, is not YAML, or breaks the grammar.
    """
    import yaml

    try:
        gate = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path.absolute()}: cannot be read ({error.strerror}). Pass gate= the path of it.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = " ".join(str(error).split())
        raise ConfigError(f"{path.absolute()}: is not YAML ({where}). Mend it.") from None
    try:
        check_gate(gate)
    except ConfigError as error:
        raise ConfigError(f"{path.absolute()}: {error}") from None
    return dict(gate)


def check_gate(gate: object) -> None:
    """Refuse a gate that breaks the grammar.

    Raises:
        ConfigError: naming the place, what stands there, and what may.
    """
    rules = _mapping(gate, "gate", (*METRICS, "targets"))
    for kind, metrics in METRICS.items():
        _check_metrics(rules.get(kind) or {}, kind, metrics)
    every = tuple(dict.fromkeys(name for metrics in METRICS.values() for name in metrics))
    for target, own in _mapping(rules.get("targets") or {}, "targets", None).items():
        _check_metrics(own or {}, f"targets.{target}", every)


def judge(metrics: Mapping[str, float], gate: Mapping[str, object], kinds: Mapping[str, str] | None = None) -> Verdict:
    """Hold metrics against a gate.

    Args:
        metrics: `test/<target>/<metric>`, `baseline/<kind>/<target>/<metric>`, and their `_lo` and `_hi`.
        gate: as `gate.yaml` has it.
        kinds: target, as in the metrics' names, -> `regression`, `binary` or `multiclass`. A target without any metric
            then fails instead of being overlooked; None reads targets and kinds off the metrics.

    Returns:
        A verdict that fails when a check fails, when a metric that a rule needs is missing, or when a target has no
        rule at all.

    Raises:
        ConfigError: if the gate breaks the grammar.
    """
    check_gate(gate)
    kinds = _kinds(metrics) if kinds is None else kinds
    checks: list[Check] = []
    for target, kind in kinds.items():
        own = [check for metric, rule in _rules(gate, target, kind) for check in _check(metrics, target, metric, rule)]
        nothing = f"{target}: no rule of the gate is for this {kind} target, and what is not checked does not pass"
        checks.extend(own or [Check(f"test/{target}", None, None, False, nothing)])
    if not kinds:
        checks.append(Check("test", None, None, False, "there are no test metrics"))
    passed = all(check.passed for check in checks)
    wins = [win for target, kind in kinds.items() if (win := _baseline_win(metrics, target, kind))]
    failed = [check.reason for check in checks if not check.passed]
    if passed:
        outcome = f"Passed: {_summary(metrics, kinds)}" if not wins else f"Passed all {len(checks)} checks."
    else:
        outcome = f"Failed {len(failed)} of {len(checks)} checks: {failed[0]}" + ("; …" if failed[1:] else ".")
    lead = [*wins[:1]]
    if len(wins) > 1:
        lead = [f"Baselines are better than the network on {len(wins)} of {len(kinds)} targets. {wins[0]}"]
    return Verdict(passed, " ".join([*lead, outcome]), tuple(checks), tuple(wins))


def _mapping(value: object, where: str, keys: tuple[str, ...] | None) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is {value!r}; a mapping was expected, such as `{(keys or ('name',))[0]}: …`.")
    unknown = [key for key in value if keys is not None and key not in keys]
    if unknown:
        raise ConfigError(f"{where} has the unknown key '{unknown[0]}'; there are {', '.join(keys or ())}.")
    return value


def _check_metrics(value: object, where: str, names: tuple[str, ...]) -> None:
    allowed = tuple(name + end for end in ("", "_lo", "_hi") for name in names)
    if not isinstance(value, Mapping) or any(name not in allowed for name in value):
        unknown = f" '{next(name for name in value if name not in allowed)}'" if isinstance(value, Mapping) else ""
        raise ConfigError(f"{where}:{unknown} is not a metric; there are {', '.join(names)}, each also with _lo, _hi.")
    for name, rules in value.items():
        for rule in rules if isinstance(rules, list) else [rules]:
            _check_rule(rule, f"{where}.{name}")


def _check_rule(rule: object, where: str) -> None:
    if rule is None:  # takes the rule of the kind away
        return
    rule = _mapping(rule, where, RULE_KEYS)
    for key in ("min", "max", "better_by"):
        value = rule.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ConfigError(f"{where}.{key} is {value!r}; a number was expected.")
    if not isinstance(rule.get("baseline", ""), str):
        raise ConfigError(f"{where}.baseline is {rule['baseline']!r}; mean, majority or forest was expected.")
    if not {"min", "max", "baseline"} & set(rule):
        raise ConfigError(f"{where} says nothing to hold the metric against; give min, max or baseline.")
    if "better_by" in rule and "baseline" not in rule:
        raise ConfigError(f"{where}.better_by needs a baseline beside it: mean, majority or forest.")


def _kinds(metrics: Mapping[str, float]) -> dict[str, str]:
    """Targets and their kinds, by the metric that only that kind has."""
    mark = {"rmse": "regression", "brier": "binary", "log_loss": "multiclass"}
    names = [name.removeprefix("test/").rpartition("/") for name in metrics if name.startswith("test/")]
    return {target: mark[metric] for target, _, metric in names if metric in mark}


def _rules(gate: Mapping[str, Any], target: str, kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rules for a target: those of its kind, each metric's replaced by the target's own."""
    own = (gate.get("targets") or {}).get(target) or {}
    for metric, rules in ((gate.get(kind) or {}) | own).items():
        for rule in rules if isinstance(rules, list) else [rules]:
            if rule is not None:
                yield metric, rule


def _check(metrics: Mapping[str, float], target: str, metric: str, rule: Mapping[str, Any]) -> Iterator[Check]:
    name = f"test/{target}/{metric}"
    value = _number(metrics, name)
    title = f"{_title(metric)} on {target}"
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
        lower = _is_lower_better(metric)
        than = f"the {kind} baseline's {other:.3g}" + (f" by a margin of {by:g}" if by else "")
        yield _compare(name, title, value, other - by if lower else other + by, lower=lower, than=than)


def _compare(name: str, title: str, value: float, threshold: float, *, lower: bool, than: str) -> Check:
    passed = value <= threshold if lower else value >= threshold
    held = ("not above" if lower else "not below") if passed else ("above" if lower else "below")
    shown = f"{threshold:.3g}, {than}" if "baseline" not in than else than
    return Check(name, value, threshold, passed, f"{title} is {value:.3g}, {held} {shown}")


def _baseline_win(metrics: Mapping[str, float], target: str, kind: str) -> str | None:
    """A sentence if some baseline is better than the network; the best of them."""
    for metric in HEADLINE.get(kind, ()):
        value = _number(metrics, f"test/{target}/{metric}")
        others = _baselines(metrics, target, metric)
        if value is None or not others:
            continue
        lower = _is_lower_better(metric)
        best = min(others, key=lambda name: others[name] if lower else -others[name])
        if not (others[best] < value if lower else others[best] > value):
            return None
        mine, theirs = _apart(value, others[best])
        return f"The {best} baseline is better than the network on {target}: {_title(metric)} {theirs} against {mine}."
    return None


def _baselines(metrics: Mapping[str, float], target: str, metric: str) -> dict[str, float]:
    end = f"/{target}/{metric}"
    names = [name for name in metrics if name.startswith("baseline/") and name.endswith(end)]
    found = {name.removeprefix("baseline/").removesuffix(end): _number(metrics, name) for name in names}
    return {name: value for name, value in found.items() if value is not None and "/" not in name}


def _summary(metrics: Mapping[str, float], kinds: Mapping[str, str]) -> str:
    """The first target's headline metric with its interval, beside its best baseline."""
    target, kind = next(iter(kinds.items()))
    more = f" ({len(kinds) - 1} more targets)" if len(kinds) > 1 else ""
    for metric in HEADLINE.get(kind, ()):
        name = f"test/{target}/{metric}"
        value, lo, hi = _number(metrics, name), _number(metrics, f"{name}_lo"), _number(metrics, f"{name}_hi")
        if value is None:
            continue
        interval = f" [{lo:.3g}, {hi:.3g}]" if lo is not None and hi is not None else ""
        others = _baselines(metrics, target, metric)
        sign = 1 if _is_lower_better(metric) else -1
        best = min(others, key=lambda name: sign * others[name], default=None)
        beside = f", the {best} baseline {others[best]:.3g}" if best else ""
        return f"{_title(metric)} {value:.3g}{interval} on {target}{beside}{more}."
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


def _is_lower_better(metric: str) -> bool:
    return metric.removesuffix("_lo").removesuffix("_hi") in LOWER_IS_BETTER


def _title(metric: str) -> str:
    base = metric.removesuffix("_lo").removesuffix("_hi")
    end = {"_lo": " (lower end)", "_hi": " (upper end)"}.get(metric[len(base) :], "")
    return TITLES.get(base, base) + end
