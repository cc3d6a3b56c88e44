"""Errors that a user can act on: one line each, with where, what came, what was wanted, what to do.

PipelineError            exit code 2, no traceback
├── ConfigError          a parameter, a flag, a configuration file
├── DataError            a file, a column, a table as a whole
│   ├── RowError         one row or one graph; carries a stable code, goes to quarantine.csv or `error`
│   └── SplitError       a split that cannot be made
├── ShapeError           arrays that do not fit each other
├── StoreError           a store that is damaged, foreign or of another version
├── TrainingError        a network or a trainer that cannot run
├── ExportError          a network that ONNX cannot hold, or that ONNX Runtime answers differently
├── BundleError          a model folder whose bytes are not what was signed off
└── RegistryError        runs, versions, aliases, verdicts
    └── LateError        a decision that came second
"""

from __future__ import annotations

ROW_CODES: dict[str, str] = {
    "missing": "a required value is empty",
    "wrong_type": "a value has another type than the column",
    "invalid_smiles": "RDKit cannot read the SMILES",
    "invalid_molecule": "RDKit cannot read the SDF record",
    "no_atoms": "the molecule has no atoms",
    "too_large": "the graph has more nodes, edges or rings than allowed",
    "index_out_of_range": "an edge names a node that is not there",
    "duplicate_node": "two nodes of one graph carry the same id",
    "length_mismatch": "columns differ in length, or a row in its number of cells",
    "not_finite": "a number is infinite, or a graph feature is NaN",
    "no_label": "no target has a value",
    "invalid_label": "a label cannot be read as its kind, or cannot be transformed",
    "censored": "a label is a bound (> or <)",
    "conflicting_labels": "the same molecule or graph carries different class labels",
    "no_split": "the split column is empty or unknown",
}
"""Every code that a row can carry, with its meaning; codes are never renamed."""


class PipelineError(Exception):
    """A mistake that the user can mend; its text is the whole message."""

    exit_code = 2


class ConfigError(PipelineError):
    """A parameter, a flag or a configuration file is wrong."""


class DataError(PipelineError):
    """A file, a column or a table as a whole cannot be used."""


class RowError(DataError):
    """One row or one graph cannot be used.

    Args:
        code: a key of `ROW_CODES`.
        detail: one sentence for people, without the client's data.
    """

    def __init__(self, code: str, detail: str) -> None:
        assert code in ROW_CODES, code
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail

    def __reduce__(self) -> tuple[type[RowError], tuple[str, str]]:
        return type(self), (self.code, self.detail)  # crosses process borders whole


class SplitError(DataError):
    """A split cannot be made, or leaves a side empty."""


class ShapeError(PipelineError):
    """Arrays differ in length or width where they must agree."""


class StoreError(PipelineError):
    """A store is damaged, unfinished, or written by another version."""


class TrainingError(PipelineError):
    """A network or a trainer cannot run as configured."""


class ExportError(PipelineError):
    """A network cannot be written as ONNX, or ONNX Runtime answers differently from torch."""


class BundleError(PipelineError):
    """The bytes of a model folder are not those that were signed off."""


class RegistryError(PipelineError):
    """A run, a version, an alias or a verdict is not as the command needs it."""


class LateError(RegistryError):
    """Another decision was written at the same moment; nothing happened."""
