"""Features of nodes or edges to vectors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.schema import Column


class Encoder(nn.Module):
    """Categories and numbers of nodes or edges to vectors: a table per category column, a linear map of the numbers.

    Codes outside a column, and categories that training hardly saw (`Column.known`), are read as code 0.
    """

    offsets: Tensor
    sizes: Tensor
    row_of_code: Tensor

    def __init__(self, columns: Sequence[Column], statistics: Mapping[str, Sequence[float]], hidden_dim: int) -> None:
        super().__init__()
        categorical = [column for column in columns if column.kind == "categorical"]
        # Only categories that are told apart have a row of their own, after the column's row for "unknown".
        rows: list[int] = []
        for column in categorical:
            unknown = max(rows, default=-1) + 1
            own = itertools.count(unknown + 1)
            rows += [next(own) if known else unknown for known in column.known]
        sizes = [column.num_codes for column in categorical]
        offsets = [sum(sizes[:k]) for k in range(len(sizes))]
        self.rows = [rows[start : start + size] for start, size in zip(offsets, sizes, strict=True)]
        self.register_buffer("sizes", torch.tensor(sizes, dtype=torch.int64))
        self.register_buffer("offsets", torch.tensor(offsets, dtype=torch.int64))
        self.register_buffer("row_of_code", torch.tensor(rows, dtype=torch.int64))
        # The columns are summed: scaled down so that the sum starts with the variance of one.
        scale = 1 / math.sqrt(max(len(columns), 1))
        self.table = nn.Parameter(torch.randn(max(rows) + 1, hidden_dim) * scale) if rows else None
        self.numbers = Standardize(statistics)
        width = len(columns) - len(categorical)
        self.linear = nn.Linear(width, hidden_dim, bias=False) if width else None
        self.bias = nn.Parameter(torch.zeros(hidden_dim))

    def forward(self, codes: Tensor, numbers: Tensor) -> Tensor:
        """Encode each row.

        Args:
            codes: (K, F) int64, any value.
            numbers: (K, R), raw, NaN is missing.

        Returns:
            (K, H).
        """
        return self.add_numbers(self._embed(codes), numbers)

    def add_numbers(self, h: Tensor, numbers: Tensor) -> Tensor:
        """Add the numbers' part to that of the categories, (K, H)."""
        return h if self.linear is None else h + self.linear(self.numbers(numbers))

    def _embed(self, codes: Tensor) -> Tensor:
        if self.table is None:
            return self.bias.expand(codes.shape[0], -1)
        return self.bias + F.embedding_bag(self._rows(codes), self.table, mode="sum")

    def _rows(self, codes: Tensor) -> Tensor:
        """The row of the table of each code.  # (N, F)"""
        inside = (codes >= 0) & (codes < self.sizes)
        return self.row_of_code[torch.where(inside, codes, 0) + self.offsets]


class Standardize(nn.Module):
    """Numbers to mean 0 and standard deviation 1 of the training split; a missing one is the mean."""

    mean: Tensor
    std: Tensor

    def __init__(self, statistics: Mapping[str, Sequence[float]]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(statistics["mean"]), dtype=torch.float32))
        self.register_buffer("std", torch.tensor(list(statistics["std"]), dtype=torch.float32))

    def forward(self, values: Tensor) -> Tensor:
        return torch.where(torch.isnan(values), 0.0, (values - self.mean) / self.std)
