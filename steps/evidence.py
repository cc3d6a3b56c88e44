"""evidence: everything that an auditor needs about a release, in one file that can be read and checked offline.

Reads only, makes no run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run, say


@dataclass(frozen=True)
class EvidenceConfig:
    """What is packed.

    Attributes:
        version: number of the release; default: the champion.
        out: zip file.
        name: the released model; default: the only one that has candidates.
    """

    version: str | None = None
    out: str = "evidence.zip"
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.out.endswith(".zip"):
            raise ConfigError(f"out={self.out}: expected the name of a .zip file.")


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(EvidenceConfig, argv, prog="evidence")
    from pipeline.review.evidence import pack_evidence
    from pipeline.review.log import read_log
    from pipeline.runs.registry import CHAMPION, find_version, settle_name
    from pipeline.runs.server import check_server

    check_server()
    name = settle_name(config.name)
    release = int(find_version(name, config.version, CHAMPION).version)
    history = read_log(name)
    manifest = pack_evidence(history, release, Path(config.out))
    say(f"evidence: {name} release {release}, {Path(config.out).absolute()}")
    say(f"  sha256 of its manifest {manifest}; head of the log {history.head}")
    say("  unpack it, open index.html; `python verify.py` checks it with nothing but Python")


if __name__ == "__main__":
    run(main)
