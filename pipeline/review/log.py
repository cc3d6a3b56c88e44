"""The log of decisions in MLflow: version n of `<name>-decisions` is record n.

The database's key makes a number unique, so of two reviewers at the same moment one gets the number that both aim at;
the other's record lands one further, is void, and its writer is refused. A version comes with its tags in one
transaction: there are no half records.
"""

from __future__ import annotations

from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from pipeline.errors import LateError
from pipeline.review.history import Entry, History, Record
from pipeline.review.signing import Signer
from pipeline.runs.tags import DONE, RECORD, SIGNATURE

PAGE = 1000


def log_of(name: str) -> str:
    """The registered model that holds the decisions on `name`."""
    return f"{name}-decisions"


def read_log(name: str) -> History:
    """Read the whole log; a model without one has an empty history."""
    found = {int(version.version): version for version in versions_of(log_of(name))}
    numbers = range(1, max(found, default=0) + 1)
    return History(name, tuple(_entry(number, found.get(number)) for number in numbers))


def versions_of(model: str) -> list[ModelVersion]:
    """Every version of a registered model, all pages; none if there is no such model."""
    client, token, versions = MlflowClient(), None, []
    while True:
        page = client.search_model_versions(f"name = '{model}'", max_results=PAGE, page_token=token)
        versions += page
        token = page.token
        if not token:
            return versions


def append(history: History, record: Record, source: str, signer: Signer | None = None) -> Entry:
    """Write the record that comes after `history`.

    Args:
        record: its `sequence` and `previous` fit `history`.
        source: URI of the model version that the decision is about.

    Raises:
        LateError: if another record got the number.
    """
    assert (record.sequence, record.previous) == (history.next_number, history.head)
    text = record.to_text()
    signature = signer.sign(text) if signer else ""
    made = MlflowClient().create_model_version(
        log_of(history.name),
        source,
        tags={RECORD: text} | ({SIGNATURE: signature} if signature else {}),
        description=f"{record}: {record.reason}",
    )
    entry = Entry(record.sequence, text, signature, done=False)
    if int(made.version) == record.sequence:
        return entry
    there = read_log(history.name).entries[record.sequence - 1]
    if there.text == text:  # the client asked twice because the first answer was lost
        return entry
    who = str(there.record) if there.record else f"record {record.sequence}, which cannot be read"
    raise LateError(
        f"another decision was written at the same moment ({who}); yours is void and nothing happened. "
        "Look at the model as it is now, then decide again."
    )


def mark_done(name: str, entry: Entry) -> None:
    """Note that all that follows from a record was done."""
    MlflowClient().set_model_version_tag(log_of(name), str(entry.number), DONE, "true")


def _entry(number: int, version: ModelVersion | None) -> Entry:
    if version is None:
        return Entry(number, "")
    written = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    tags = version.tags
    return Entry(number, tags.get(RECORD, ""), tags.get(SIGNATURE, ""), DONE in tags, written)
