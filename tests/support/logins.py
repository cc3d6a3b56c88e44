"""A server with logins, set up by `grant`, on which tests act as one user after the other."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib
import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import mlflow
import pytest
from mlflow import MlflowClient

from steps.cli.command import run
from tests.support.candidates import GATE, evaluated
from tests.support.servers import ADMIN, PASSWORD, MlflowServer, ask, mlflow_server

NAME, WORK, RELEASES = "sol", "graphline", "sol-releases"
AUTHORS, REVIEWERS = ("ada", "ben"), ("rae", "tom")


class Said(NamedTuple):
    """How an entry point ended."""

    code: int
    out: str
    error: str


class Scene:
    """A running server, its users and what lies on it."""

    def __init__(self, server: MlflowServer, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.server, self.folder, self._patch = server, folder, patch
        self.passwords = {ADMIN: PASSWORD}
        (folder / "gate.yaml").write_text(GATE)

    def act_as(self, user: str) -> MlflowClient:
        """From here on this process is `user`; "" is nobody."""
        login = {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": self.passwords.get(user, "")}
        for name, value in login.items():
            self._patch.setenv(name, value) if user else self._patch.delenv(name, raising=False)
        self._patch.setenv("MLFLOW_EXPERIMENT_NAME", WORK if user in AUTHORS else RELEASES)
        return MlflowClient(self.server.uri)

    def step(self, user: str, step: str, /, _experiment: str = "", **parameters: Any) -> Said:
        """`python -m steps.<step>` as `user`, in this process; its run goes to `_experiment`, or where it belongs."""
        self.act_as(user)
        if _experiment:
            self._patch.setenv("MLFLOW_EXPERIMENT_NAME", _experiment)
        words = [word for key, value in parameters.items() for word in (f"--{key}", str(value))]
        out, error, code = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            patch.setattr(sys, "argv", [step, *words])
            try:
                run(importlib.import_module(f"steps.{step}").main)
            except SystemExit as ended:
                code = int(ended.code or 0)
            finally:
                mlflow.end_run()
        return Said(code, out.getvalue(), error.getvalue())

    def grant(self, **parameters: Any) -> Said:
        """`grant` by the administrator; new users are remembered with their passwords."""
        file = self.folder / f"passwords-{len(self.passwords)}"
        said = self.step(ADMIN, "grant", passwords=file, **parameters)
        if file.exists():
            self.passwords |= dict(line.split(" ") for line in file.read_text().splitlines())
        return said

    def register(self, user: str, content: str) -> Said:
        """A candidate with its evaluate run, as `user`."""
        client = self.act_as(user)
        experiment = client.get_experiment_by_name(WORK).experiment_id
        made = evaluated(self.folder, NAME, content, experiment)
        return self.step(user, "register", evaluate_run=made.info.run_id)

    def decide(self, user: str, step: str, /, **parameters: Any) -> Said:
        return self.step(user, step, name=NAME, **({"reason": "a test"} | self._gate(step) | parameters))

    def _gate(self, step: str) -> dict[str, str]:
        return {"gate": str(self.folder / "gate.yaml")} if step in ("promote", "reject") else {}

    def http(
        self,
        user: str,
        method: str,
        path: str,
        /,
        body: Any = None,
        more: Mapping[str, str] | None = None,
        **query: str,
    ) -> tuple[int, str]:
        """A request without any client of MLflow's; `user` "" sends no login, `more` are further headers."""
        login = base64.b64encode(f"{user}:{self.passwords.get(user, '')}".encode()).decode()
        headers = dict(more or {}) | ({"Authorization": f"Basic {login}"} if user else {})
        if body is not None and not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), headers | {"Content-Type": "application/json"}
        reply = ask(self.server.uri, method, path + (f"?{urlencode(query)}" if query else ""), body, headers)
        return reply.status, reply.body.decode(errors="replace")

    def state(self) -> dict[str, Any]:
        """Everything there is but the authors' own: models, versions, aliases, tags, runs, bytes, roles and users."""

        def get(page: str, **query: str) -> Any:
            status, text = self.http(ADMIN, "GET", page, **query)
            assert status == 200, text
            return json.loads(text)

        models = (NAME, f"{NAME}-decisions")
        experiment = get("/api/2.0/mlflow/experiments/get-by-name", experiment_name=RELEASES)
        query = {"experiment_ids": [experiment["experiment"]["experiment_id"]], "run_view_type": "ALL"}
        work = get("/api/2.0/mlflow/experiments/get-by-name", experiment_name=WORK)["experiment"]
        own, artifacts = work["artifact_location"].removeprefix("mlflow-artifacts:/"), self.server.artifacts
        return {
            "models": [get("/api/2.0/mlflow/registered-models/get", name=name) for name in models],
            "versions": [get("/api/2.0/mlflow/model-versions/search", filter=f"name='{name}'") for name in models],
            "experiment": experiment,
            "runs": json.loads(self.http(ADMIN, "POST", "/api/2.0/mlflow/runs/search", query)[1]),
            "bytes": {
                str(path.relative_to(artifacts)): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(artifacts.rglob("*"))
                if path.is_file() and not path.is_relative_to(artifacts / own)
            },
            "roles": get("/api/3.0/mlflow/roles/list", workspace="default"),
            "users": get("/api/2.0/mlflow/users/list"),
        }


@contextlib.contextmanager
def login_server(folder: Path, backend_uri: str | None = None, auth_uri: str | None = None) -> Iterator[Scene]:
    """Start a server and set up its authors and reviewers"""
    with (
        mlflow_server(folder / "server", backend_uri=backend_uri, auth="READ", auth_uri=auth_uri) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("MLFLOW_TRACKING_URI", server.uri)
        patch.setenv("MLFLOW_REGISTRY_URI", server.uri)
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        mlflow.set_tracking_uri(server.uri)
        mlflow.set_registry_uri(server.uri)
        scene = Scene(server, folder, patch)
        try:
            said = scene.grant(name=NAME, authors=",".join(AUTHORS), reviewers=",".join(REVIEWERS))
            assert said.code == 0, said
            yield scene
        finally:
            mlflow.set_tracking_uri(None)
            mlflow.set_registry_uri(None)
