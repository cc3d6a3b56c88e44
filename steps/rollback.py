"""rollback: an earlier release becomes the champion again: the one before, or a named one.

What is left behind is not gone back to: after 1, 2, 3, a rollback leads to 2 and another one to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.review.decision import ROLLBACK
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run
from steps.cli.decide import carry_out


@dataclass(frozen=True)
class RollbackConfig:
    """What a reviewer decides.

    Attributes:
        to: number of the release to go back to; default: alias `previous`.
        reason: why; kept in the log.
        name: the released model; default: the only one there is.
        champion: release that the reviewer believes to be live, 0 for none; refused when it is another.
        sign_key: SSH key that signs the record.
    """

    to: str | None = None
    reason: str = ""
    name: str | None = None
    champion: int | None = None
    sign_key: str | None = None


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(RollbackConfig, argv, prog="rollback")
    asked = {"reason": config.reason, "version": config.to, "champion": config.champion}
    carry_out("rollback", ROLLBACK, config.name, config.sign_key, **asked)


if __name__ == "__main__":
    run(main)
