"""predict: a file in, a file out: every row of `data` with the model's answers, in the same order.

By default the live release of `name` answers; `model` takes any model URI. The bundle is verified, then scored
in processes of its own; rows that cannot be answered say why in `error`. After a kill the same command goes on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.runs.tags import DIGEST, MODEL
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run, say


@dataclass(frozen=True)
class PredictConfig:
    """What is predicted with what.

    Attributes:
        data: CSV, Parquet, SDF or SMILES file, or a folder of graph tables.
        out: CSV or Parquet file, by its name.
        name: answer with the live release of this model; default: the only one that is live.
        model: any model URI instead; `models:/solubility-candidates@challenger` is the newest candidate.
        smiles: column of the molecules; recognised when there is one obvious column.
        header: false where the first row of a CSV file is a row like the others; its columns are column1, column2, ….
        processes: that answer at the same time; 0: one for each core this process may use.
    """

    data: str = ""
    out: str = "answers.csv"
    name: str | None = None
    model: str | None = None
    smiles: str | None = None
    header: bool = True
    processes: int = 0

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigError("predict needs the rows to answer; pass data=FILE.")
        if not self.out.endswith((".csv", ".parquet")):
            raise ConfigError(f"out={self.out}: expected a name that ends with .csv or .parquet.")
        if self.processes < 0:
            raise ConfigError(f"processes={self.processes}: expected 0 (all cores) or more.")


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(PredictConfig, argv, prog="predict")
    from pipeline.bundle.scoring import score_file
    from pipeline.runs.registry import fetch_model, pin_version, released
    from pipeline.runs.tracking import start_step
    from pipeline.samples.source import Options

    with start_step("predict", say, name=config.name) as step, tempfile.TemporaryDirectory() as temporary:
        asked = config.model or released(config.name)
        uri = pin_version(asked)
        folder = fetch_model(uri, Path(temporary) / "bundle")
        options = Options(smiles=config.smiles, header=config.header)
        report = score_file(
            folder, Path(config.data), Path(config.out), options=options, model=uri, processes=config.processes
        )
        if report.resumed:
            say(f"predict: went on behind the {report.resumed} rows of a run that did not end")
        if report.errors:
            errors = ", ".join(f"{count} {code}" for code, count in report.errors.items())
            say(f"  without an answer: {errors}; see the column '{report.columns['error']}'")
        say(f"  written to {Path(config.out).resolve()}")
        step.set_tags({MODEL: uri, DIGEST: report.digest})
        step.log_metrics({"rows": report.rows, "answered": report.answered})
        step.finish(report.digest)
    by = uri if uri == asked else f"{uri} ({asked})"
    say(f"predict: {report.answered} of {report.rows} rows answered by {by}, sha256 {report.digest[:12]}")


if __name__ == "__main__":
    run(main)
