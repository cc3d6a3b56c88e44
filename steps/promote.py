"""promote: a reviewer approves a candidate; its bytes become a version of `<name>`, alias `champion`.

Refused, with nothing changed: no reason, the reviewer is the author, a missing or failed verdict (judged anew from the
logged predictions and the present gate.yaml) without override=, bytes that are not those that were evaluated, another
champion than the one it was compared with, a candidate that is decided already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.evaluation.gate import GATE_FILE
from pipeline.review.decision import APPROVE
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run, say
from steps.cli.decide import carry_out


@dataclass(frozen=True)
class PromoteConfig:
    """What a reviewer decides.

    Attributes:
        version: number of the candidate; default: the challenger, the newest one.
        reason: why it may live; kept in the log.
        name: the released model; default: the only one that has candidates.
        champion: release it was compared with, 0 for none; default: the one that `evaluate` compared with.
        override: why it may live without a passed verdict.
        gate: file of thresholds.
        sign_key: SSH key that signs the record.
    """

    version: str | None = None
    reason: str = ""
    name: str | None = None
    champion: int | None = None
    override: str = ""
    gate: str = GATE_FILE
    sign_key: str | None = None


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(PromoteConfig, argv, prog="promote")
    done = carry_out(
        "promote",
        APPROVE,
        config.name,
        config.sign_key,
        reason=config.reason,
        version=config.version,
        champion=config.champion,
        override=config.override,
        gate=Path(config.gate),
    )
    say(f'  serve it: mlflow models serve -m "models:/{done.record.model}@champion" -p 5001 --env-manager local')


if __name__ == "__main__":
    run(main)
