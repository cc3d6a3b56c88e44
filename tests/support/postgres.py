"""A cluster of PostgreSQL (Debian's package), which has a starter and a stopper of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.servers import free_port


class Postgres(NamedTuple):
    """A running cluster."""

    address: str  # user@host:port

    def database(self, name: str) -> str:
        """Create an empty database; returns its SQLAlchemy URI."""
        import psycopg2

        connection = psycopg2.connect(f"postgresql://{self.address}/postgres")
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'CREATE DATABASE "{name}"')
        connection.close()
        # The driver is named: SQLAlchemy 2.1 takes psycopg 3 where it is not.
        return f"postgresql+psycopg2://{self.address}/{name}"


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """Start a cluster of its own, as user `postgres` when we are root; skip the test where it is not installed."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None, key=_release)
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg2")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    user = _owner(folder)  # PostgreSQL refuses to run as root

    def call(program: str, *words: str) -> None:
        command = [str(programs.with_name(program)), "-D", str(folder / "data"), *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, **user)
        log = folder / "log"
        assert done.returncode == 0, done.stderr + (log.read_text() if log.is_file() else "")

    try:
        port = free_port()
        settings = f"-h 127.0.0.1 -p {port} -k '' -c fsync=off -c synchronous_commit=off"
        call("initdb", "-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        call("pg_ctl", "start", "-w", "-l", str(folder / "log"), "-o", settings)
        try:
            yield Postgres(f"tester@127.0.0.1:{port}")
        finally:
            call("pg_ctl", "stop", "-m", "fast", "-w")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _owner(folder: Path) -> dict[str, str]:
    """How to start a program that must not run as root: as `postgres`, who then owns `folder`."""
    if os.geteuid() != 0:
        return {}
    user = "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
    group = pwd.getpwnam(user).pw_gid
    shutil.chown(folder, user, group)
    return {"user": user, "group": group, "extra_groups": []}


def _release(path: Path) -> int:
    return int(path.parts[-3]) if path.parts[-3].isdigit() else 0
