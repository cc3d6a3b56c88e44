"""The file `gate.yaml`: the grammar that it tells at its top, in code."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pipeline.errors import ConfigError
from pipeline.evaluation.metrics import METRICS, metrics_of
from pipeline.schema import TargetKind, metric_key

GATE_FILE = "gate.yaml"
"""Where a step looks for the gate, unless `gate=` names another file."""

COSTS = {
    "ms_per_request": "milliseconds of a request of one row",
    "ms_per_row": "milliseconds a row in requests of 256",
    "peak_memory_mb": "peak memory in MB",
}
"""What an answer costs, with its title; `pipeline.bundle.cost` measures it."""
RULE_KEYS = ("min", "max", "baseline", "better_by", "champion")


Rule = Mapping[str, Any]


@dataclass(frozen=True)
class Gate:
    """What a model must reach before it may be released; checked when it is made.

    Attributes:
        rules: as the file has them: kind of target, `targets` or `cost` -> name -> rule.

    Raises:
        ConfigError: if the rules break the grammar, naming the place, what stands there, and what may.
    """

    rules: Mapping[str, Any]

    def __post_init__(self) -> None:
        _check_rules(self.rules)

    @classmethod
    def read(cls, path: Path) -> Gate:
        """Read a gate file.

        Raises:
            ConfigError: if it is not there, is not YAML, or breaks the grammar.
        """
        import yaml

        where = path.absolute()
        try:
            rules = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{where}: cannot be read ({error.strerror}). Pass gate= the path of it.") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{where}: is not YAML ({' '.join(str(error).split())}). Mend it.") from None
        try:
            return cls(rules)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None

    def rules_of(self, target: str, kind: str) -> Iterator[tuple[str, Rule]]:
        """Metric and rule, for a target as metric keys name it: those of its kind, replaced by its own."""
        named = {metric_key(str(name)): rules for name, rules in (self.rules.get("targets") or {}).items()}
        own = named.get(target) or {}
        for metric, rules in ((self.rules.get(kind) or {}) | own).items():
            for rule in rules if isinstance(rules, list) else [rules]:
                if rule is not None:  # it takes the rule of the kind away
                    yield metric, rule

    @property
    def cost_rules(self) -> Mapping[str, Rule]:
        """Cost -> rule."""
        return self.rules.get("cost") or {}


def _check_rules(gate: object) -> None:
    kinds = get_args(TargetKind)
    rules = _mapping(gate, "gate", (*kinds, "targets", "cost"))
    for kind in kinds:
        _check_metrics(rules.get(kind) or {}, kind, tuple(metric.name for metric in metrics_of(kind)))
    for target, own in _mapping(rules.get("targets") or {}, "targets", None).items():
        _check_metrics(own or {}, f"targets.{target}", tuple(METRICS))
    for name, rule in _mapping(rules.get("cost") or {}, "cost", tuple(COSTS)).items():
        for key, value in _mapping(rule, f"cost.{name}", ("max", "times_champion")).items():
            _check_number(value, f"cost.{name}.{key}")


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
    if rule is None:
        return
    rule = _mapping(rule, where, RULE_KEYS)
    for key in ("min", "max", "better_by"):
        _check_number(rule.get(key, 0), f"{where}.{key}")
    if not isinstance(rule.get("baseline", ""), str):
        raise ConfigError(f"{where}.baseline is {rule['baseline']!r}; mean, majority or forest was expected.")
    if rule.get("champion", "interval") != "interval":
        _check_number(rule["champion"], f"{where}.champion", "`interval` or a number")
    if "champion" in rule and where.endswith(("_lo", "_hi")):
        raise ConfigError(f"{where}.champion: the ends of an interval are not compared; put the rule on the metric.")
    if not {"min", "max", "baseline", "champion"} & set(rule):
        raise ConfigError(f"{where} says nothing to hold the metric against; give min, max, baseline or champion.")
    if "better_by" in rule and "baseline" not in rule:
        raise ConfigError(f"{where}.better_by needs a baseline beside it: mean, majority or forest.")


def _check_number(value: object, where: str, wanted: str = "a number") -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{where} is {value!r}; {wanted} was expected.")
