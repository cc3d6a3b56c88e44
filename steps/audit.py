"""audit: is the log of decisions whole, are the released bytes unchanged, does each alias stand where the log says?

Reads only, makes no run. Ends with exit code 2 when something is not as it must be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError, RegistryError
from pipeline.review.history import parse_moment
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run, say


@dataclass(frozen=True)
class AuditConfig:
    """What is checked.

    Attributes:
        name: the released model; default: the only one that has candidates.
        head: hash of a record that was kept elsewhere; the log must still hold it.
        at: a time, `2026-11-01T12:00` (UTC); says what was live then.
        allowed_signers: file of reviewers and their public SSH keys, as ssh-keygen reads it.
    """

    name: str | None = None
    head: str | None = None
    at: str | None = None
    allowed_signers: str | None = None

    def __post_init__(self) -> None:
        if self.at:
            parse_moment(self.at)
        if self.allowed_signers and not Path(self.allowed_signers).is_file():
            where = Path(self.allowed_signers).absolute()
            raise ConfigError(f"allowed_signers={self.allowed_signers}: no file at {where}.")


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(AuditConfig, argv, prog="audit")
    from pipeline.review.audit import audit, say_live
    from pipeline.runs.registry import settle_name
    from pipeline.runs.server import check_server

    check_server()
    name = settle_name(config.name)
    signers = Path(config.allowed_signers).absolute() if config.allowed_signers else None
    report = audit(name, head=config.head, allowed_signers=signers)
    history = report.history
    for record in history.records:
        say(f"  {record}: {record.reason}")
        if record.override:
            say(f"    without a passed verdict ({record.verdict}): {record.override}")
    if config.at:
        say(say_live(history, parse_moment(config.at)))
    for note in report.notes:
        say(f"note: {note}")
    for finding in report.findings:
        say(f"FINDING: {finding}")
    say(f"audit: {name}, log of {len(history.entries)}, head {history.head}")
    if report.findings:
        count = f"{len(report.findings)} finding{'s' if len(report.findings) > 1 else ''}"
        raise RegistryError(f"{name}: {count}; the first: {report.findings[0]}")
    say("audit: chain, bytes and aliases are as decided")


if __name__ == "__main__":
    run(main)
