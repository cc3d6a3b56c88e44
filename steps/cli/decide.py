"""What promote, reject, rollback and retire have in common: one decision, carried out by the user of this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.runs.tags import DECISION, HEAD, NAME
from steps.cli.command import say

if TYPE_CHECKING:
    from pipeline.review.review import Outcome


def carry_out(step_name: str, action: str, name: str | None, sign_key: str | None, **asked: Any) -> Outcome:
    """Ask for a decision, do it, and print it with the head of the log.

    Args:
        name: the released model; None: the only one that has candidates.
        asked: what `pipeline.review.review.DecisionRequest` takes besides.
    """
    from pipeline.review.decision import name_release
    from pipeline.review.review import DecisionRequest, review
    from pipeline.review.signing import open_signer
    from pipeline.runs.registry import settle_name
    from pipeline.runs.server import user
    from pipeline.runs.tracking import start_step

    with start_step(step_name, say) as step:
        model = settle_name(name)
        step.set_tags({NAME: model})
        record, head, notes = done = review(DecisionRequest(action, model, **asked), user(), open_signer(sign_key))
        for note in notes:
            say(f"  {note}")
        say(f"{step_name}: {model}: {record}")
        if record.override:
            say(f"  without a passed verdict ({record.verdict}): {record.override}")
        if record.champion_after != record.champion_before:
            digest = f", sha256 {record.digest[:12]}" if record.champion_after else ""
            before, after = name_release(record.champion_before), name_release(record.champion_after)
            say(f"  champion was {before}, is {after}{digest}")
        say(f"  log of {record.sequence}, head {head}; keep it elsewhere, `audit` compares with head=")
        step.set_tags({DECISION: record.sequence, HEAD: head})
        step.finish(head)
    return done
