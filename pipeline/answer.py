"""The columns of a request and of its answer: what a client sends, and what comes back."""

from __future__ import annotations

from pipeline.schema import Schema, Target


def request_columns(schema: Schema) -> tuple[str, ...]:
    """The columns that a request must have."""
    own = ("smiles",) if schema.data_kind == "molecule" else ("nodes", "edges")
    return own + tuple(column.name for column in schema.graph_columns)


def answer_columns(schema: Schema, *, ensemble: bool) -> tuple[str, ...]:
    """The columns of an answer, in order.

    A target has its own column (original unit, probability of the positive class, or label), one `<target>=<class>`
    a class when multi-class, and `<target>_std` with an ensemble; of a label it is that of its probability.
    """
    columns: list[str] = []
    for target in schema.targets:
        columns += [target.name, *class_columns(target)]
        if ensemble:
            columns.append(f"{target.name}_std")
    return (*columns, "error", "error_detail", "warning")


def class_columns(target: Target) -> tuple[str, ...]:
    """The columns of the class probabilities of a multi-class target; none for others."""
    return tuple(f"{target.name}={label}" for label in target.classes) if target.kind == "multiclass" else ()


def text_columns(schema: Schema) -> frozenset[str]:
    """The columns of an answer that hold text; the others hold numbers."""
    labels = {target.name for target in schema.targets if target.kind == "multiclass"}
    return frozenset(labels | {"error", "error_detail", "warning"})
