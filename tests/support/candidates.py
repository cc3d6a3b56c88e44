"""Candidates that cost no training: an evaluate run with a prediction table, and a bundle of two small files."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion

from pipeline import digests
from pipeline.evaluation.predictions import build_table, table_to_json
from pipeline.review.decision import APPROVE
from pipeline.review.review import DecisionRequest, Outcome, review
from pipeline.runs.person import Person
from pipeline.runs.registry import register_candidate
from pipeline.runs.tags import AUTHOR, AUTHOR_SOURCE
from pipeline.schema import Target
from tests.support.schemas import toy_schema

SCHEMA = toy_schema(Target("logS", "regression", unit="log10(mol/L)"))
GATE = "regression:\n  rmse: {max: 1.0}\n"
ADA = Person("ada", "tracking server login", True)
LONE = Person("eve", "system user", False)


def write_gate(folder: Path) -> Path:
    path = folder / "gate.yaml"
    path.write_text(GATE)
    return path


def evaluated(folder: Path, name: str, content: str = "good", experiment_id: str = "0", **tags: str) -> Run:
    """An evaluate run with bundle; RMSE on `logS` is 0.1, or 10 if `content` begins with bad."""
    client = MlflowClient()
    made = folder / f"{name}-{content}"
    (made / "bundle" / "artifacts").mkdir(parents=True)
    (made / "bundle" / "artifacts" / "model.onnx").write_text(content)
    (made / "bundle" / "MLmodel").write_text("flavors: {}\n")
    (made / "bundle" / "requirements.txt").write_text("onnxruntime\n")
    digest = digests.write_digests(made / "bundle")
    y = np.arange(8, dtype=np.float32)
    answers = {"model": {"logS": y + (10 if content.startswith("bad") else 0.1)}}
    (made / "predictions.json").write_text(table_to_json(build_table(SCHEMA, np.arange(8), None, y[:, None], answers)))
    facts = {"schema": SCHEMA.to_json(), "thresholds": {}, "resamples": 1, "costs": {}, "rival": None}
    (made / "evaluation.json").write_text(json.dumps(facts))
    (made / "card").mkdir()
    (made / "card" / "card.html").write_text(f"<h1>{content}</h1>")
    (made / "card" / "card.md").write_text(f"**{content}**")
    run = client.create_run(experiment_id)
    client.log_artifacts(run.info.run_id, str(made))
    known = {
        "graphline.step": "evaluate",
        "graphline.complete": digest,
        "graphline.name": name,
        "graphline.digest": digest,
        "graphline.verdict": "passed",
        "graphline.commit": "0123456789ab",
        "graphline.data_digest": "d" * 64,
    }
    for key, value in (known | tags).items():
        client.set_tag(run.info.run_id, key, value)
    return client.get_run(run.info.run_id)


def candidate(folder: Path, name: str, content: str = "good", *, author: str = "eve", **tags: str) -> ModelVersion:
    """Register what was `evaluated`."""
    run = evaluated(folder, name, content, **tags)
    return register_candidate(
        name,
        run.info.run_id,
        f"{run.info.artifact_uri}/bundle",
        digest=run.data.tags["graphline.digest"],
        tags={AUTHOR: author, AUTHOR_SOURCE: "tracking server login"} if author else {},
        description=f"**{content}**",
    )


def decide(folder: Path, name: str, action: str = APPROVE, *, who: Person = ADA, **asked: object) -> Outcome:
    """Ask for a decision with a reason."""
    request = DecisionRequest(action, name, **({"reason": "a test", "gate": write_gate(folder)} | asked))
    return review(request, who)


def aliases(name: str) -> dict[str, str]:
    return {alias: str(version) for alias, version in MlflowClient().get_registered_model(name).aliases.items()}


def place_of(uri: str) -> Path:
    """The folder behind a local artifact URI."""
    return Path(uri.removeprefix("file://"))


@contextmanager
def rewound(tracking: str) -> Iterator[None]:
    """Put the database back in the end as it was."""
    with closing(sqlite3.connect(tracking.removeprefix("sqlite:///"))) as database:
        kept = sqlite3.connect(":memory:")
        database.backup(kept)
        try:
            yield
        finally:
            kept.backup(database)
            kept.close()
