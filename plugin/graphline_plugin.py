"""A plugin of MLflow: of several processes that open a new database at once, one makes its tables, the others wait.

MLflow's own store makes them without a lock: of two first `mlflow run` one would end with "duplicate column", before
any step of ours starts. And it makes them one by one: an SQLite file whose first `mlflow run` was killed could never be
opened again. `make run` installs this module alone into its environment, where MLflow finds it by the entry point
`mlflow.tracking_store` (pyproject.toml).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

_SQLITE = "sqlite:///"


def open_store(store_uri: str, artifact_uri: str | None) -> Any:
    """Open MLflow's own store of a database, one process of this machine at a time.

    Of a server that runs in this environment a read replica (`--read-replica-backend-store-uri`) is not used.

    Raises:
        MlflowException: in one line, also at the command line `mlflow`, if the database cannot be opened.
    """
    from filelock import FileLock
    from mlflow.exceptions import MlflowException
    from mlflow.tracking._tracking_service.utils import _get_sqlalchemy_store
    from sqlalchemy.exc import SQLAlchemyError

    file = _find_file(store_uri)
    with FileLock(f"{file}.tables.lock" if file else _lock_of(store_uri)):
        if file:
            _make_tables(file)
        try:
            return _get_sqlalchemy_store(_plain(file) if file else store_uri, artifact_uri)
        except (SQLAlchemyError, MlflowException) as error:
            raise _refused(store_uri, file, error) from None


def _refused(store_uri: str, file: Path | None, error: Exception) -> Exception:
    """What MLflow's classes and click, which runs the command line `mlflow`, both take for a message to the user."""
    import click
    from mlflow.exceptions import MlflowException

    class Refused(MlflowException, click.ClickException):  # type: ignore[misc] # mlflow has no types for strict
        pass

    where = str(file.absolute()) if file else "the database"
    if isinstance(error, MlflowException):  # tables of another version: it says how to upgrade them
        advice = error.message.replace("<database_uri>", store_uri) if file else error.message
        return Refused(f"{where}: {advice}")
    reason = str(error).splitlines()[0]
    return Refused(
        f"{where}: cannot be opened ({reason}). Mend it, move it away, or set MLFLOW_TRACKING_URI to another."
    )


def _find_file(store_uri: str) -> Path | None:
    """The file of an SQLite database, where a lock and new tables may stand beside it.

    The text is a URL, whose name may be quoted (`a%20b`), as in MLflow's own default: SQLAlchemy reads it.
    """
    from sqlalchemy import make_url

    if not store_uri.startswith(_SQLITE):
        return None
    url = make_url(store_uri)
    if url.database in (None, "", ":memory:") or url.query:
        return None
    path = Path(str(url.database))
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path if os.access(path.parent, os.W_OK) else None


def _plain(file: Path) -> str:
    """The URI of a file without quoting where that names the same: MLflow makes the folder of its text, quoted or not.

    Source: mlflow 3.17.2, mlflow/store/db/utils.py (`_make_parent_dirs_if_sqlite`).
    """
    from sqlalchemy import URL, make_url

    plain = f"{_SQLITE}{file}"
    url = make_url(plain)
    if url.database == str(file) and not url.query:
        return plain
    return URL.create("sqlite", database=str(file)).render_as_string()


def _lock_of(store_uri: str) -> Path:
    """A lock of any other database, among temporary files."""
    name = hashlib.sha256(store_uri.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"graphline-{os.getuid()}-{name}.lock"


def _make_tables(file: Path) -> None:
    """Make a new SQLite file whole, or not at all."""
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    if file.exists() and file.stat().st_size:
        return
    new = Path(f"{file}.new")
    for left in (new, Path(f"{new}-journal")):  # by a process that was killed
        left.unlink(missing_ok=True)
    engine = create_sqlalchemy_engine(_plain(new))
    _initialize_tables(engine)
    engine.dispose()
    new.replace(file)
