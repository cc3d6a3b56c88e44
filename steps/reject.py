"""reject: a reviewer says that a candidate is never released. Final, as every decision on a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.evaluation.gate import GATE_FILE
from pipeline.review.decision import REJECT
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run
from steps.cli.decide import carry_out


@dataclass(frozen=True)
class RejectConfig:
    """What a reviewer decides.

    Attributes:
        version: number of the candidate; default: the challenger, the newest one.
        reason: why it must not live; kept in the log.
        name: the released model; default: the only one that has candidates.
        gate: file of thresholds; the record says how the candidate stands against them.
        sign_key: SSH key that signs the record.
    """

    version: str | None = None
    reason: str = ""
    name: str | None = None
    gate: str = GATE_FILE
    sign_key: str | None = None


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(RejectConfig, argv, prog="reject")
    asked = {"reason": config.reason, "version": config.version, "gate": Path(config.gate)}
    carry_out("reject", REJECT, config.name, config.sign_key, **asked)


if __name__ == "__main__":
    run(main)
