"""A challenger beside the champion: what was compared, and what came out; kept as `comparison.json`.

    version           of this shape: 1
    champion          version, digest; null when there was none, and then only `cost` is filled in
    refusal           why the two cannot be compared, or null; when not null, all below but `cost.model` is empty
    notes             sentences for people: what the champion has seen of the test rows, what clients must change
    rows              test; compared (rows that the champion answered and had not learned from, where that is known);
                      seen (null when not known), refused (without an answer of the champion)
    metrics           target, metric, rows, lower_is_better; challenger, champion, difference, each [value, lo, hi]:
                      difference = challenger − champion, 95 % intervals of the same resamples
    slices            tried: how many were looked at; worse: those in which the challenger is worse, the clearest first:
                      target, kind (size, scaffold, label), name, metric, rows, challenger, champion, difference, p
                      (one-sided sign-flip test), p_holm (corrected for all that were tried), clear (p_holm < 0.05)
    moved             target, row, id (null when rows are not shared), label, challenger, champion (texts, original
                      units), moved (on the trained scale, or of probability), the farthest first
    cost              model, champion: ms_per_request, ms_per_row, peak_memory_mb; champion is null without one

Numbers are on the scale of training, as all metrics are.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.bundle.cost import Cost
from pipeline.evaluation.champion import Champion
from pipeline.samples.kinds import kind_of, request_columns
from pipeline.schema import Schema, Target

VERSION = 1
Triple = tuple[float, float, float]
"""A value and the ends of its 95 % interval."""


@dataclass(frozen=True)
class Difference:
    """One metric of both models on the same rows."""

    target: str
    metric: str
    rows: int
    lower_is_better: bool
    challenger: Triple
    champion: Triple
    difference: Triple


@dataclass(frozen=True)
class WorseSlice:
    """Some test rows on which the challenger is worse."""

    target: str
    kind: str
    name: str
    metric: str
    rows: int
    challenger: float
    champion: float
    difference: Triple
    p: float
    p_holm: float
    clear: bool


@dataclass(frozen=True)
class Slices:
    tried: int = 0
    worse: tuple[WorseSlice, ...] = ()


@dataclass(frozen=True)
class MovedRow:
    """A test row whose answer is another one than the champion's."""

    target: str
    row: int
    id: str | None
    label: str
    challenger: str
    champion: str
    moved: float


@dataclass(frozen=True)
class RowCounts:
    test: int
    compared: int
    seen: int | None = None
    refused: int = 0


@dataclass(frozen=True)
class Costs:
    model: Cost
    champion: Cost | None = None

    def metrics(self) -> dict[str, float]:
        """`cost/<who>/<cost>` -> value."""
        measured = {"model": self.model} | ({"champion": self.champion} if self.champion else {})
        return {f"cost/{who}/{name}": value for who, cost in measured.items() for name, value in cost._asdict().items()}


@dataclass(frozen=True)
class Comparison:
    """The content of `comparison.json`; see the top of this file."""

    cost: Costs
    champion: Champion | None = None
    notes: tuple[str, ...] = ()
    rows: RowCounts | None = None
    metrics: tuple[Difference, ...] = ()
    slices: Slices = field(default_factory=Slices)
    moved: tuple[MovedRow, ...] = ()

    @property
    def refusal(self) -> str | None:
        """Why the two cannot be compared, or None."""
        return self.champion.refusal if self.champion else None

    def to_json(self) -> str:
        values = {"version": VERSION, "cost": None, "champion": None, "refusal": self.refusal} | dataclasses.asdict(
            self
        )
        values["cost"] = {who: cost and cost._asdict() for who, cost in vars(self.cost).items()}
        if self.champion:
            values["champion"] = {"version": self.champion.version, "digest": self.champion.digest}
        return json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)


def why_incomparable(champion: Schema, challenger: Schema, title: str) -> str | None:
    """Say in a sentence why two models cannot be compared on the challenger's test rows, or None if they can.

    They must answer the same targets in the same units, and the champion must find in the rows what it asks for.

    Args:
        title: of the champion.
    """
    reason = _other_targets(champion.targets, challenger.targets) or _other_inputs(champion, challenger)
    return reason and f"cannot be compared with {title}: {reason}; pass another name= for another model"


def request_changes(champion: Schema, challenger: Schema) -> list[str]:
    """What clients of the champion must change for the challenger, in sentences."""
    before, now = request_columns(champion), request_columns(challenger)
    added, dropped = [name for name in now if name not in before], [name for name in before if name not in now]
    changes = [f"A request must now have {', '.join(added)}; clients of the champion do not send it."] if added else []
    return changes + ([f"{', '.join(dropped)} of a request is no longer read."] if dropped else [])


def _other_targets(champion: Sequence[Target], challenger: Sequence[Target]) -> str | None:
    theirs, mine = ({target.name: target for target in targets} for targets in (champion, challenger))
    if set(theirs) != set(mine):
        return f"it answers {', '.join(sorted(theirs))}, this model {', '.join(sorted(mine))}"
    for name, target in mine.items():
        other = theirs[name]
        if other.kind != target.kind:
            return f"'{name}' is {other.kind} there, {target.kind} here"
        if other.unit != target.unit:
            return f"'{name}' is {_unit(other)} there, {_unit(target)} here"
        ordered = target.task.has_threshold  # then the answer is the probability of the second class
        same = other.classes == target.classes if ordered else {*other.classes} == {*target.classes}
        if not same:
            return f"'{name}' has the classes {', '.join(other.classes)} there, {', '.join(target.classes)} here"
    return None


def _other_inputs(champion: Schema, challenger: Schema) -> str | None:
    if champion.data_kind != challenger.data_kind:
        return f"it takes {champion.data_kind}s, this model {challenger.data_kind}s"
    if champion.directed != challenger.directed:
        return f"its edges are {'' if champion.directed else 'un'}directed, those of this model are not"
    for title in ("node_columns", "edge_columns", "graph_columns"):
        if kind_of(champion.data_kind).fixed_columns and title != "graph_columns":
            continue  # each version of the code makes its own
        there = [column.name for column in getattr(challenger, title)]
        missing = [column.name for column in getattr(champion, title) if column.name not in there]
        if missing:
            return f"it takes the {title.partition('_')[0]} column {', '.join(missing)}, which these test rows lack"
    return None


def _unit(target: Target) -> str:
    return f"in {target.unit}" if target.unit else "in no stated unit"
