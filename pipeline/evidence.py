"""Evidence: what a decision rests on, kept beside the released bytes, and packed for an auditor."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlflow
from mlflow.entities import Run

from pipeline import bundle
from pipeline.verdict import Verdict

KEPT = ("predictions.json", "evaluation.json", "parity.json", "card")
"""Artifacts of the evaluate run that are copied to the release: its author may still write there."""


def keep_evidence(run: Run | None, verdict: Verdict | None, gate: Path, folder: Path) -> Path:
    """Gather in `folder` what a release is decided on, with `digests.json` over it.

    Args:
        run: the evaluate run; None when the candidate has none and is released by an override.
        verdict: as judged for this decision.
        gate: the thresholds it was held against.
    """
    folder.mkdir()
    shutil.copyfile(gate, folder / "gate.yaml")
    if verdict:
        (folder / "verdict.json").write_text(verdict.to_json(), encoding="utf-8")
    there = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)} if run else set()
    for name in KEPT:
        if run and name in there:
            mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=name, dst_path=str(folder))
    bundle.write_digests(folder)
    return folder
