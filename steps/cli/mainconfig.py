"""The parameter that is `main`'s own; here, because the parser imports all that a configuration's file may name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MainConfig:
    """`explain`: print for each step what changed since which run."""

    explain: bool = False
