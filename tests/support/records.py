"""A record of a decision that says nothing."""

from __future__ import annotations

from dataclasses import fields, replace

from pipeline.review.history import Record

BLANK = Record(**{f.name: 0 if f.type == "int" else "2026" for f in fields(Record) if f.name != "format"})
BLANK = replace(BLANK, time="2026-11-01T00:00:00.000Z")
