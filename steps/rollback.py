"""rollback: the champion steps back to the release before it.

Moves `champion` to `previous` and clears `previous`: a second rollback is refused, it would restore the bad one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steps.cli.arguments import parse_dataclass
from steps.cli.command import run, say


@dataclass(frozen=True)
class RollbackConfig:
    """`name`: the released model; default: the only one there is."""

    name: str | None = None


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(RollbackConfig, argv, prog="rollback")
    from pipeline.registry import CHAMPION, describe, find_version, rollback, settle_name
    from pipeline.tracking import NAME, start_step

    with start_step("rollback") as step:
        name = settle_name(config.name)
        bad = describe(find_version(name, None, CHAMPION))
        good = rollback(name)
        step.set_tags({NAME: name, "graphline.before": bad.version, "graphline.after": good.version})
        say(f"rollback: champion was {bad}")
        say(f"rollback: champion is  {good}")
        step.finish(good.digest)


if __name__ == "__main__":
    run(main)
