"""What promote, reject, rollback and retire have in common: one decision, carried out by the user of this process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.cli.command import say

if TYPE_CHECKING:
    from pipeline.review import Outcome


def carry_out(step_name: str, action: str, config: Any, version: str | None = None) -> Outcome:
    """Ask for a decision, do it, and print it with the head of the log.

    Args:
        config: the step's dataclass; what it lacks keeps its default.
        version: what is decided on, where the step calls it otherwise.
    """
    from pipeline.registry import settle_name
    from pipeline.review import Request, review
    from pipeline.signing import open_signer
    from pipeline.tracking import NAME, start_step, user

    with start_step(step_name) as step:
        name = settle_name(config.name)
        step.set_tags({NAME: name})
        request = Request(
            action,
            name,
            config.reason,
            version or getattr(config, "version", None),
            getattr(config, "champion", None),
            getattr(config, "override", ""),
            Path(getattr(config, "gate", "gate.yaml")),
        )
        done = review(request, user(), open_signer(config.sign_key))
        record = done.record
        for note in done.notes:
            say(f"  {note}")
        say(f"{step_name}: {name}: {record}")
        if record.champion_after != record.champion_before:
            digest = f", sha256 {record.digest[:12]}" if record.champion_after else ""
            say(f"  champion was {_release(record.champion_before)}, is {_release(record.champion_after)}{digest}")
        say(f"  log of {record.sequence}, head {done.head}; keep it elsewhere, `audit` compares with head=")
        step.set_tags({"graphline.decision": record.sequence, "graphline.head": done.head})
        step.finish(done.head)
    return done


def _release(number: int) -> str:
    return f"release {number}" if number else "nothing"
