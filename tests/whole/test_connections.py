"""Nothing leaves this machine: the kernel says whom our processes try to reach, whatever package does it.

A package's own code in C is seen too, which no hook of Python's would see.
"""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.telemetry import SWITCHES, startup_line
from tests.conftest import ROOT
from tests.support.project import Project
from tests.support.servers import environment, free_port, running

pytestmark = pytest.mark.mlflow

TRACE = ["strace", "--seccomp-bpf", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-e", "signal=none"]
ADDRESS = re.compile(r'(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]+)"')
QUICK = ["--max_epochs=1", "--hidden_dim=16", "--num_layers=2", "--resamples=50"]


def trace(log: Path) -> list[str]:
    """What goes before a command that is to be traced."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed (Debian: apt-get install strace)")
    return [*TRACE, "-o", str(log)]


def strangers(log: Path) -> set[str]:
    """Addresses beyond this machine that traced processes named; a look-up of a name is one, of its server."""
    found = ADDRESS.findall(log.read_text(encoding="utf-8", errors="replace"))
    return {address for address in found if not ipaddress.ip_address(address).is_loopback}


def without_switches(env: dict[str, str]) -> dict[str, str]:
    """As the shell of somebody who set nothing; CI would switch MLflow's telemetry off by itself."""
    return {name: value for name, value in env.items() if name not in (*SWITCHES, "CI", "GITHUB_ACTIONS")}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of 120 rows with a home of its own, where packages would keep what they want to send."""
    made = Project(tmp_path_factory.mktemp("project"))
    lines = (ROOT / "data" / "solubility.csv").read_text(encoding="utf-8").splitlines()
    (made.folder / "few.csv").write_text("\n".join(lines[:120]) + "\n", encoding="utf-8")
    (made.folder / "home").mkdir()
    made.env = without_switches(made.env) | {"HOME": str(made.folder / "home")}
    return made


def call(project: Project, log: str, *words: str) -> set[str]:
    """Run a command to its end; returns the strangers it named."""
    project.call(*trace(project.folder / log), sys.executable, *words)
    return strangers(project.folder / log)


def test_a_look_up_is_seen(project):
    """So the tests below can fail."""
    look = "import socket\ntry: socket.create_connection(('192.0.2.1', 9), 0.1)\nexcept OSError: pass"
    assert call(project, "look.log", "-c", look) == {"192.0.2.1"}


def test_the_line_and_predict_reach_nobody(project):
    line = ["-m", "steps.main", "--data=few.csv", "--target=logS", "--name=few", *QUICK]
    assert call(project, "main.log", *line) == set()
    model = "--model=models:/few-candidates@challenger"
    assert call(project, "predict.log", "-m", "steps.predict", "--data=few.csv", "--out=a.csv", model) == set()
    assert (project.folder / "a.csv").is_file()
    home = project.folder / "home"
    assert [path for path in home.rglob("*") if "onnxruntime" in path.name] == []


def test_servers_reach_nobody(project, tmp_path):
    bundle = next(project.folder.glob(".graphline/bundles/*/MLmodel")).parent
    row = {"dataframe_records": [{"smiles": "CCO"}]}
    port, log = free_port(), tmp_path / "app.trace"
    command = [*trace(log), sys.executable, "-m", "serving.app", "--bundle", str(bundle), "--workers", "1"]
    with running([*command, "--port", str(port)], ROOT, project.env, port, tmp_path / "app", "/ready") as served:
        assert served.invoke(row).status == 200
    assert strangers(log) == set()
    port, log = free_port(), tmp_path / "plain.trace"
    words = ["mlflow", "models", "serve", "-m", str(bundle), "-p", str(port), "--env-manager", "local"]
    with running([*trace(log), *words], tmp_path, project.env | SWITCHES, port, tmp_path / "plain", "/ping") as served:
        assert served.invoke(row).status == 200
    assert strangers(log) == set()


def test_the_environment_of_make_switches_it_off_for_mlflows_own_commands(tmp_path):
    """`mlflow run` and `mlflow models serve` import MLflow before any line of ours."""
    done = subprocess.run(["make", "-n", "-B", ".venv/.run"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "startup_line()" in done.stdout
    (tmp_path / "graphline.pth").write_text(startup_line())
    tell = (
        f"import os, site; site.addsitedir({str(tmp_path)!r}); print(*(os.environ[name] for name in {list(SWITCHES)}))"
    )
    env = without_switches(environment())
    done = subprocess.run([sys.executable, "-c", tell], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(SWITCHES.values())


@pytest.mark.parametrize("name", SWITCHES)
def test_every_switch_is_named_where_no_process_of_ours_starts(name):
    assert f"export {name} := {SWITCHES[name]}\n" in (ROOT / "Makefile").read_text()
    assert f"{name}={SWITCHES[name]}" in (ROOT / "serving" / "deploy" / "Dockerfile").read_text()
    pages = "".join(path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))))
    assert f"{name}={SWITCHES[name]}" in pages
