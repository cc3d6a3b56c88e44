"""register: an evaluated bundle → a version of `<name>-candidates`, alias `challenger`.

Reads the evaluate run (bundle, verdict, card); writes only the registry. A failed verdict is registered as failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError
from pipeline.runs.keys import StepKey, step_key
from pipeline.runs.tags import (
    AUTHOR,
    AUTHOR_SOURCE,
    CANDIDATE_VERDICT,
    COMMIT,
    COMPLETE,
    DATA_DIGEST,
    DIGEST,
    NAME,
    VERDICT,
    VERSION,
)
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run, say

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from pipeline.runs.tracking import StepRun


@dataclass(frozen=True)
class RegisterConfig:
    """`evaluate_run`: id of the evaluate run whose bundle becomes a candidate."""

    evaluate_run: str | None = None

    def __post_init__(self) -> None:
        if not self.evaluate_run:
            raise ConfigError("register needs the run it registers; pass evaluate_run=RUN_ID.")


def key_of(bundle_digest: str, name: str) -> StepKey:
    """The key of this step: the same bundle is registered once."""
    return step_key("register", {"name": name}, {"bundle": bundle_digest}, Path.cwd())


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(RegisterConfig, argv, prog="register")
    from pipeline.runs.registry import candidates_of, register_candidate
    from pipeline.runs.server import user
    from pipeline.runs.tracking import find_run, start_step

    with start_step("register", say) as step:
        evaluated = find_run(str(config.evaluate_run), "evaluate")
        tags = evaluated.data.tags
        name, digest = tags[NAME], tags[DIGEST]
        step.set_tags({NAME: name, "mlflow.runName": f"register {name}"})
        step.log_key(key_of(digest, name))
        description = step.client.download_artifacts(evaluated.info.run_id, "card/card.md")
        author = user()
        again = find_registered(step, candidates_of(name), evaluated.info.run_id, digest)
        version = again or register_candidate(
            name,
            evaluated.info.run_id,
            f"{evaluated.info.artifact_uri}/bundle",
            digest=digest,
            tags={
                CANDIDATE_VERDICT: tags[VERDICT],
                DATA_DIGEST: tags.get(DATA_DIGEST, ""),
                COMMIT: tags.get(COMMIT, ""),
                AUTHOR: author.name,
                AUTHOR_SOURCE: author.how,
            },
            description=Path(description).read_text(encoding="utf-8"),
        )
        step.set_tags({VERSION: version.version})
        say(f"register: {candidates_of(name)} version {version.version}, sha256 {digest[:12]}, alias challenger")
        step.finish(f"{candidates_of(name)}/{version.version}")


def find_registered(step: StepRun, candidates: str, run_id: str, digest: str) -> ModelVersion | None:
    """The version that a `register` made which was killed before it could say so; it is the challenger then."""
    from pipeline.runs.registry import CHALLENGER

    client = step.client
    there = client.search_model_versions(f"name = '{candidates}' AND run_id = '{run_id}'")
    version = next((version for version in there if version.tags.get(DIGEST) == digest), None)
    # A version that a finished step names is whole: who registers again wants another one.
    named = f"tags.`{COMPLETE}` = '{candidates}/{version.version}'" if version else ""
    if version is None or client.search_runs([step.experiment_id], named, max_results=1):
        return None
    client.set_registered_model_alias(candidates, CHALLENGER, version.version)
    return version


if __name__ == "__main__":
    run(main)
