"""A plugin of MLflow: of several processes that open a new database at once, one makes its tables, the others wait.

MLflow's own store makes them without a lock: of two first `mlflow run` one would end with "duplicate column", before
any step of ours starts. `make run` installs this module alone into its environment, where MLflow finds it by the entry
point `mlflow.tracking_store` (pyproject.toml).
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
    """
    from mlflow.tracking._tracking_service.utils import _get_sqlalchemy_store

    with _lock(store_uri):
        return _get_sqlalchemy_store(store_uri, artifact_uri)


def _lock(store_uri: str) -> contextlib.AbstractContextManager[object]:
    """Beside an SQLite file, so that whoever can write the one sees the other; else among temporary files."""
    from filelock import FileLock

    if store_uri.startswith(_SQLITE):
        file = store_uri.removeprefix(_SQLITE)
        path = Path(f"{file}.tables.lock")
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
        if file in ("", ":memory:") or not os.access(path.parent, os.W_OK):  # nor can SQLite make tables there
            return contextlib.nullcontext()
    else:
        name = hashlib.sha256(store_uri.encode()).hexdigest()[:16]
        path = Path(tempfile.gettempdir()) / f"graphline-{os.getuid()}-{name}.lock"
    return FileLock(path)
