"""retire: the champion is taken out of use; nothing is live until the next release or rollback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.review.decision import RETIRE
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run
from steps.cli.decide import carry_out


@dataclass(frozen=True)
class RetireConfig:
    """What a reviewer decides.

    Attributes:
        reason: why; kept in the log.
        name: the released model; default: the only one there is.
        champion: release that the reviewer believes to be live; refused when it is another.
        sign_key: SSH key that signs the record.
    """

    reason: str = ""
    name: str | None = None
    champion: int | None = None
    sign_key: str | None = None


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(RetireConfig, argv, prog="retire")
    carry_out("retire", RETIRE, config.name, config.sign_key, reason=config.reason, champion=config.champion)


if __name__ == "__main__":
    run(main)
