"""board: the page on which a reviewer looks at candidates beside the champion, and releases or rejects them.

Serves until Ctrl-C. Reads runs and models, writes decisions, under the login of the person at the browser.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError
from pipeline.evaluation.gate import GATE_FILE, Gate
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run, say

if TYPE_CHECKING:
    from pipeline.review.board.desk import Desks
    from pipeline.review.board.guard import App, Identify

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class BoardConfig:
    """How the board is reached.

    Attributes:
        name: model that is shown first; default: the first by name.
        host, port: where it listens. Without logins it listens on this machine only.
        allowed_hosts: further names under which browsers reach it, comma-separated, as `board.example.org`.
        identity_header: header in which a proxy on this machine names the reviewer; default: the server's login.
        gate: file of thresholds.
    """

    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 5002
    allowed_hosts: str = ""
    identity_header: str = ""
    gate: str = GATE_FILE

    def __post_init__(self) -> None:
        Gate.read(Path(self.gate))
        if not 0 < self.port < 65536:
            raise ConfigError(f"port={self.port}: expected a number from 1 to 65535.")
        if self.identity_header and self.host not in LOOPBACK:
            raise ConfigError(
                f"host={self.host}: with identity_header= anybody who reaches the board directly could claim a name. "
                "Leave host=127.0.0.1 and let the proxy be the only way in."
            )

    @property
    def hosts(self) -> list[str]:
        """Every `Host` that a browser may send."""
        names = [self.host, "127.0.0.1", "localhost", "[::1]"] if self.host in LOOPBACK else [self.host]
        return [f"{name}:{self.port}" for name in names] + self.allowed_hosts.replace(",", " ").split()


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(BoardConfig, argv, prog="board")
    import uvicorn

    from pipeline.review.board.desk import Desks, Settings

    identify, who = identity(config)
    desks = Desks(Settings(config.name, Path(config.gate)))
    with listen(config) as door:
        built = build_app(config, identify, desks)
        # A browser keeps its websocket open; without a limit Ctrl-C would wait for it.
        server = uvicorn.Server(uvicorn.Config(built, log_level="warning", timeout_graceful_shutdown=2))
        say(f"board: http://{config.host}:{config.port} for {who}; Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[door])
        desks.close()
    say("stopped.")
    os._exit(0)  # marimo's threads of the pages that were open never end by themselves


def listen(config: BoardConfig) -> socket.socket:
    """Take the port, before anything else is started.

    Raises:
        ConfigError: if it is not to be had.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family)
    except OSError as error:
        where = f"host={config.host} port={config.port}"
        raise ConfigError(f"{where}: cannot listen there ({error.strerror}). Pass another port=.") from None


def identity(config: BoardConfig) -> tuple[Identify, str]:
    """How reviewers are known, and for whom the board is.

    Raises:
        ConfigError: if it would be open to others without a login.
    """
    from pipeline.review.board import guard
    from pipeline.review.board.logins import Logins
    from pipeline.runs.server import check_login, check_server, needs_login, user

    if config.identity_header:
        check_server()
        return guard.by_proxy(config.identity_header), f"whom the proxy names in {config.identity_header}"
    if needs_login():
        return Logins(check_login), "users of the tracking server"
    check_server()
    if config.host not in LOOPBACK:
        raise ConfigError(
            f"host={config.host}: the tracking server has no login, so whoever reaches the board could decide as you. "
            "Leave host=127.0.0.1, or use a server with login."
        )
    person = user()
    return guard.as_one(person), f"{person.name}, without login"


def build_app(config: BoardConfig, identify: Identify, desks: Desks) -> App:
    """The notebook behind its guard."""
    import marimo

    from pipeline.review.board import app, guard
    from pipeline.review.board.page import board_style

    builder = marimo.create_asgi_app(quiet=True, html_head=f"<style>{board_style()}</style>")
    return guard.Guard(builder.with_app(path="", root=app.__file__).build(), config.hosts, identify, desks)


if __name__ == "__main__":
    run(main)
