"""The rows of whole graphs come in the order asked for, whatever a row is."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.store.ragged import Ragged

PTR = np.array([0, 2, 2, 5], dtype=np.int8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("shape", [(), (1,), (2,), (3,)])
def test_take_is_the_rows_of_each_graph(dtype, shape):
    values = np.arange(5 * int(np.prod(shape)), dtype=dtype).reshape(5, *shape)
    found = Ragged(values, PTR).take(np.array([2, 1, 0, 2]), 8)
    np.testing.assert_array_equal(found, values[[2, 3, 4, 0, 1, 2, 3, 4]])
    assert found.dtype == dtype
    found[:] = 0  # a copy
    assert values.any()


def test_graphs_without_rows_and_rows_without_columns():
    values = np.zeros((5, 3), np.float32)
    assert Ragged(values, PTR).take(np.array([1, 1]), 0).shape == (0, 3)
    assert Ragged(values, PTR).take(np.array([], dtype=np.int64), 0).shape == (0, 3)
    assert Ragged(values[:, :0], PTR).take(np.array([0, 2]), 5).shape == (5, 0)
    assert Ragged(values[:0], np.zeros(4, np.int8)).take(np.array([0, 2]), 0).shape == (0, 3)


def test_more_bytes_than_an_int32_can_count():
    values = np.zeros((2**20 + 1, 2**9), np.float32)  # 2 GB that the system never hands out
    values[-1] = 7
    ptr = np.append(np.arange(2**10 + 1) * 2**10, len(values)).astype(np.int32)
    assert (Ragged(values, ptr).take(np.array([2**10, 2**10]), 2) == 7).all()


@pytest.mark.parametrize("ptr", [[0, 2, 6], [0, 4, 2], [-1, 2, 5]])
def test_graphs_outside_of_the_rows_are_refused(ptr):
    with pytest.raises(ValueError, match="ffset"):
        Ragged(np.zeros(5, np.float32), np.array(ptr))
