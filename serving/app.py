"""The production server: `python -m serving.app --model models:/NAME@champion` or `--bundle DIR`.

    this process: socket, limits, queue, log, metrics; no bundle's code        serving/server/front, fleet
    workers: one process each, one bundle's code                               serving/server/engine

Login and TLS are the ingress's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

import uvicorn

from pipeline.errors import BundleError, ConfigError, PipelineError, RegistryError
from pipeline.machine import usable_cores, usable_memory
from pipeline.telemetry import SWITCHES
from serving.server import releases
from serving.server.connection import Connection
from serving.server.fleet import Fleet, ServedBundle
from serving.server.front import Gate, write_line
from serving.server.limits import Limits
from serving.server.prometheus import Metrics

log = logging.getLogger("serving")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.app", allow_abbrev=False, description="Serve a bundle in production."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", help="models:/NAME@ALIAS or models:/NAME/VERSION, pinned at start")
    what.add_argument("--bundle", help="folder of a bundle; needs no MLflow server and no network")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=5001, help="default %(default)s")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes (default: usable cores)")
    parser.add_argument("--queue", type=int, default=Limits.queue, help="requests that may wait (default %(default)s)")
    parser.add_argument(
        "--timeout", type=float, default=Limits.time_s, help="seconds a request may take (default %(default)s)"
    )
    parser.add_argument(
        "--max_body_mb",
        type=float,
        default=Limits.body_bytes / (1 << 20),
        help="largest body, in MB (default %(default)s)",
    )
    parser.add_argument(
        "--memory_mb",
        type=float,
        default=usable_memory() / (1 << 20),
        help="memory that server and workers share, in MB (default: the container's or the machine's)",
    )
    parser.add_argument(
        "--drain", type=float, default=2.0, metavar="SECONDS",
        help="after SIGTERM, stay reachable but not ready for so long (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--follow", type=float, nargs="?", const=10.0, metavar="SECONDS",
        help="look at the alias every so often (default 10) and change to its new version",
    )  # fmt: skip
    options = parser.parse_args(argv)
    if options.follow is not None and "@" not in (options.model or ""):
        parser.error("--follow needs --model models:/NAME@ALIAS")
    for name in ("workers", "queue", "timeout", "max_body_mb", "memory_mb", "follow"):
        if (value := getattr(options, name)) is not None and not 0 < value < math.inf:
            raise ConfigError(f"--{name} {value}: expected a number above 0.")
    if not 0 <= options.drain < math.inf:
        raise ConfigError(f"--drain {options.drain}: expected a number of at least 0.")
    return options


def share_memory(memory_bytes: int, held_bytes: int, workers: int) -> int:
    """Bytes of private memory that each worker may take.

    The server keeps what it may hold of bodies, and 128 MiB. A worker gets 512 MiB or more, since it takes 200 MiB to
    start, but never all: what is too much must fail before the container does.
    """
    share = (memory_bytes - held_bytes - (128 << 20)) // workers
    return max(share, min(512 << 20, memory_bytes * 3 // 4))


class Server(uvicorn.Server):
    """uvicorn's server; who runs it decides what a signal means."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # type: ignore[override]
        yield


async def serve(options: argparse.Namespace, listening: socket.socket) -> None:
    """Start the workers, then answer until SIGTERM."""
    limits = Limits(body_bytes=int(options.max_body_mb * (1 << 20)), queue=options.queue, time_s=options.timeout)
    memory_bytes = int(options.memory_mb * (1 << 20))
    limits = replace(limits, worker_bytes=share_memory(memory_bytes, limits.held_bytes, options.workers))
    fleet = Fleet(options.workers, limits)
    metrics = Metrics(fleet)
    fleet.on_change = lambda kind: metrics.changes.labels(kind).inc()
    gate = Gate(fleet, metrics, limits)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    pinned, first, standing = await asyncio.to_thread(open_release, options)
    await start(gate, first, standing)
    server = Server(
        uvicorn.Config(
            gate, http=Connection, loop="asyncio", ws="none", lifespan="off", interface="asgi3",
            log_config=None, access_log=False, server_header=False, proxy_headers=False,
            timeout_keep_alive=int(limits.head_s), timeout_graceful_shutdown=int(options.timeout) + 5,
        )
    )  # fmt: skip
    running = asyncio.create_task(server.serve([listening]))
    following = asyncio.create_task(follow(gate, options, pinned)) if pinned and options.follow else None
    write_line(event="listening", host=options.host, port=listening.getsockname()[1], workers=options.workers)
    await stopping.wait()
    write_line(event="draining")
    gate.draining = True
    if following is not None:
        following.cancel()
    await asyncio.sleep(options.drain)
    server.should_exit = True
    await running
    await fleet.close()
    write_line(event="stopped")


def open_release(options: argparse.Namespace) -> tuple[releases.Pinned | None, ServedBundle, releases.Standing]:
    """What the command line names, verified, and what the log of decisions says of it.

    Raises:
        PipelineError: if it cannot be had, or is not what was signed off and is released.
    """
    if options.bundle:
        no_log = releases.Standing(None, "a folder has no log of decisions, not compared")
        return None, releases.open_folder(options.bundle), no_log
    pinned = releases.pin(options.model)
    standing = releases.check_log(pinned)
    if standing.agrees is False:
        raise BundleError(standing.said)
    return pinned, releases.fetch(pinned), standing


async def start(gate: Gate, release: ServedBundle, standing: releases.Standing) -> None:
    """Let a release take over, if it passes its self-test.

    Args:
        standing: what the log of decisions says of it.

    Raises:
        BundleError: if it does not; then the old one stays.
    """
    try:
        check = releases.check_example(release)
    except BaseException:
        release.close()
        raise
    await gate.fleet.take_over(release, check)
    gate.standing = standing
    facts = {"name": release.name, "version": release.version, "digest": release.digest}
    write_line(event="serving", **facts, log=standing.said)


async def follow(gate: Gate, options: argparse.Namespace, pinned: releases.Pinned) -> None:
    """Watch the alias and the log of decisions; let what the alias newly names take over, if the log agrees.

    Whatever fails, the running release stays; what the log says of it is told.
    """
    refused: releases.Pinned | None = None
    said = ""  # why the log refuses what the alias names
    while True:
        await asyncio.sleep(options.follow)
        outcome, found = "same", None
        try:
            found = await asyncio.to_thread(releases.pin, options.model)
            if found != refused:
                standing = await asyncio.to_thread(releases.check_log, found)
                if standing.agrees is False:
                    outcome = "refused"
                    if standing.said != said:
                        write_line(event="follow", outcome=outcome, version=found.version, reason=standing.said)
                elif found != pinned:
                    await start(gate, await asyncio.to_thread(releases.fetch, found), standing)
                    pinned, refused, outcome = found, None, "taken_over"
                said = standing.said
                gate.standing = standing if found == pinned else gate.standing
        except Exception as error:  # the server must not end, whatever a tracking server or a disk does
            outcome = "failed"
            # A bundle that is wrong stays wrong; anything else may mend itself.
            refused = found if isinstance(error, BundleError) else refused
            reason = " ".join(str(error).split())[:500]
            write_line(event="follow", outcome=outcome, version=found.version if found else "", reason=reason)
            if isinstance(error, RegistryError):  # `retire` takes the alias away
                with contextlib.suppress(Exception):  # the next look asks again
                    standing = await asyncio.to_thread(releases.check_log, pinned)
                    gate.standing = gate.standing if standing.agrees is None else standing
        gate.metrics.follow.labels(outcome).inc()


def listen(host: str, port: int) -> socket.socket:
    """
    Raises:
        ConfigError: if the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(2048)
    except (OSError, OverflowError) as error:
        found.close()
        raise ConfigError(f"--host {host} --port {port}: cannot listen there ({error}).") from None
    return found


def main(argv: Sequence[str]) -> int:
    """Serve; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # a line for each wrong request is the gate's
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard > 0 else max(soft, 8192), hard))
    try:
        options = parse(argv)
        asyncio.run(serve(options, listen(options.host, options.port)))
    except (PipelineError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    os.environ.update(SWITCHES)
    sys.exit(main(sys.argv[1:]))
