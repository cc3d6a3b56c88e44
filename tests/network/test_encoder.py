"""Features to vectors: by hand, and what is unknown or missing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.network.encoder import Encoder, Standardize
from pipeline.schema import Column

SYMBOL = Column("symbol", "categorical", ("C", "N", "O"), (9, 1, 4))  # N was seen once: it is unknown
RING = Column("ring", "categorical", ("no", "yes"))
CHARGE = Column("charge", "numeric")
STATISTICS = {"mean": [0.5], "std": [2.0]}
NONE = {"mean": [], "std": []}


def encoder(*columns):
    made = Encoder(columns, STATISTICS if CHARGE in columns else NONE, 2)
    if made.table is not None:
        made.table.data = torch.arange(2.0 * len(made.table)).reshape(-1, 2)
    made.bias.data = torch.tensor([100.0, 200.0])
    return made


def encode(made, codes, numbers=None):
    codes = torch.tensor(codes)
    with torch.no_grad():
        return made(codes, torch.zeros(len(codes), 0) if numbers is None else torch.tensor(numbers)).tolist()


def test_vectors_of_the_categories_are_summed_by_hand():
    made = encoder(SYMBOL, RING)
    # rows of the table: symbol unknown, C, O; ring unknown, no, yes
    assert made.rows == [[0, 1, 0, 2], [3, 4, 5]]
    assert encode(made, [[1, 2], [3, 0]]) == [[2 + 10 + 100, 3 + 11 + 200], [4 + 6 + 100, 5 + 7 + 200]]


@pytest.mark.parametrize("code", [2, -1, 4, 2**40])
def test_rare_and_foreign_codes_are_unknown(code):
    made = encoder(SYMBOL, RING)
    assert encode(made, [[code, 1]]) == encode(made, [[0, 1]])


@given(st.lists(st.tuples(st.integers(-2, 6), st.integers(-2, 6)), min_size=1, max_size=9))
def test_any_codes_are_summed_row_by_row(codes):
    made = encoder(SYMBOL, RING)
    rows = [[of[code if 0 <= code < len(of) else 0] for of, code in zip(made.rows, row, strict=True)] for row in codes]
    assert encode(made, codes) == [[100.0 + sum(2 * k for k in row), 202.0 + sum(2 * k for k in row)] for row in rows]


def test_numbers_are_added_on_the_scale_of_training():
    made = encoder(SYMBOL, CHARGE)
    made.linear.weight.data = torch.tensor([[1.0], [10.0]])
    known, missing = encode(made, [[1], [1]], [[4.5], [math.nan]])
    assert known == [2 + 100 + 2, 3 + 200 + 20]  # (4.5 − 0.5) / 2
    assert missing == [2 + 100, 3 + 200]  # as the mean
    numbers = encoder(CHARGE)
    assert (numbers.table, numbers.rows) == (None, [])
    assert encode(numbers, [[]] * 2, [[0.5], [0.5]]) == [[100, 200]] * 2


def test_without_columns_every_row_is_the_bias():
    assert encode(encoder(), [[]] * 3) == [[100, 200]] * 3


def test_the_sum_begins_with_the_variance_of_one_column():
    many = [Column(f"c{k}", "categorical", tuple("abcdefgh")) for k in range(50)]
    made = Encoder(many, NONE, 64)
    h = made(torch.randint(1, 9, (400, 50)), torch.zeros(400, 0))
    assert h.var().item() == pytest.approx(1.0, abs=0.15)


def test_a_missing_number_has_no_gradient_but_a_value():
    values = torch.tensor([[1.5], [math.nan]], requires_grad=True)
    out = Standardize(STATISTICS)(values)
    assert out.flatten().tolist() == [0.5, 0.0]
    out.sum().backward()
    assert values.grad.flatten().tolist() == [0.5, 0.0]
