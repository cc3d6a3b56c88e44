"""The champion as an opponent: can it be compared on these test rows, which has it seen, what does it answer."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.dataset.split import TEST
from pipeline.errors import PipelineError
from pipeline.evaluation.answers import SideAnswers, ask_bundle, blank
from pipeline.evaluation.champion import Champion, fetch_champion, find_preparation
from pipeline.evaluation.comparison import request_changes, why_incomparable
from pipeline.evaluation.overlap import Overlap, find_overlap
from pipeline.evaluation.verdict import Rival
from pipeline.schema import Schema

if TYPE_CHECKING:
    from pipeline.store.store import Store


@dataclass(frozen=True)
class Opponent:
    """A champion whose verified bundle lies in `folder`.

    Attributes:
        refusal: why it cannot be compared; then there is no overlap, and no answers.
        changes: what its clients must change for the challenger.
        answers: for validation and test; without those test rows that are left out of the comparison.
        refused: test rows that it does not answer.
    """

    champion: Champion
    folder: Path
    refusal: str | None = None
    overlap: Overlap | None = None
    changes: tuple[str, ...] = ()
    answers: tuple[SideAnswers, SideAnswers] | None = None
    refused: int = 0

    @property
    def rival(self) -> Rival:
        return Rival(self.champion.version, self.refusal)


def meet_champion(champion: Champion, store: Store, folder: Path) -> Opponent:
    """Fetch the champion into `folder`, and see whether it can be compared on the store's test rows.

    Raises:
        RegistryError: if its bytes are gone.
        BundleError: if they are not those that were released.
    """
    fetched = fetch_champion(champion, folder)
    try:
        schema = Schema.from_json((fetched / "artifacts" / "schema.json").read_text(encoding="utf-8"))
    except PipelineError as error:
        return Opponent(champion, fetched, f"cannot be compared with {Rival(champion.version)}: {error}".rstrip("."))
    refusal = why_incomparable(schema, store.schema, str(Rival(champion.version)))
    if refusal:
        return Opponent(champion, fetched, refusal)
    overlap = find_overlap(store, store.indices(TEST), find_preparation(champion))
    return Opponent(champion, fetched, overlap=overlap, changes=tuple(request_changes(schema, store.schema)))


def ask_opponent(opponent: Opponent, store: Store) -> Opponent:
    """The opponent with its answers, or with the reason why it gives none: a bundle may not run on this machine."""
    if opponent.refusal:
        return opponent
    try:
        validation, test = ask_bundle(store, opponent.folder, partial=True)
    except PipelineError as error:
        reason = f"cannot be compared with {opponent.rival}: it does not answer here ({error})"
        return dataclasses.replace(opponent, refusal=reason)
    refused = test.refused
    if refused.all():
        return dataclasses.replace(opponent, refusal=f"cannot be compared with {opponent.rival}: it refuses every row")
    overlap = opponent.overlap
    if overlap and overlap.left_out and overlap.seen is not None:
        test = dataclasses.replace(test, values=blank(test.values, overlap.seen))
    return dataclasses.replace(opponent, answers=(validation, test), refused=int(refused.sum()))
