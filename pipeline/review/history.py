"""The log of decisions as data: records, their chain of hashes, and what they say was live.  Pure.

Record n is version n of `<name>-decisions`, kept as one line of canonical JSON; `previous` is the sha256 of the line of
number n - 1, whatever stands there. A line counts if its `sequence` is its own number. All others are void: another
writer was quicker, or somebody made a version by hand. They stay in the chain and mean nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, fields
from datetime import UTC, datetime
from typing import NamedTuple

from pipeline.errors import ConfigError
from pipeline.review.decision import APPROVE, REJECT, RETIRE
from pipeline.review.verify import GENESIS, chain_faults, line_hash


@dataclass(frozen=True)
class Record:
    """One decision. Release numbers are versions of `<name>`; 0 is none.

    Attributes:
        sequence: number of the record, from 1.
        time: UTC, `2026-11-01T12:00:00.000Z`; never before that of the record before.
        action: approve, reject, rollback or retire; `meaning` says it in a sentence.
        candidate: version of `<name>-candidates` that was decided on, or that the release is a copy of.
        release, release_run: the copy that is made champion, or taken out of use, and the run that holds its bytes.
        digest: of the bundle; `evidence`: of the card, verdict and tables kept beside its bytes.
        verdict: passed, failed, missing, with the headline; empty where it played no part.
        override: why it may live without a passed verdict.
        author: who registered the candidate, as its tags say.
        identified: how the reviewer was identified.
        champion_before: where the alias really stood; `champion_after`: where this decision puts it.
        evaluate_run, commit: run that evaluated the candidate, and commit of the code that made it.
        signer: fingerprint of the key that signed the record; empty for none.
        previous: sha256 of the record before.
    """

    sequence: int
    time: str
    action: str
    meaning: str
    model: str
    candidate: int
    release: int
    release_run: str
    digest: str
    evidence: str
    verdict: str
    override: str
    author: str
    reviewer: str
    identified: str
    reason: str
    champion_before: int
    champion_after: int
    evaluate_run: str
    commit: str
    signer: str
    previous: str
    format: int = 1

    @property
    def moment(self) -> datetime:
        return _moment(self.time)

    def to_text(self) -> str:
        """One line of canonical JSON: what is hashed and signed."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Record | None:
        """Read a line; None if it is no record, or not written the one way there is."""
        try:
            record = cls(**json.loads(text))
            typed = all(
                type(value).__name__ == field.type for field, value in zip(fields(cls), astuple(record), strict=True)
            )
            return record if typed and record.moment and record.to_text() == text else None
        except (ValueError, TypeError):
            return None

    def __str__(self) -> str:
        done = {APPROVE: "approved", REJECT: "rejected", RETIRE: "retired"}.get(self.action, "rolled back to")
        what = f"candidate {self.candidate}" if self.action in (APPROVE, REJECT) else f"release {self.release}"
        return f"record {self.sequence}: {done} {what} on {self.time[:16]}Z by {self.reviewer} ({self.identified})"


class Entry(NamedTuple):
    """What stands at one number.

    Attributes:
        text: the record's line; empty when there is none, or the version was deleted.
        signature: armoured SSH signature of the line; empty for none.
        done: whether all that follows from the record was done.
        written: when the tracking server says that it came.
    """

    number: int
    text: str
    signature: str = ""
    done: bool = True
    written: datetime = datetime.fromtimestamp(0, UTC)

    @property
    def record(self) -> Record | None:
        """The record, or None when this entry is void."""
        record = Record.from_text(self.text)
        return record if record and record.sequence == self.number else None


class State(NamedTuple):
    """What is live by the log.

    Attributes:
        champion: release, 0 for none.
        earlier: releases that a rollback goes back through, the last one first in line.
    """

    champion: int = 0
    earlier: tuple[int, ...] = ()

    @property
    def previous(self) -> int:
        """Where a rollback without a number goes; 0 for nowhere."""
        return self.earlier[-1] if self.earlier else 0

    def after(self, record: Record) -> State:
        """The state that a decision leads to."""
        if record.action == REJECT:
            return self
        if record.action == RETIRE:
            return State(0, self.earlier)
        if record.release == self.champion:  # its alias had been moved behind the log's back
            return self
        if record.release in self.earlier:  # what came after it is left behind
            return State(record.release, self.earlier[: self.earlier.index(record.release)])
        return State(record.release, (*self.earlier, self.champion) if self.champion else self.earlier)


@dataclass(frozen=True)
class History:
    """The whole log of one model, entries 1 to the newest without gaps."""

    name: str
    entries: tuple[Entry, ...] = ()

    @property
    def records(self) -> tuple[Record, ...]:
        """Those that count, oldest first."""
        return tuple(record for entry in self.entries if (record := entry.record))

    @property
    def last(self) -> Entry | None:
        """The newest entry that counts."""
        return next((entry for entry in reversed(self.entries) if entry.record), None)

    @property
    def head(self) -> str:
        """sha256 of the newest line: who knows it knows the whole log."""
        return line_hash(self.entries[-1].text) if self.entries else GENESIS

    @property
    def next_number(self) -> int:
        return len(self.entries) + 1

    @property
    def state(self) -> State:
        """What is live after the newest record."""
        return self._replay(self.records)

    def faults(self) -> list[str]:
        """Where the chain is broken, a sentence each."""
        return chain_faults([entry.text for entry in self.entries])

    def live_at(self, moment: datetime) -> tuple[State, Record | None]:
        """What was live at a moment, and the record that made it so."""
        until = [record for record in self.records if record.moment <= moment]
        moved = [record for record in until if record.action != REJECT]
        return self._replay(until), moved[-1] if moved else None

    def decision_on(self, candidate: int) -> Record | None:
        """The decision on a candidate: it was approved or rejected; None while it waits."""
        decided = (r for r in self.records if r.candidate == candidate and r.action in (APPROVE, REJECT))
        return next(decided, None)

    def approval_of(self, release: int) -> Record | None:
        """The record that made a release; None for a version that no record names."""
        return next((r for r in self.records if r.release == release and r.action == APPROVE), None)

    def retirement_of(self, release: int) -> Record | None:
        """The record that took a release out of use; None if it may be used, also after a rollback to it."""
        last = next((r for r in reversed(self.records) if r.release == release and r.action != REJECT), None)
        return last if last is not None and last.action == RETIRE else None

    @staticmethod
    def _replay(records: tuple[Record, ...] | list[Record]) -> State:
        state = State()
        for record in records:
            state = state.after(record)
        return state


def parse_moment(text: str) -> datetime:
    """Read `2026-11-01T12:00`, with or without an offset; without one it is UTC.

    Raises:
        ConfigError: for anything else.
    """
    try:
        return _moment(text)
    except ValueError:
        raise ConfigError(f"at={text}: expected a time like 2026-11-01T12:00 (UTC).") from None


def format_moment(moment: datetime) -> str:
    """Write a time as records do."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def changes(history: History) -> Iterator[tuple[Record, State]]:
    """Each record with the state that it found."""
    state = State()
    for record in history.records:
        yield record, state
        state = state.after(record)
