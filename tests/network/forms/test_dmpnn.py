"""D-MPNN in its quick forms against its layers as they are written, and where equal rows do not pay."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.network.forms.dmpnn import equal_rows, in_products, in_slots
from pipeline.network.forms.equal_rows import Rows
from pipeline.network.forms.form import in_form
from pipeline.network.layers import DMPNN
from tests.network.forms.test_equal_rows import repeated

H = 8


def scene(num_graphs, seed, num_layers=3, dropout=0.0):
    """Layers, and what they are called with: rows held once, so that each kind of form has something to gain."""
    torch.manual_seed(seed)
    edge_index, reverse, x_row, e_row = repeated(num_graphs, seed)
    layers = DMPNN(H, num_layers, dropout)
    return layers, Rows(torch.randn(2, H), x_row), edge_index, Rows(torch.randn(3, H), e_row), reverse


def plain(layers, x, edge_index, e, reverse):
    return layers(x.each(), edge_index, e.each(), reverse)


@settings(max_examples=15)
@given(st.integers(2, 6), st.integers(0, 99), st.integers(1, 4))
def test_equal_rows_answer_as_every_row(num_graphs, seed, num_layers):
    asked = scene(num_graphs, seed, num_layers)
    with torch.no_grad():
        torch.testing.assert_close(equal_rows(*asked), plain(*asked), rtol=1e-4, atol=1e-5)


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(0, 99), st.integers(1, 4), st.sampled_from([True, False]))
def test_slots_and_products_answer_as_every_row(num_graphs, seed, num_layers, slots):
    asked = scene(num_graphs, seed, num_layers)
    with torch.no_grad(), in_form("only" if slots else "small"):
        torch.testing.assert_close((in_slots if slots else in_products)(*asked), plain(*asked), rtol=1e-4, atol=1e-5)


def test_equal_graphs_get_equal_bits():
    with torch.no_grad():
        first, second = equal_rows(*scene(2, 0)).chunk(2)
    assert torch.equal(first, second)


@pytest.mark.parametrize("lacks", ["x", "e"])
def test_rows_that_are_not_held_once_are_left_to_the_plain_form(lacks):
    layers, x, edge_index, e, reverse = scene(3, 0)
    x, e = (Rows(rows.each()) if name == lacks else rows for name, rows in (("x", x), ("e", e)))
    assert equal_rows(layers, x, edge_index, e, reverse) is None


def test_dropout_parts_equal_rows():
    asked = scene(3, 0, dropout=0.5)
    assert equal_rows(*asked) is None
    asked[0].eval()
    assert equal_rows(*asked) is not None
