"""promote: a reviewer releases a candidate; its bytes become a version of `<name>`, alias `champion`.

Refused: no reason, a missing or failed verdict (judged anew from the logged predictions and the present gate.yaml),
bytes that are not those that were evaluated.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import BundleError, RegistryError
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run, say


@dataclass(frozen=True)
class PromoteConfig:
    """What a reviewer decides.

    Attributes:
        version: number of the candidate; default: the challenger, the newest one.
        reason: why it may live; kept with the release.
        name: the released model; default: the only one that has candidates.
        gate: file of thresholds.
    """

    version: str | None = None
    reason: str = ""
    name: str | None = None
    gate: str = "gate.yaml"


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(PromoteConfig, argv, prog="promote")
    from pipeline import bundle
    from pipeline.decision import Case, decide
    from pipeline.evaluation import judge_again
    from pipeline.registry import (
        CHALLENGER,
        DIGEST,
        EVALUATE_RUN,
        candidates_of,
        fetch_bundle,
        find_version,
        release,
        settle_name,
    )
    from pipeline.tracking import NAME, fetch_files, find_run, start_step, user
    from pipeline.verdict import read_gate

    with start_step("promote") as step, tempfile.TemporaryDirectory() as temporary:
        name = settle_name(config.name)
        candidate = find_version(candidates_of(name), config.version, CHALLENGER)
        title = f"{candidate.name} version {candidate.version}"
        try:
            evaluated = find_run(candidate.tags.get(EVALUATE_RUN, ""), "evaluate")
            logged = fetch_files(evaluated, ("predictions.json", "evaluation.json"), Path(temporary) / "logged")
            verdict = judge_again(logged, read_gate(Path(config.gate)))
            passed, headline = verdict.passed, verdict.headline
        except RegistryError as error:
            passed, headline, evaluated = None, str(error), None
        folder = fetch_bundle(candidate, Path(temporary) / "bundle")
        try:
            found = bundle.verify(folder)
        except BundleError as error:
            raise BundleError(f"{title}: {error}") from None
        expected = evaluated.data.tags["graphline.digest"] if evaluated else candidate.tags.get(DIGEST, "")
        refusal = decide(Case(title, passed, headline, expected, found, config.reason))
        if refusal:
            raise RegistryError(refusal)
        reviewer, source = user()
        released = release(name, candidate, folder, reason=config.reason, user=reviewer, user_source=source)
        step.set_tags({NAME: name, "graphline.reason": config.reason, "graphline.reviewer": reviewer})
        say(f"promote: {released}, alias champion, by {reviewer} ({source})")
        say(f'  serve it: mlflow models serve -m "models:/{name}@champion" -p 5001 --env-manager local')
        step.finish(released.digest)


if __name__ == "__main__":
    run(main)
