"""Records, their chain and what they say was live; all pure."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.review.decision import APPROVE, MEANINGS, REJECT, RETIRE, ROLLBACK
from pipeline.review.history import Entry, History, Record, State, parse_moment
from pipeline.review.verify import GENESIS, chain_faults, line_hash
from tests.support.records import BLANK


def history(*moves):
    """A log of (action, release) pairs, one an hour; candidates are numbered as they come."""
    entries = []
    for number, (action, release) in enumerate(moves, 1):
        record = replace(
            BLANK,
            sequence=number,
            time=f"2026-11-01T{number:02}:00:00.000Z",
            action=action,
            candidate=number,
            release=release,
            reason="because",
            previous=line_hash(entries[-1].text) if entries else GENESIS,
        )
        entries.append(Entry(number, record.to_text()))
    return History("m", tuple(entries))


def test_a_line_is_canonical_and_comes_back():
    record = replace(BLANK, reason='ein „Grund" \\ \N{SNOWMAN}', sequence=3)
    assert Record.from_text(record.to_text()) == record
    assert record.to_text().startswith('{"action":"2026","author":"2026","candidate":0,')
    assert "\N{SNOWMAN}" in record.to_text()


LINE = BLANK.to_text()


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "null",
            "[]",
            "{}",
            "nonsense",
            '{"sequence":1}',
            LINE + " ",
            LINE.replace('"2026-11', '"yesterday 2026-11'),
        ),
        LINE.replace('"sequence":0', '"sequence":false'),
        LINE.replace('"release":0', '"release":"0"'),
        LINE.replace('"release":0', '"release":0,"more":1'),
        LINE.replace('"release":0', '"release":1,"release":0'),
        LINE.replace('"release":0,', ""),
    ],
)
def test_what_is_no_canonical_record_is_none(text):
    assert Record.from_text(LINE)
    assert Record.from_text(text) is None


def test_live_and_previous_after_every_kind_of_decision():
    states = {
        (APPROVE, 1): State(1, ()),
        (APPROVE, 2): State(2, (1,)),
        (REJECT, 0): State(2, (1,)),
        (APPROVE, 3): State(3, (1, 2)),
        (ROLLBACK, 2): State(2, (1,)),
        (ROLLBACK, 3): State(3, (1, 2)),
        (RETIRE, 3): State(0, (1, 2)),
        (ROLLBACK, 1): State(1, ()),
        (APPROVE, 4): State(4, (1,)),
        (ROLLBACK, 4): State(4, (1,)),
    }
    moves = list(states)
    for count, expected in enumerate(states.values(), 1):
        assert history(*moves[:count]).state == expected


def test_a_release_is_retired_until_somebody_goes_back_to_it():
    moves = [(APPROVE, 1), (APPROVE, 2), (RETIRE, 2), (REJECT, 0), (ROLLBACK, 2)]
    retired = [history(*moves[:count]).retirement_of(2) for count in range(1, 6)]
    assert [record and record.sequence for record in retired] == [None, None, 3, 3, None]
    assert history(*moves).retirement_of(1) is None


def test_what_was_live_at_a_time():
    log = history((APPROVE, 1), (REJECT, 0), (APPROVE, 2), (RETIRE, 2))
    at = [log.live_at(parse_moment(f"2026-11-01T{hour:02}:30")) for hour in range(5)]
    assert [state.champion for state, _ in at] == [0, 1, 1, 2, 0]
    assert [record and record.sequence for _, record in at] == [None, 1, 1, 3, 4]
    assert log.live_at(parse_moment("2026-11-01T04:00+01:00"))[0].champion == 2  # 03:00 UTC, to the second


def test_times_without_an_offset_are_utc():
    assert parse_moment("2026-11-01T12:00") == datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert parse_moment("2026-11-01") == datetime(2026, 11, 1, tzinfo=UTC)
    with pytest.raises(ConfigError, match=r"at=yesterday: expected a time like 2026-11-01T12:00"):
        parse_moment("yesterday")


def test_a_void_entry_means_nothing_and_breaks_nothing():
    log = history((APPROVE, 1), (APPROVE, 2))
    late = replace(log.records[1], release=9, reviewer="late")
    after = replace(late, sequence=4, release=3, previous=line_hash(late.to_text()))
    log = History("m", (*log.entries, Entry(3, late.to_text()), Entry(4, after.to_text())))
    assert log.faults() == []
    assert [record.release for record in log.records] == [1, 2, 3]
    assert log.last.number == 4


MOVES = [(APPROVE, 1), (APPROVE, 2), (ROLLBACK, 1), (APPROVE, 3), (RETIRE, 3)]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_no_record_but_the_last_changes_unseen(data):
    lines = [entry.text for entry in history(*MOVES).entries]
    place = data.draw(st.integers(0, len(lines) - 2))
    record = Record.from_text(lines[place])
    name = data.draw(st.sampled_from([f.name for f in fields(Record)]))
    value = getattr(record, name)
    lines[place] = replace(record, **{name: value + 1 if isinstance(value, int) else value + "!"}).to_text()
    assert chain_faults(lines)


@settings(deadline=None, max_examples=60)
@given(st.permutations(range(len(MOVES))))
def test_no_other_order_is_whole(order):
    lines = [entry.text for entry in history(*MOVES).entries]
    assert bool(chain_faults([lines[k] for k in order])) is (list(order) != sorted(order))


@pytest.mark.parametrize("gone", range(len(MOVES) - 1))
@pytest.mark.parametrize("close_up", [False, True])
def test_a_record_taken_out_is_missed(gone, close_up):
    lines = [entry.text for entry in history(*MOVES).entries]
    lines[gone : gone + 1] = [] if close_up else [""]
    faults = chain_faults(lines)
    assert any(fault.startswith(f"record {gone + 1}:") for fault in faults)


def test_meanings_are_there_for_every_action():
    assert set(MEANINGS) == {APPROVE, REJECT, ROLLBACK, RETIRE}
