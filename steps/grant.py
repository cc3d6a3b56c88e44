"""grant: on a tracking server with logins, an administrator says who are the authors and the reviewers of a model.

Makes what they need (experiments, models, roles) and takes away what others may write there; creates no run. Run it
again after every change, with the whole lists.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run, say


@dataclass(frozen=True)
class GrantConfig:
    """Lists are comma-separated and whole: who is not named any more leaves. One that is not given stays as it is.

    Attributes:
        name: the model, or several.
        authors: users who train and register.
        reviewers: users who release.
        experiments: where the runs of authors go.
        passwords: new file for the passwords of users who are not there yet, readable by you alone.
    """

    name: str = ""
    authors: str | None = None
    reviewers: str | None = None
    experiments: str = "graphline"
    passwords: str | None = None

    def __post_init__(self) -> None:
        if not words(self.name):
            raise ConfigError("which model? pass name= with one or several, comma-separated.")
        if not words(self.experiments):
            raise ConfigError("authors need an experiment for their runs; pass experiments=.")
        for word in (*words(self.name), *words(self.experiments)):
            if word.endswith(("-candidates", "-decisions", "-releases")):
                raise ConfigError(f"'{word}' is what a model's own things are called; choose another name.")


def words(text: str | None) -> list[str]:
    return list(dict.fromkeys(filter(None, (word.strip() for word in (text or "").split(",")))))


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(GrantConfig, argv, prog="grant")
    from pipeline.review.grants import apply_plan, check_sides, connect
    from pipeline.runs.server import check_server

    check_server()
    logins = connect()
    authors, reviewers = (None if side is None else words(side) for side in (config.authors, config.reviewers))
    sides = {name: check_sides(logins, name, authors, reviewers) for name in words(config.name)}
    known = logins.users()
    missing = [user for user in (*(authors or ()), *(reviewers or ())) if user not in known]
    for user, password in _passwords(missing, config.passwords):
        logins.ask("POST", "/api/2.0/mlflow/users/create", username=user, password=password)
        say(f"grant: user {user} is made; {config.passwords} holds the password")
    for name, users in sides.items():
        lines = [f"grant: {line}" for line in apply_plan(logins, name, words(config.experiments), users)]
        say("\n".join(lines or [f"grant: {name}: nothing to change"]))


def _passwords(users: Sequence[str], file: str | None) -> Iterator[tuple[str, str]]:
    """A random password for each user; it is in the file before it is used."""
    if not users:
        return
    if not file:
        raise ConfigError(
            f"no such user: {', '.join(users)}. Pass passwords=FILE to make them; it gets their passwords."
        )
    try:
        opened = os.open(Path(file), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"passwords={Path(file).absolute()} is there already; name a new file.") from None
    with os.fdopen(opened, "w", encoding="utf-8") as lines:
        for user in users:
            password = secrets.token_urlsafe(18)
            lines.write(f"{user} {password}\n")
            lines.flush()
            yield user, password


if __name__ == "__main__":
    run(main)
