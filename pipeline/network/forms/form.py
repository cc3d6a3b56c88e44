"""In which form a network is computed: as its layers are written, or in one that gives the same answer sooner.

    plain        as the layers and sums are written: what the other forms are held to
    equal_rows   in PyTorch: rows of a batch that are equal are computed once
    only         exported: sums as ONNX Runtime computes them fast, for batches of any size
    large        exported, beside `small`: as `only`, with the bits of `small`
    small        exported, for one small molecule: as few operators as can be, every row computed

A layer knows of none of them: `table.compute` takes the form of the moment, if the layer has it, else the layer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Literal

Form = Literal["plain", "equal_rows", "only", "large", "small"]

# D-MPNN takes 64 µs in the small form and 114 µs in the other with 20 edges, 0.11 and 0.15 ms with 44, 0.21 and 0.23
# with 96, 0.29 and 0.28 with 125.
SMALL_EDGES = 96
_form: ContextVar[Form] = ContextVar("form", default="equal_rows")


def current_form() -> Form:
    """The form of the moment: `equal_rows`, but where `in_form` says another."""
    return _form.get()


@contextlib.contextmanager
def in_form(form: Form) -> Iterator[None]:
    """Compute, or export, what is called inside in this form."""
    before = _form.set(form)
    try:
        yield
    finally:
        _form.reset(before)


def form_for(num_graphs: int, num_edges: int) -> Form:
    """In which of its two forms a network answers a batch: no matrix has zero rows, so without an edge in the large."""
    return "small" if num_graphs == 1 and 0 < num_edges <= SMALL_EDGES else "large"
