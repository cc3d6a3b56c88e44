"""Kinds of targets, and values as labels."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.label_text import parse_percent
from pipeline.dataset.labels import MAX_CLASSES, LabelScan, is_wide_potency, parse_labels
from pipeline.errors import ConfigError, DataError
from pipeline.schema import Target


def column(*values: object) -> np.ndarray:
    return np.array([*values, None], dtype=object)[:-1]


def scan(*values: object, decimal: str = ".", **options: object) -> Target:
    found = LabelScan("t")
    for value in values:  # one value a chunk: nothing may depend on what stands in one chunk
        found.add(column(value), decimal)
    return found.target(**options)


REGRESSION = Target("t", "regression")


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (("0", "1", "1", None), "binary", ("0", "1")),
        (("1.0", "0.0"), "binary", ("0", "1")),
        ((0, 1), "binary", ("0", "1")),
        ((True, False), "binary", ("False", "True")),
        (("active", "inactive", "NA", ""), "binary", ("inactive", "active")),
        (("BBB-", "BBB+"), "binary", ("BBB-", "BBB+")),
        (("toxic", "nontoxic"), "binary", ("nontoxic", "toxic")),
        (("soluble", "insoluble"), "binary", ("insoluble", "soluble")),
        (("no", "maybe"), "binary", ("no", "maybe")),
        (("left", "right"), "binary", ("left", "right")),
        (("mild", "none", "severe"), "multiclass", ("mild", "none", "severe")),
        (("0", "2", "1"), "regression", ()),
        ((1.5, 2.5, None, math.nan), "regression", ()),
        (("<5", ">7", "~3", "= 4", "≥2"), "regression", ()),
        ((*map(str, range(20)), "insoluble"), "regression", ()),
        (("<10", "10-100", ">100"), "multiclass", ("10-100", "<10", ">100")),
    ],
)
def test_kind_is_inferred(values, kind, classes):
    target = scan(*values)
    assert (target.kind, target.classes) == (kind, classes)
    whole = LabelScan("t")
    whole.add(column(*values))
    assert whole.target() == target


def test_kind_and_positive_class_can_be_set():
    assert scan("2", "10", "1", kind="multiclass").classes == ("1", "2", "10")
    assert scan("-1", "1", kind="binary").classes == ("-1", "1")
    assert scan("1", "0", positive="0.0").classes == ("1", "0")
    assert scan("Active", "Inactive", positive="inactive").classes == ("Active", "Inactive")
    assert scan("0", "1", kind="regression", unit="K", description="d") == Target("t", "regression", "K", "d")
    assert scan("0", "1", transform="log10").kind == "regression"
    assert scan("1,5", "2,5", decimal=",").kind == "regression"


@pytest.mark.parametrize(
    ("values", "options", "error", "message"),
    [
        ((None, "NA", ""), {}, DataError, "none of its 3 rows has a value"),
        (("3", "3.0", None), {}, DataError, "does not vary: all 2 labels are equal"),
        (("a", "a"), {}, DataError, "does not vary"),
        (("a", "b"), {"kind": "regression"}, DataError, "no value is a number"),
        (("a", "b"), {"transform": "log10"}, DataError, "no value is a number"),
        (tuple(f"class {i}" for i in range(MAX_CLASSES + 1)), {}, DataError, "more than 100 different values"),
        (("0", "1", "2"), {"kind": "binary"}, DataError, "kind=binary needs two different values, 3 came"),
        (("0", "1"), {"positive": "2"}, DataError, "positive=2 is none of 0, 1"),
        (("0.5", "1"), {"positive": "1"}, DataError, "needs a binary target"),
        (("0", "1"), {"kind": "ordinal"}, ConfigError, "kind=ordinal: no such kind"),
        (("0", "1"), {"transform": "ln"}, ConfigError, "transform=ln: no such transform"),
        (("1", "2"), {"transform": "p"}, ConfigError, "needs a molar unit"),
    ],
)
def test_unusable_columns_are_refused_in_one_line(values, options, error, message):
    with pytest.raises(error, match=message) as caught:
        scan(*values, **options)
    assert "\n" not in str(caught.value)
    assert "'t'" in str(caught.value) or error is ConfigError


@pytest.mark.parametrize("name", ["pIC50", "pKi", "pic50", "pEC50 (CYP3A4)"])
def test_a_logarithm_is_not_taken_twice(name):
    found = LabelScan(name)
    found.add(column(4.5, "9,1", ">3"), ",")
    with pytest.raises(DataError, match=r"3 to 9\.1, it is −log10 of mol/L already.*leave transform= out"):
        found.target(transform="p", unit="nM")
    assert found.target(unit="nM").transform is None
    assert found.target(unit="nM", transform="log10").transform == "log10"


@pytest.mark.parametrize(("name", "values"), [("potency", (4.5, 9.1)), ("pIC50", (4.5, 10_000)), ("p38", (1, 5))])
def test_concentrations_are_transformed_whatever_their_name(name, values):
    found = LabelScan(name)
    found.add(column(*values))
    assert found.target(transform="p", unit="nM").transform == "p"


@pytest.mark.parametrize(
    ("target", "values", "wide"),
    [
        (Target("IC50", "regression", unit="nM"), (0, 1, 2e3), True),
        (Target("IC50", "regression", unit="nM"), (1, 900), False),
        (Target("IC50", "regression", unit="nM", transform="p"), (1, 2e3), False),
        (Target("mass", "regression", unit="g"), (1, 2e3), False),
        (Target("IC50", "regression", unit="nM"), (0, math.nan), False),
    ],
)
def test_a_potency_over_orders_of_magnitude_is_seen(target, values, wide):
    assert is_wide_potency(target, np.array(values, np.float32)) is wide


def test_scan_memory_is_bounded():
    found = LabelScan("t")
    for start in range(0, 3000, 1000):
        found.add(column(*(f"text {i}" for i in range(start, start + 1000))))
        found.add(np.arange(start, start + 1000).astype(object))
    assert len(found._texts) == len(found._number_names) == MAX_CLASSES + 1
    assert (found.rows, found.numbers, found.others) == (6000, 3000, 3000)


def test_numbers_with_signs_and_bounds():
    values = column("1.5", "<2", "~3", "= 4", "≥5", "NA", "\u22126", "abc", "inf", None, True)
    dropped = parse_labels(values, REGRESSION)
    np.testing.assert_array_equal(dropped.y, np.float32([1.5, *[np.nan] * 1, 3, 4, np.nan, np.nan, -6, *[np.nan] * 4]))
    codes = {position: error.code for position, error in dropped.errors.items()}
    assert codes == {1: "censored", 4: "censored", 7: "invalid_label", 8: "invalid_label", 10: "invalid_label"}
    assert dropped.censored == 2
    bound = parse_labels(values, REGRESSION, censored="bound")
    np.testing.assert_array_equal(bound.y[[1, 4]], [2, 5])
    assert set(bound.errors) == {7, 8, 10}
    assert bound.censored == 2


def test_details_do_not_echo_the_value():
    errors = parse_labels(column("secret", "<3"), REGRESSION).errors
    assert "secret" not in errors[0].detail
    assert "3" not in errors[1].detail


def test_decimal_comma():
    labels = parse_labels(column("1,5", "-2,25", "1e-3", "<0,5", "1.234,5", "1.234"), REGRESSION, decimal=",")
    np.testing.assert_array_equal(labels.y[:3], np.float32([1.5, -2.25, 1e-3]))
    assert np.isnan(labels.y[3:]).all()
    assert {position: error.code for position, error in labels.errors.items()} == {
        3: "censored",
        4: "invalid_label",  # thousands are not read, rather than read wrongly
        5: "invalid_label",
    }
    assert parse_labels(column("1,234"), REGRESSION).errors[0].code == "invalid_label"


def test_transforms():
    log10 = parse_labels(column("100", 0.001, "0", "-1", None), Target("t", "regression", transform="log10"))
    np.testing.assert_allclose(log10.y, [2, -3, np.nan, np.nan, np.nan], rtol=1e-6)
    assert {position: error.code for position, error in log10.errors.items()} == {
        2: "invalid_label",
        3: "invalid_label",
    }
    assert all("needs a value above 0" in error.detail for error in log10.errors.values())
    p = parse_labels(column("1", "10000"), Target("t", "regression", unit="nM", transform="p"))
    np.testing.assert_allclose(p.y, [9, 5], rtol=1e-6)


def test_too_large_for_float32_is_an_error():
    labels = parse_labels(column("1e300", 10**400, "2", "x"), REGRESSION)
    assert set(labels.errors) == {0, 1, 3}
    assert np.isnan(labels.y[[0, 1, 3]]).all()
    assert parse_labels(column(1e300, 2.0), REGRESSION).errors[0].code == "invalid_label"


def test_classes():
    target = Target("t", "binary", classes=("0", "1"))
    labels = parse_labels(column("1", 0, 1.0, "0.0", "2", None, "yes", "nan"), target)
    np.testing.assert_array_equal(labels.y, np.float32([1, 0, 1, 0, *[np.nan] * 4]))
    assert {position: error.code for position, error in labels.errors.items()} == {
        4: "invalid_label",
        6: "invalid_label",
    }
    boolean = scan(True, False)
    np.testing.assert_array_equal(parse_labels(column(True, "True", False), boolean).y, [1, 1, 0])
    bins = scan("<10", "10-100", ">100")
    np.testing.assert_array_equal(parse_labels(column(">100", "< 10"), bins).y, [2, 1])


def test_values_are_not_changed():
    values = column(1.0, -1.0)
    parse_labels(values, Target("t", "regression", transform="log10"))
    assert values.tolist() == [1.0, -1.0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6, allow_nan=False)), min_size=1, max_size=20))
def test_fast_and_slow_paths_agree(numbers):
    """A chunk of plain numbers is read at once; one odd value sends the chunk the slow way."""
    texts = column(*[None if number is None else repr(number) for number in numbers])
    fast = parse_labels(texts, REGRESSION).y
    slow = parse_labels(column(*texts, "odd"), REGRESSION).y[:-1]
    np.testing.assert_array_equal(fast, slow)
    np.testing.assert_array_equal(fast, pd.to_numeric(pd.Series(texts.astype(object))).astype("float32").to_numpy())


@pytest.mark.parametrize(
    "words", [("TRUE", "FALSE", "true"), ("Yes", "no", "NO", "yes"), (True, "FALSE", False, "true")]
)
def test_two_words_are_binary_however_their_letters_are_cased(words):
    target = scan(*words)
    assert (target.kind, len(target.classes)) == ("binary", 2)
    assert target.classes[1].casefold() in ("true", "yes")
    labels = parse_labels(column(*words, "MAYBE"), target)
    assert labels.y[:-1].tolist() == [float(str(word).casefold() in ("true", "yes")) for word in words]
    assert labels.errors[len(words)].code == "invalid_label"


def test_case_tells_classes_apart_where_it_is_all_that_does():
    assert scan("a", "A").classes == ("a", "A")
    assert scan("a", "A", "b", "c").classes == ("A", "a", "b", "c")
    assert scan("TRUE", "FALSE", "true", kind="multiclass").classes == ("FALSE", "TRUE", "true")


@pytest.mark.parametrize("number", [3, MAX_CLASSES + 20])
def test_percent_signs_are_refused_with_a_way_out_that_works(number):
    percents = [f"{k / 4:.2f}%" for k in range(number)]
    with pytest.raises(DataError, match=r"'0\.00%' have a percent sign; pass kind=regression"):
        scan(*percents)
    target = scan(*percents, kind="regression")
    assert parse_labels(column(*percents, "x%"), target).y[:-1].tolist() == [k / 4 for k in range(number)]


def test_percents_and_plain_numbers_are_not_mixed():
    with pytest.raises(DataError, match=r"some values have a percent sign, as '45%', 1 have none"):
        scan("45%", "50%", "55%", "0.45", kind="regression")
    assert scan("5%", "5 g", "5 ml", "6 g").kind == "multiclass"


def test_a_percent_may_have_a_decimal_comma():
    target = scan("1,5%", "2,5 %", decimal=",", kind="regression")
    assert parse_labels(column("1,5%", "2,5 %"), target, decimal=",").y.tolist() == [1.5, 2.5]


@given(st.lists(st.sampled_from(["1", "1.0", "2", "a", "A", "NA", "", "<5"]), max_size=6))
def test_a_column_varies_exactly_when_it_can_be_a_target_of_classes(values):
    found = LabelScan("t")
    found.add(column(*values))
    if found.varies:
        assert len(found.target(kind="multiclass").classes) > 1
    else:
        with pytest.raises(DataError, match=r"does not vary|has a value"):
            found.target(kind="multiclass")


@given(st.floats(-1e6, 1e6), st.sampled_from([".", ","]), st.sampled_from(["", " "]))
def test_a_number_with_a_percent_sign_is_that_number(number, decimal, blank):
    text = f"{number!r}".replace(".", decimal)
    assert parse_percent(f"{text}{blank}%", decimal) == number
    assert parse_percent(text, decimal) is None
    assert parse_percent(number, decimal) is None
