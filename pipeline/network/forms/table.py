"""Which parts of a network have which forms besides the plain one, and the one place where a form is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from pipeline.network.encoder import Encoder
from pipeline.network.forms import dmpnn, encoder, gine
from pipeline.network.forms.equal_rows import Rows
from pipeline.network.forms.form import Form, current_form
from pipeline.network.layers import DMPNN, GINEConv, Stack

FORMS: Mapping[Callable[..., Any], Mapping[Form, Callable[..., Any]]] = {
    Encoder.forward: {
        "equal_rows": encoder.equal_rows,
        "only": encoder.exported,
        "large": encoder.exported,
        "small": encoder.each_row,
    },
    DMPNN.forward: {
        "equal_rows": dmpnn.equal_rows,
        "only": dmpnn.in_slots,
        "large": dmpnn.in_slots,
        "small": dmpnn.in_products,
    },
    GINEConv.forward: {"equal_rows": gine.equal_rows},
}
"""By the plain form, for a `Stack` that of its convolutions. Each is called like the plain form, the module first, with
`Rows` where that takes vectors, and answers the same; None, where it does not fit, stands for the plain form."""


def compute(module: nn.Module, *inputs: Tensor | Rows) -> Tensor | Rows:
    """What a module answers, in the form of the moment if it has that."""
    quick = FORMS.get(_plain_form(module), {}).get(current_form())
    answer = quick(module, *inputs) if quick is not None else None
    if answer is None:
        answer = module(*(one.each() if isinstance(one, Rows) else one for one in inputs))
    return answer  # type: ignore[no-any-return]


def _plain_form(module: nn.Module) -> Callable[..., Any]:
    # Not by class: that of a module is another while it is exported.
    return type(module.convs[0] if isinstance(module, Stack) else module).forward
