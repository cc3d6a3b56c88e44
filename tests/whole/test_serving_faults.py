"""Faults of a production server: the tracking server goes, the disk is full, the bundle is damaged while it runs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.servers import free_port, mlflow_server, refusal, serving_app, wait_until
from tests.support.small_models import publish, write_molecule_bundle

pytestmark = [pytest.mark.mlflow, pytest.mark.slow]

BODY = {"dataframe_records": [{"smiles": "CCO", "temperature": 0.5}]}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults") / "bundle"
    write_molecule_bundle(folder)
    return folder


def test_the_tracking_server_goes_while_it_is_followed(tmp_path, monkeypatch):
    """What runs goes on; when the server is back, the next champion takes over."""
    import mlflow

    port = free_port()
    with ExitStack() as first:
        uri = first.enter_context(mlflow_server(tmp_path / "server", port=port)).uri
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        publish(tmp_path, "gone", 1)
        options = ("--model", "models:/gone@champion", "--workers", "1", "--follow", "0.5")
        with serving_app(tmp_path, *options, MLFLOW_TRACKING_URI=uri) as app:
            first.close()
            wait_until(lambda: app.metric('graphline_follow_total{outcome="failed"}') > 0)
            assert app.invoke(BODY).status == 200
            assert app.ask("GET", "/ready").status == 200
            with mlflow_server(tmp_path / "server", port=port):
                second, _ = publish(tmp_path, "gone", 2)
                wait_until(lambda: app.invoke(BODY).headers["x-model-version"] == f"gone/{second}")
    mlflow.set_tracking_uri(None)


def test_every_worker_is_killed_again_and_again(bundle, tmp_path):
    """No request fails but by 503, and the server always comes back."""
    with serving_app(tmp_path, "--bundle", str(bundle), "--workers", "2") as app:
        end = time.monotonic() + 15

        def hammer(_):
            statuses = set()
            while time.monotonic() < end:
                statuses.add(app.invoke(BODY).status)
            return statuses

        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(hammer, k) for k in range(4)]
            while time.monotonic() < end - 5:
                for pid in app.workers():
                    os.kill(pid, signal.SIGKILL)
                time.sleep(3)
            assert set.union(*(one.result() for one in asked)) <= {200, 503, 504, 429}
        wait_until(lambda: app.invoke(BODY).status == 200)
        wait_until(lambda: app.metric("graphline_workers") == 2)


def test_a_damaged_private_copy_starts_no_worker(bundle, tmp_path):
    """Bytes are compared before each start of a worker, also hours later."""
    with serving_app(tmp_path, "--bundle", str(bundle), "--workers", "1", TMPDIR=str(tmp_path)) as app:
        copy = next(Path(tmp_path).glob("graphline-*/bundle/model.py"))
        kept = copy.read_bytes()
        copy.write_bytes(kept + b"\n# changed\n")
        os.kill(app.workers()[0], signal.SIGKILL)
        wait_until(lambda: app.ask("GET", "/ready").status == 503)
        wait_until(lambda: app.invoke(BODY).status == 503)
        assert app.ask("GET", "/health").status == 200
        copy.write_bytes(kept)
        wait_until(lambda: app.invoke(BODY).status == 200)


def test_a_full_disk_is_one_line(bundle, tmp_path):
    """A file system of one page, where root may mount one."""
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        assert "cannot be copied" in refusal(["--bundle", str(bundle)], TMPDIR=str(small))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_read_only_root_needs_only_tmp(bundle, tmp_path):
    """As in a container: nothing is written but the private copy, which lies in TMPDIR and is gone afterwards."""
    before = sorted(bundle.rglob("*"))
    with serving_app(tmp_path, "--bundle", str(bundle), "--workers", "2", TMPDIR=str(tmp_path), HOME="/none") as app:
        assert app.invoke(BODY).status == 200
        assert app.metric("graphline_rows_total") == 1
        assert app.stop() == 0
    assert sorted(bundle.rglob("*")) == before
    assert not list(tmp_path.glob("graphline-*"))
