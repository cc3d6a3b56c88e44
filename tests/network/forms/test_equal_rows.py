"""Colours: rows that are equal are found, and computing each colour once answers as computing every row."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.network.forms.equal_rows import Neighbors, Rows, group_equal, group_pairs, group_rows, pays, sort_small


def repeated(num_graphs: int, seed: int, num_bonds: int = 7):
    """The same random graph several times; the vectors of nodes and edges are few."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, 6, size=(num_bonds, 2))  # self loops, two bonds between two nodes, nodes without any
    shift = np.repeat(6 * np.arange(num_graphs), 2 * num_bonds)
    one = np.stack([ends, ends[:, ::-1]], axis=1).reshape(-1, 2)
    edge_index = torch.from_numpy((np.tile(one, (num_graphs, 1)) + shift[:, None]).T.copy())
    x_row = torch.from_numpy(np.tile(rng.integers(0, 2, size=6), num_graphs))
    e_row = torch.from_numpy(np.tile(np.repeat(rng.integers(0, 3, size=num_bonds), 2), num_graphs))
    return edge_index, torch.arange(len(e_row)) ^ 1, x_row, e_row


def test_groups_by_hand():
    groups = group_equal(np.array([7, -3, 7, 5, -3]))
    assert groups.of.tolist() == [2, 0, 2, 1, 0]
    assert groups.first.tolist() == [1, 3, 0]
    groups = group_pairs(np.array([2, 0, 2, 1, 0]), np.array([1, 0, 1, 5, 0]), 6)
    assert groups.of.tolist() == [2, 0, 2, 1, 0]
    assert groups.order.tolist() == [1, 4, 3, 0, 2]
    assert groups.starts.tolist() == [0, 2, 3]
    nothing = group_equal(np.zeros(0, dtype=np.int64))
    assert [len(part) for part in nothing] == [0, 0]


def test_rows_are_equal_in_codes_and_numbers():
    codes = torch.tensor([[1, 2], [1, 2], [2, 1], [1, 2], [1, 2]])
    nan = float("nan")
    numbers = torch.tensor([[0.5], [nan], [0.5], [0.5], [nan]])
    assert np.unique(group_rows(codes, numbers).of).tolist() == [0, 1, 2]
    of = group_rows(codes, numbers).of.tolist()
    assert of[0] == of[3]
    assert of[1] == of[4]
    assert np.unique(group_rows(codes, torch.zeros(5, 0)).of).tolist() == [0, 1]
    assert group_rows(torch.zeros(4, 0, dtype=torch.int64), torch.zeros(4, 0)).of.tolist() == [0, 0, 0, 0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 3)), min_size=1, max_size=20))
def test_rows_group_as_a_dictionary_would(rows):
    of = group_rows(torch.tensor(rows), torch.zeros(len(rows), 0)).of.tolist()
    assert len({(row, group) for row, group in zip(rows, of, strict=True)}) == len(set(rows)) == len(set(of))


def test_sums_have_the_right_value_and_gradient():
    edge_index, _, _, e_row = repeated(2, seed=0)
    graph, edges = Neighbors(edge_index, 12), group_pairs(e_row.numpy(), 0 * e_row.numpy(), 1)
    h = torch.randn(len(edges.first), 3, dtype=torch.float64, requires_grad=True)
    want = h.new_zeros(12, 3).index_add(0, edge_index[1], h[edges.of])
    torch.testing.assert_close(graph.sum_in(h, edges), want)
    assert torch.autograd.gradcheck(lambda h: graph.sum_in(h, edges), h)


def test_small_keys_are_sorted_like_large_ones():
    key = np.array([5, 0, 5, 3, 0])
    for scale in (1, 2**60):
        order, ascending = sort_small(key * scale)
        assert order.tolist() == [1, 4, 3, 0, 2]
        assert (ascending // scale).tolist() == [0, 0, 3, 5, 5]


def test_equal_rows_pay_where_they_are_many_and_dropout_leaves_them_equal():
    many, e = Rows(torch.zeros(2, 3), torch.zeros(5, dtype=torch.int64)), Rows(torch.zeros(1, 3), torch.zeros(0))
    assert pays(torch.nn.Dropout(0.5).eval(), many, e)
    assert pays(torch.nn.Dropout(0.0).train(), many, e)
    assert not pays(torch.nn.Dropout(0.5).train(), many, e)
    few = Rows(torch.zeros(3, 3), torch.zeros(5, dtype=torch.int64))
    assert not pays(torch.nn.Dropout(0.0), few, e)
    assert not pays(torch.nn.Dropout(0.0), Rows(torch.zeros(5, 3)), e)


def test_rows_in_order_and_rows_held_once():
    vectors = torch.tensor([[1.0], [2.0]])
    held, ordered = Rows(vectors, torch.tensor([1, 1, 0])), Rows(vectors)
    assert (held.num_rows, ordered.num_rows) == (3, 2)
    assert held.each().tolist() == [[2], [2], [1]]
    assert held.at(torch.tensor([2, 0])).tolist() == [[1], [2]]
    assert torch.equal(ordered.each(), vectors)
    assert ordered.at(torch.tensor([1])).tolist() == [[2]]
