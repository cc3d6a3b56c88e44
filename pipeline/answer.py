"""The table of an answer's columns: what a bundle may say of a row, and of what in the bundle it is made.

    column                holds                        made of the output
    <target>              number; multi-class: text    prediction    original unit, probability of the positive class,
                                                                      or the likeliest class
    <target>=<class>      number                       prediction    multi-class: probability of each class
    <target>_call         text                         prediction    binary: the class, where a threshold is known
    <target>_std          number                       std           of an ensemble; of classes that of the likeliest
    error                 code                                       why the row has no answer, a key of `ROW_CODES`
    error_detail          text                                       the same for people
    warning               text                                       what to know of an answer that is there

A bundle answers the columns whose output its `model.onnx` has. A new kind of column is one entry here: signature,
pages, reserved names and readers follow. Readers take what they know by name: a bundle may answer fewer, or more.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

PREDICTION, STD = OUTPUTS = ("prediction", "std")
"""Names of the outputs of `model.onnx`; only the first must be there."""

ERROR, ERROR_DETAIL, WARNING = "error", "error_detail", "warning"


class AnswerColumn(NamedTuple):
    """One column.

    Attributes:
        holds: `code` is text, too.
        target: that it is about; None: the row as a whole.
        label: class whose probability it is.
        output: of `model.onnx`, of which it is made; "": every bundle answers it.
        threshold: probability from which it names the second class; None where it names none.
    """

    name: str
    holds: Literal["number", "text", "code"]
    target: str | None = None
    label: str | None = None
    output: str = ""
    threshold: float | None = None


ROW_COLUMNS = (AnswerColumn(ERROR, "code"), AnswerColumn(ERROR_DETAIL, "text"), AnswerColumn(WARNING, "text"))


def call_column(target: str) -> str:
    """The column that names the class of a binary target."""
    return f"{target}_call"


def target_columns(target: str, classes: Sequence[str], threshold: float | None = None) -> tuple[AnswerColumn, ...]:
    """Every column that a bundle may answer for a target, in order.

    Args:
        classes: those with a probability each; none where the answer is one number.
        threshold: of a binary target, where one was chosen.
    """
    call = AnswerColumn(call_column(target), "text", target, output=PREDICTION, threshold=threshold)
    return (
        AnswerColumn(target, "text" if classes else "number", target, output=PREDICTION),
        *(AnswerColumn(f"{target}={label}", "number", target, label, PREDICTION) for label in classes),
        *([] if threshold is None else [call]),
        AnswerColumn(f"{target}_std", "number", target, output=STD),
    )


def predicted_numbers(stem: str, classes: Sequence[str]) -> list[str]:
    """The columns that hold the network's prediction of a target: one number, or one a class.

    Args:
        stem: name of the target, or `<target>.<who>` in the prediction table.
    """
    return [one.name for one in target_columns(stem, classes) if one.output == PREDICTION and one.holds == "number"]


def answered(columns: Sequence[AnswerColumn], outputs: Collection[str]) -> tuple[AnswerColumn, ...]:
    """Of columns those that a bundle with such outputs of `model.onnx` answers."""
    return tuple(column for column in columns if not column.output or column.output in outputs)
