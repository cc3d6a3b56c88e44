"""The form of the moment: it holds inside only, in one thread only, and a small graph has its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.network.forms.form import SMALL_EDGES, current_form, form_for, in_form


def test_forms_nest_and_end_also_where_something_breaks():
    assert current_form() == "equal_rows"
    with in_form("large"):
        with in_form("small"):
            assert current_form() == "small"
        with pytest.raises(ValueError, match="broken"), in_form("plain"):
            raise ValueError("broken")
        assert current_form() == "large"
    assert current_form() == "equal_rows"


def test_another_thread_has_a_form_of_its_own():
    with ThreadPoolExecutor(1) as pool, in_form("plain"):
        assert pool.submit(current_form).result() == "equal_rows"


@pytest.mark.parametrize(
    ("graphs", "edges", "form"),
    [
        *((1, 0, "large"), (1, 1, "small"), (1, SMALL_EDGES, "small"), (1, SMALL_EDGES + 1, "large")),
        *((2, 8, "large"), (0, 0, "large")),
    ],
)
def test_one_small_graph_with_edges_is_answered_in_the_small_form(graphs, edges, form):
    assert form_for(graphs, edges) == form
