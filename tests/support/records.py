"""A record of a decision that says nothing, and decisions in the log of a tracking server."""

from __future__ import annotations

from dataclasses import fields, replace

from pipeline.review.history import Record
from pipeline.review.log import append, log_of, mark_done, read_log

BLANK = Record(**{f.name: 0 if f.type == "int" else "2026" for f in fields(Record) if f.name != "format"})
BLANK = replace(BLANK, time="2026-11-01T00:00:00.000Z")


def decide(name: str, action: str, release: str, digest: str, done: bool = True) -> None:
    """Write a record as `promote`, `rollback` and `retire` do; aliases stay where they are.

    Args:
        done: whether it says that what follows from it was done.
    """
    import mlflow

    history = read_log(name)
    record = replace(BLANK, sequence=history.next_number, previous=history.head, action=action, model=name)
    client = mlflow.MlflowClient()
    if not client.search_registered_models(f"name = '{log_of(name)}'"):
        client.create_registered_model(log_of(name))
    entry = append(history, replace(record, release=int(release), digest=digest), f"models:/{name}/{release}")
    if done:
        mark_done(name, entry)
