"""What a model takes and answers: targets, columns, kinds, limits; kept as `schema.json`."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pipeline.answer import ROW_COLUMNS, AnswerColumn, answered, call_column, predicted_numbers, target_columns
from pipeline.errors import ConfigError, StoreError

SCHEMA_VERSION = 1
RESERVED_NAMES = (*(column.name for column in ROW_COLUMNS), "smiles", "nodes", "edges", "row", "id")
ANSWERERS = ("model", "mean", "majority", "forest", "champion")
"""Who answers in the prediction table: the model, the baselines, and the model that is live."""

TargetKind = Literal["regression", "binary", "multiclass"]
MOLAR_UNITS = {"M": 1.0, "mM": 1e-3, "uM": 1e-6, "µM": 1e-6, "nM": 1e-9, "pM": 1e-12}


class Task(NamedTuple):
    """What a kind of target asks of everyone who reads it.

    Its loss stands in `pipeline.network.losses`, its metrics in `pipeline.evaluation.metrics`.

    Attributes:
        has_classes: labels are names of classes, kept as the index of their class; else numbers, with unit and
            transform, whose mean and standard deviation the network learns in.
        per_class: the network has one output a class, and the answer is the likeliest class beside the probability
            of each; else there is one output, which is the answer.
        has_threshold: the answer is the probability of the second class, which is called from a threshold up.
    """

    has_classes: bool
    per_class: bool = False
    has_threshold: bool = False


TASKS: dict[TargetKind, Task] = {
    "regression": Task(has_classes=False),
    "binary": Task(has_classes=True, has_threshold=True),
    "multiclass": Task(has_classes=True, per_class=True),
}


def metric_key(name: str) -> str:
    """A name from the data in names of MLflow (metrics, tags, files): letters, digits, `_`, `-`, `.`, space and `:`.

    Letters are those of all alphabets. A name of dots leaves none: MLflow reads `test/../rmse` as a path that leaves
    its folder. A name beyond `_MAX_KEY_BYTES` is cut and gets a part of its sha256.
    """
    key = re.sub(r"[^\w\-. :]" if name.strip(".") else r"\.", "_", name)
    if len(key.encode()) <= _MAX_KEY_BYTES:
        return key
    start = key.encode()[: _MAX_KEY_BYTES - 13].decode(errors="ignore")
    return f"{start}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


_MAX_KEY_BYTES = 150  # MLflow takes 250 characters for `baseline/majority/<key>/<metric>_lo`, a folder's name 255 bytes


@dataclass(frozen=True)
class Target:
    """One thing the model predicts.

    Attributes:
        classes: names of the classes by index; binary: (negative, positive); empty for regression.
        transform: `log10` (trained scale is log10 of the value) or `p` (−log10 of the value in mol/L; `unit`
            is then one of `MOLAR_UNITS`). Answers are in original units; metrics are on the trained scale.
        label_range: smallest and largest label of training, in original units; None in data, for classes, and in
            bundles of before.
        threshold: probability from which a model calls a binary target positive, as chosen on validation; None in data,
            and in bundles of before.
    """

    name: str
    kind: TargetKind
    unit: str | None = None
    description: str | None = None
    transform: Literal["log10", "p"] | None = None
    classes: tuple[str, ...] = ()
    threshold: float | None = None
    label_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.name in RESERVED_NAMES:
            raise ConfigError(f"target '{self.name}': this name is taken by the answer; rename the column.")
        if self.transform and self.task.has_classes:
            raise ConfigError(f"target '{self.name}': transform={self.transform} needs a regression target.")
        if self.transform == "p" and self.unit not in MOLAR_UNITS:
            raise ConfigError(
                f"target '{self.name}': transform=p needs a molar unit; pass unit= one of {', '.join(MOLAR_UNITS)}."
            )

    @property
    def task(self) -> Task:
        """What its kind asks of everyone who reads it."""
        return TASKS[self.kind]

    @property
    def positive(self) -> str | None:
        """The class whose probability is the answer; None where the answer is none of one class."""
        return self.classes[1] if self.task.has_threshold else None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the numbers that answer one row: () one number, (K,) a probability a class."""
        return (len(self.answered_classes),) if self.task.per_class else ()

    @property
    def width(self) -> int:
        """Columns of the network's output for this target: one, or one a class."""
        return math.prod(self.shape)

    @property
    def answered_classes(self) -> tuple[str, ...]:
        """The classes that have a probability each in an answer; of a binary target one number says both."""
        return self.classes if self.task.per_class else ()

    @property
    def answer_columns(self) -> tuple[AnswerColumn, ...]:
        """Every column that a bundle may answer for it, in order."""
        return target_columns(self.name, self.answered_classes, self.threshold)

    @property
    def key(self) -> str:
        """The name as it stands in metric keys."""
        return metric_key(self.name)

    @property
    def affine(self) -> tuple[float, float] | None:
        """(a, b) with trained = a · log10(value) + b, or None without a transform."""
        if self.transform is None:
            return None
        if self.transform == "log10":
            return 1.0, 0.0
        return -1.0, -math.log10(MOLAR_UNITS[str(self.unit)])


@dataclass(frozen=True)
class Column:
    """One feature column of nodes, edges or whole graphs.

    Attributes:
        kind: `categorical` columns become codes, `numeric` ones stay numbers.
        categories: code i + 1 stands for `categories[i]`; code 0 is unknown or missing.
        train_counts: how often each category stands in the training split; empty until the split is known.
            A category seen less than twice is read as unknown, so that "unknown" is trained.
    """

    name: str
    kind: Literal["categorical", "numeric"]
    categories: tuple[str, ...] = ()
    train_counts: tuple[int, ...] = ()

    @property
    def num_codes(self) -> int:
        return len(self.categories) + 1

    @property
    def known(self) -> tuple[bool, ...]:
        """Per code: does the network tell it apart from unknown?  Code 0 never is."""
        if not self.train_counts:
            return (False, *[True] * len(self.categories))
        return (False, *[count >= 2 for count in self.train_counts])


@dataclass(frozen=True)
class Limits:
    """Largest graph that is taken, in training and in serving."""

    max_nodes: int = 10_000
    max_edges: int = 100_000  # directed


@dataclass(frozen=True)
class Schema:
    """The whole contract of a data set and of the models trained on it.

    Column order is the column order of `x`, `x_float`, `edge_attr`, `edge_float` and `u`.

    Attributes:
        data_kind: what one row is; `pipeline.samples.kinds` knows the names.
        graph_columns: numbers of the row that a request must have, too.
        descriptor_columns: numbers that the featurizer computes of a molecule; in `u` behind the `graph_columns`.
        node_range: smallest and largest number of nodes of a training graph; None in data and in bundles of before.
        fingerprint_size: counts of substructures behind those, which the forest of a network reads; 0: no forest.
    """

    name: str
    data_kind: str
    targets: tuple[Target, ...]
    node_columns: tuple[Column, ...]
    edge_columns: tuple[Column, ...]
    graph_columns: tuple[Column, ...] = ()  # numeric only
    descriptor_columns: tuple[Column, ...] = ()
    fingerprint_size: int = 0
    directed: bool = False
    featurizer_version: int | None = None  # molecules only
    limits: Limits = field(default_factory=Limits)
    description: str | None = None
    node_range: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        names = [target.name for target in self.targets] + [column.name for column in self.graph_columns]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ConfigError(f"{sorted(twice)} stand twice among targets and features; name each column once.")
        keys = [target.key for target in self.targets]
        clash = [target.name for target in self.targets if keys.count(target.key) > 1]
        if clash:
            raise ConfigError(f"targets {clash} become one name in metric keys; rename a column.")
        answers = Counter(name for target in self.targets for name in _answer_names(target))
        taken = [column for column, count in answers.items() if count > 1]
        if taken:
            raise ConfigError(f"column '{taken[0]}' would hold answers for two targets; rename a target.")

    @property
    def slices(self) -> tuple[slice, ...]:
        """Per target: its columns in the network's output (G, O)."""
        ends = [0]
        for target in self.targets:
            ends.append(ends[-1] + target.width)
        return tuple(slice(a, b) for a, b in itertools.pairwise(ends))

    @property
    def output_dim(self) -> int:
        """O, the width of the network's output."""
        return sum(target.width for target in self.targets)

    def node(self, kind: str) -> tuple[Column, ...]:
        """Node columns of one kind, in order: those of `x` (categorical) or `x_float` (numeric)."""
        return tuple(column for column in self.node_columns if column.kind == kind)

    def edge(self, kind: str) -> tuple[Column, ...]:
        """Edge columns of one kind, in order: those of `edge_attr` (categorical) or `edge_float` (numeric)."""
        return tuple(column for column in self.edge_columns if column.kind == kind)

    def answer_columns(self, outputs: Collection[str]) -> tuple[AnswerColumn, ...]:
        """The columns that a bundle answers, in order.

        Args:
            outputs: of its `model.onnx`.
        """
        columns = itertools.chain(*(target.answer_columns for target in self.targets), ROW_COLUMNS)
        return answered(tuple(columns), outputs)

    @property
    def u_columns(self) -> tuple[Column, ...]:
        """The fields of `u`, in order."""
        fingerprint = tuple(Column(f"ecfp{k}", "numeric") for k in range(self.fingerprint_size))
        return self.graph_columns + self.descriptor_columns + fingerprint

    def to_json(self) -> str:
        values = {"schema_version": SCHEMA_VERSION} | dataclasses.asdict(self)
        # What has none reads as before, also for the code of before.
        for place, names in ((values, ["node_range"]), *((one, _LEARNED) for one in values["targets"])):
            for name in names:
                if place[name] is None:
                    del place[name]
        return json.dumps(values, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Schema:
        """Read `schema.json`.

        Raises:
            StoreError: if the text is of another version.
        """
        values: dict[str, Any] = json.loads(text)
        version = values.pop("schema_version", None)
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"schema.json has version {version}, this graphline reads version {SCHEMA_VERSION}; "
                "run `mlflow run .` again with this version, or use the one that wrote it."
            )
        values["targets"] = tuple(Target(**_tuples(one)) for one in values["targets"])
        for key in ("node_columns", "edge_columns", "graph_columns", "descriptor_columns"):
            values[key] = tuple(Column(**_tuples(one)) for one in values.get(key, ()))
        values["limits"] = Limits(**values["limits"])
        return cls(**_tuples(values))


_LEARNED = ("threshold", "label_range")
"""What a target has in a bundle only."""


def _answer_names(target: Target) -> list[str]:
    """Every column that may hold answers for a target, as served and in the prediction table."""
    stems = [f"{target.name}.{who}" for who in ANSWERERS]
    numbers = [name for stem in stems for name in predicted_numbers(stem, target.answered_classes)]
    calls = [call_column(target.name)] if target.task.has_threshold else []
    return list(dict.fromkeys([*(column.name for column in target.answer_columns), *calls, *stems, *numbers]))


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists where the dataclasses have tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
