"""The model that is live, as a verdict and a comparison name it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.runs.tags import NOTHING


@dataclass(frozen=True)
class Champion:
    """The released version that is live, beside which a model is judged.

    Attributes:
        version: number of the released model.
        digest: of its bundle; empty in what is read from `evaluation.json`, as the next two are.
        name: of the released model.
        evaluate_run: run that evaluated it; may be empty or gone.
        folder: where its verified bundle lies, once it is fetched.
        refusal: why the two cannot be compared, or None.
    """

    version: str
    digest: str = ""
    name: str = ""
    evaluate_run: str = ""
    folder: Path | None = None
    refusal: str | None = None

    def __str__(self) -> str:
        return f"champion version {self.version}"


def champion_key(champion: Champion | None) -> str:
    """What an evaluation depends on: another champion, or the same bytes released anew, is another comparison."""
    return f"{champion.version}:{champion.digest}" if champion else NOTHING
