"""Sides of graphs: shares, leaks, no group on two sides."""

import math
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from pipeline.dataset.split import (
    NO_SIDE,
    SIDES,
    TEST,
    TRAIN,
    VALIDATION,
    number_keys,
    parse_sides,
    parse_times,
    split_graphs,
)
from pipeline.errors import SplitError
from pipeline.schema import Target

REGRESSION = (Target("r", "regression"),)
BINARY = (Target("c", "binary", classes=("0", "1")),)


def keys(numbers: object) -> np.ndarray:
    """Keys whose order is not that of the numbers, as digests are."""
    numbers = np.asarray(numbers, dtype=np.uint64)
    return np.stack([numbers * np.uint64(0x9E3779B97F4A7C15), numbers], axis=1)


def split(method: str, group: object, y: object = None, targets: tuple[Target, ...] = REGRESSION, **options: object):
    group = keys(group)
    y = np.zeros(len(group)) if y is None else np.asarray(y)
    return split_graphs(method, group, y=y.astype(np.float32)[:, None], targets=targets, **options)


def sizes(side: np.ndarray) -> list[int]:
    return [int((side == one).sum()) for one in range(3)]


def test_parse_sides():
    names = ["train", "Training", " TEST ", "val", "valid", "dev", "", None, "other", 3, True]
    sides = parse_sides(np.array(names, dtype=object))
    assert sides.dtype == np.int8
    assert sides.tolist() == [TRAIN, TRAIN, TEST, *[VALIDATION] * 3, *[NO_SIDE] * 5]


def test_parse_times():
    values = ["2019", 2019, "2019-07-02T12:00:00", "2020-01-01", "2019-01-01T02:00:00+02:00", "2019-03", "2019/03/01"]
    times = parse_times(np.array([*values, None, "", "soon", True, "01.02.2019", "2019_10"], dtype=object))
    np.testing.assert_allclose(times[:5], [2019, 2019, 2019.5, 2020, 2019])
    assert times[5] == times[6] == pytest.approx(2019 + 59 / 365)
    assert np.isnan(times[7:]).all()
    assert parse_times(np.array(["1,5", datetime(2020, 12, 31)], dtype=object), ",").tolist() == [1.5, 2020 + 365 / 366]


def test_eight_digits_and_other_dates_stand_in_one_order():
    values = ["20160706", "2019-04-01", "2015", "20160705", "2016-07-07"]
    times = parse_times(np.array(values, dtype=object))
    assert np.argsort(times).tolist() == [2, 3, 0, 4, 1]
    assert times[0] == parse_times(np.array(["2016-07-06"], dtype=object))[0]
    numbers = parse_times(np.array(["20161399", "123456789", 20160706], dtype=object))  # no dates: as they are
    assert numbers.tolist() == [20161399, 123456789, 20160706]


def test_number_keys():
    number, count = number_keys(np.array([[5, 1], [2, 9], [5, 0], [2, 9]], dtype=np.uint64))
    assert number.tolist() == [2, 0, 1, 0]
    assert count.tolist() == [2, 1, 1]
    number, count = number_keys(np.zeros((0, 2), dtype=np.uint64))
    assert len(number) == len(count) == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_number_keys_is_numpy_unique(pairs):
    pairs = np.array(pairs, dtype=np.uint64)
    _, inverse, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    number, count = number_keys(pairs)
    np.testing.assert_array_equal(number, inverse.ravel())
    np.testing.assert_array_equal(count, counts)


def test_random_shares():
    report = split("random", range(1000)).report
    assert report["sizes"] == {"train": 800, "validation": 100, "test": 100}
    assert report["groups_on_two_sides"] == 0
    assert report["leaks"] == {"train": 0, "validation": 0}


def test_same_seed_same_split_and_another_seed_another():
    first, again, other = (split("random", range(200), seed=seed).side for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_random_is_a_draw():
    """Over many seeds each graph is in the test side a tenth of the time."""
    share = np.mean([split("random", range(50), seed=seed).side == TEST for seed in range(400)], axis=0)
    # 400 draws of 0.1: standard error 0.015
    assert abs(share.mean() - 0.1) < 1e-9
    assert np.abs(share - 0.1).max() < 0.07


@pytest.mark.parametrize("rare", [0.5, 0.1, 0.013])
def test_random_is_stratified_as_scikit_learn_does(rare):
    y = (np.random.default_rng(0).permutation(2000) < 2000 * rare).astype(float)
    side = split("random", range(2000), y, BINARY).side
    _, oracle = next(StratifiedShuffleSplit(1, test_size=200, random_state=0).split(y[:, None], y))
    for one in (VALIDATION, TEST):
        assert (side == one).sum() == 200
        assert abs(y[side == one].sum() - y[oracle].sum()) <= 1


def test_many_tiny_classes_still_fill_every_side():
    y = np.repeat(np.arange(60), 3)
    target = (Target("m", "multiclass", classes=tuple(map(str, range(60)))),)
    assert sizes(split("random", range(180), y, target).side) == [144, 18, 18]


def test_stratified_for_the_first_class_target_and_missing_labels():
    y = np.array([[0.0, 1.0]] * 80 + [[1.0, 0.0]] * 20 + [[2.0, math.nan]] * 20, dtype=np.float32)
    side = split_graphs("random", keys(range(120)), y=y, targets=REGRESSION + BINARY).side
    for part in (slice(0, 80), slice(80, 100), slice(100, 120)):
        size = len(side[part])
        assert sizes(side[part]) == [size * 8 // 10, size // 10, size // 10]


def test_labels_of_each_side_are_reported():
    y = [0.0, 1.0, 2.0, 3.0, math.nan]
    given = np.int8([TRAIN, TRAIN, VALIDATION, TEST, TEST])
    facts = split("given", range(5), y, given=given).report["labels"]["r"]
    assert facts == {
        "train": {"labelled": 2, "mean": 0.5},
        "validation": {"labelled": 1, "mean": 2.0},
        "test": {"labelled": 1, "mean": 3.0},
    }
    facts = split("given", range(5), [0, 1, 1, 0, math.nan], BINARY, given=given).report["labels"]["c"]
    assert facts["train"] == {"labelled": 2, "classes": {"0": 1, "1": 1}}
    assert facts["test"] == {"labelled": 1, "classes": {"0": 1, "1": 0}}


def test_large_groups_do_not_spoil_the_shares():
    group = np.repeat(np.arange(300), [400, *[7] * 50, *[3] * 100, *[1] * 149])
    found = split("random", group)
    total = len(group)
    got = sizes(found.side)
    assert abs(got[VALIDATION] - total / 10) <= 1
    assert abs(got[TEST] - total / 10) <= 1
    assert set(found.side[:400].tolist()) == {TRAIN}


@pytest.mark.parametrize("count", [3, 4, 5, 9, 20])
@pytest.mark.parametrize("method", ["random", "scaffold", "time"])
def test_tiny_sets_fill_every_side(method, count):
    y = np.arange(count) % 2
    found = split(method, range(count), y, BINARY, scaffold=keys(range(count)), time=np.arange(float(count)))
    assert min(sizes(found.side)) >= 1
    if count == 20:
        assert sizes(found.side) == [16, 2, 2]


def test_given_leaks_leave_training_first():
    group = [1, 1, 2, 2, 3, 3, 3, 4, 5, 6]
    given = np.int8([0, 2, 0, 1, 0, 1, 2, 0, 1, 2])
    found = split("given", group, given=given)
    assert found.side.tolist() == [-1, 2, -1, 1, -1, -1, 2, 0, 1, 2]
    assert found.report["leaks"] == {"train": 3, "validation": 1}
    assert found.report["without_side"] == 0
    assert given.tolist() == [0, 2, 0, 1, 0, 1, 2, 0, 1, 2]


def test_given_without_validation_takes_a_tenth_of_the_training_groups():
    given = np.repeat(np.int8([TRAIN, TEST, NO_SIDE]), [100, 20, 5])
    y = np.r_[np.zeros(50), np.ones(75)]
    found = split("given", range(125), y, BINARY, given=given, seed=1)
    assert sizes(found.side) == [90, 10, 20]
    assert y[found.side == VALIDATION].sum() == 5
    assert found.report["without_side"] == 5
    assert found.report["validation"]
    np.testing.assert_array_equal(found.side == TEST, given == TEST)
    assert (split("given", range(125), y, BINARY, given=given, seed=2).side != found.side).any()


def test_scaffold_by_hand():
    # 20 graphs: free for training 16, validation 2. Sizes 9, 5, 3, 2, 1; 9 and 5 train, 3 fits nowhere but
    # in test, 2 fits in training, 1 in validation.
    scaffold = np.repeat([50, 40, 30, 20, 10], [9, 5, 3, 2, 1])
    side = split("scaffold", range(20), scaffold=keys(scaffold)).side
    assert [int(side[scaffold == one][0]) for one in (50, 40, 30, 20, 10)] == [0, 0, 2, 0, 1]


def test_scaffold_keeps_a_group_with_two_scaffolds_together():
    group = [0, 0, *range(1, 19)]
    side = split("scaffold", group, scaffold=keys(range(20))).side
    assert side[0] == side[1]


def test_scaffold_follows_the_plain_loop():
    rng = np.random.default_rng(1)
    for _ in range(20):
        scaffold = rng.geometric(0.1, 300)
        side = split("scaffold", range(300), scaffold=keys(scaffold), seed=4).side
        numbers, counts = number_keys(keys(scaffold))  # ascending with the key
        chance = np.random.default_rng(4).permutation(len(counts))
        free = [240, 30, 300]
        expected = np.zeros(300)
        for one in sorted(range(len(counts)), key=lambda one: (-counts[one], chance[one])):
            place = next(place for place in range(3) if counts[one] <= free[place])
            free[place] -= counts[one]
            expected[numbers == one] = place
        assert len(set(expected.tolist())) == 3
        np.testing.assert_array_equal(side, expected)


def test_a_file_sorted_by_label_does_not_put_one_class_on_the_test_side():
    found = [
        split("scaffold", range(400), np.arange(400) < 200, BINARY, scaffold=keys(range(400)), seed=s) for s in (0, 1)
    ]
    assert (found[0].side != found[1].side).any()
    for one in found:
        assert all(min(one.report["labels"]["c"][side]["classes"].values()) >= 8 for side in SIDES)


def test_time_goes_by_the_earliest_row_of_a_group():
    time = np.arange(20.0)
    group = np.arange(20)
    group[19] = 0  # the newest row belongs to the oldest group
    time[5] = np.nan
    found = split("time", group, time=time)
    assert found.side[19] == TRAIN
    assert found.side[5] == NO_SIDE
    assert found.report["without_side"] == 1
    dated = np.setdiff1d(np.arange(19), [5])
    assert (np.diff(found.side[dated]) >= 0).all()
    assert sizes(found.side) == [15, 2, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "no such split"),
        ({"method": "scaffold"}, "only molecules have scaffolds"),
        ({"method": "given"}, "no split column"),
        ({"method": "time"}, "no column with the time"),
        ({"method": "random", "group": [1, 1, 2]}, "the test side is empty"),
        ({"method": "random", "group": []}, "the train side is empty"),
        ({"method": "given", "given": np.zeros(3, dtype=np.int8)}, "the test side is empty"),
        ({"method": "given", "given": np.full(3, TEST, dtype=np.int8)}, "the train side is empty"),
        ({"method": "scaffold", "scaffold": keys([1, 1, 1])}, "side is empty"),
        ({"method": "time", "time": np.full(3, np.nan)}, "side is empty"),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(options, message):
    options = {"group": [1, 2, 3]} | options
    with pytest.raises(SplitError, match=message) as caught:
        split(options.pop("method"), options.pop("group"), **options)
    assert "\n" not in str(caught.value)
    assert "split" in str(caught.value)


tables = st.lists(
    st.tuples(
        st.integers(0, 15),  # group
        st.sampled_from([0.0, 1.0, math.nan]),  # class
        st.integers(0, 4),  # scaffold
        st.integers(-1, 2),  # given
        st.one_of(st.just(math.nan), st.floats(0, 10)),  # time
    ),
    min_size=6,
    max_size=60,
)


def sides_of(method: str, rows: np.ndarray) -> np.ndarray | None:
    try:
        return split(
            method,
            rows[:, 0].astype(int),
            rows[:, 1],
            BINARY,
            scaffold=keys(rows[:, 2].astype(int)),
            given=rows[:, 3].astype(np.int8),
            time=rows[:, 4],
        ).side
    except SplitError:
        return None


@pytest.mark.parametrize("method", ["random", "scaffold", "given", "time"])
@settings(max_examples=40, deadline=None)
@given(rows=tables, seed=st.integers(0, 5))
def test_no_group_on_two_sides_and_row_order_does_not_matter(method, rows, seed):
    table = np.array(rows)
    side = sides_of(method, table)
    if side is None:
        return
    for group in np.unique(table[:, 0]):
        assert len(set(side[(table[:, 0] == group) & (side != NO_SIDE)].tolist())) <= 1
    assert set(side.tolist()) - {NO_SIDE} == {0, 1, 2}
    order = np.random.default_rng(seed).permutation(len(table))
    shuffled = sides_of(method, table[order])
    np.testing.assert_array_equal(shuffled, side[order])


def test_report_is_json_ready():
    import json

    report = split("random", range(30), np.arange(30) % 2, BINARY).report
    assert json.loads(json.dumps(report)) == report
    assert set(report["sizes"]) == set(SIDES)


@pytest.mark.slow
def test_a_million_graphs_take_64_bytes_each():
    import tracemalloc

    count = 1_000_000
    group = np.random.default_rng(0).integers(0, count, count)
    y = np.arange(count) % 2
    prepared = keys(group), y.astype(np.float32)[:, None]
    tracemalloc.start()
    split_graphs("random", prepared[0], y=prepared[1], targets=BINARY)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * count
