"""Colours: rows that are equal are found, and computing each colour once answers as computing every row."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.network.equal_rows import Neighbors, add_relu, group_equal, group_pairs, group_rows, refine, sort_small
from pipeline.network.layers import DMPNN, Stack

H = 8


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


@pytest.mark.parametrize("seed", range(5))
def test_a_step_tells_nodes_apart_by_what_is_around_them(seed):
    edge_index, _, x_row, e_row = repeated(5, seed)
    before = x_row.tolist()
    edges = list(zip(*edge_index.tolist(), e_row.tolist(), strict=True))
    for step in itertools.islice(refine(edge_index, x_row.numpy(), 2, e_row.numpy(), 3), 3):
        around = [
            (row, *sorted((before[source], e) for source, target, e in edges if target == v))
            for v, row in enumerate(before)
        ]
        color = step.color.tolist()
        assert len(set(zip(around, color, strict=True))) == len(set(around)) == len(set(color))
        assert step.pick[step.color].tolist() == before
        before = color


@pytest.mark.parametrize("j", [None, torch.tensor([1, 1, 0])])
def test_add_relu_has_the_right_value_and_gradient(j):
    i = torch.tensor([0, 2, 2])
    a = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    b = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(add_relu(a, i, b, j), torch.relu(a[i] + (b if j is None else b[j])))
    assert torch.autograd.gradcheck(lambda a, b: add_relu(a, i, b, j), (a, b))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "layer", [DMPNN(H, 4, 0.0), Stack("gine", H, 4, 0.0), DMPNN(H, 1, 0.0)], ids=["dmpnn", "gine", "short"]
)
def test_every_color_answers_and_learns_as_every_row(layer, seed):
    edge_index, reverse, x_row, e_row = repeated(5, seed)
    x, e = torch.randn(2, H), torch.randn(3, H)
    for parameter in layer.parameters():
        parameter.data.normal_(0, 0.5)
    found = []
    for by_color in (True, False):
        layer.zero_grad()
        vectors = [x.clone().requires_grad_(), e.clone().requires_grad_()]
        if by_color:
            out = layer(vectors[0], edge_index, vectors[1], reverse, x_row, e_row)
        else:
            out = layer(vectors[0][x_row], edge_index, vectors[1][e_row], reverse)
        (out * torch.arange(out.numel()).view_as(out).cos()).sum().backward()
        found.append([out.detach(), *(one.grad for one in (*vectors, *layer.parameters()))])
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer", [DMPNN(H, 2, 0.0), Stack("gine", H, 2, 0.0)], ids=["dmpnn", "gine"])
def test_equal_rows_train_in_mixed_precision(layer):
    edge_index, reverse, x_row, e_row = repeated(5, 0)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(torch.randn(2, H), edge_index, torch.randn(3, H), reverse, x_row, e_row)
    out.float().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in layer.parameters())


def test_a_color_is_worth_its_while_or_dropout_tells_equal_rows_apart(monkeypatch):
    edge_index, reverse, x_row, e_row = repeated(5, 0)
    layer = DMPNN(H, 2, 0.5)
    monkeypatch.setattr(layer, "_every_color", lambda *_: "colour")
    x, e = torch.randn(2, H), torch.randn(3, H)
    assert isinstance(layer.train()(x, edge_index, e, reverse, x_row, e_row), torch.Tensor)
    assert layer.eval()(x, edge_index, e, reverse, x_row, e_row) == "colour"
    every = torch.arange(len(e_row))
    out = layer(torch.randn(30, H), edge_index, torch.randn(len(every), H), reverse, x_row, every)
    assert isinstance(out, torch.Tensor)
