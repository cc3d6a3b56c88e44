"""What an author might try on a release: with MLflow's client, and on every page of the server by plain HTTP."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from tests.conftest import ROOT
from tests.support.logins import NAME, RELEASES, WORK, Scene
from tests.support.servers import ADMIN, environment

Route = tuple[str, str, dict[str, tuple[int, bool]]]


def ids(scene: Scene) -> tuple[str, str, str]:
    """Experiment of the releases, run of release 1, an own run of ben's."""
    client = scene.act_as("ben")
    release = client.get_model_version(NAME, "1")
    work = client.get_experiment_by_name(WORK).experiment_id
    return client.get_experiment_by_name(RELEASES).experiment_id, release.run_id, client.create_run(work).info.run_id


Attack = Callable[[MlflowClient, str, str, str], object]
"""Arguments: client, experiment of the releases, run of the release, own run."""

ON_MODELS: dict[str, Callable[[MlflowClient, str, str], object]] = {
    "set alias": lambda c, name, own: c.set_registered_model_alias(name, "champion", "1"),
    "delete alias": lambda c, name, own: c.delete_registered_model_alias(name, "champion"),
    "tag": lambda c, name, own: c.set_registered_model_tag(name, "k", "v"),
    "delete tag": lambda c, name, own: c.delete_registered_model_tag(name, "graphline.head"),
    "describe": lambda c, name, own: c.update_registered_model(name, "better than it is"),
    "rename": lambda c, name, own: c.rename_registered_model(name, "stolen"),
    "delete": lambda c, name, own: c.delete_registered_model(name),
    "tag a version": lambda c, name, own: c.set_model_version_tag(name, "1", "graphline.digest", "0"),
    "delete a version's tag": lambda c, name, own: c.delete_model_version_tag(name, "1", "graphline.digest"),
    "describe a version": lambda c, name, own: c.update_model_version(name, "1", "better than it is"),
    "move a version": lambda c, name, own: c.transition_model_version_stage(name, "1", "Archived"),
    "delete a version": lambda c, name, own: c.delete_model_version(name, "1"),
    "new version": lambda c, name, own: c.create_model_version(name, f"runs:/{own}/bundle", own),
    "copy a version": lambda c, name, own: c.copy_model_version(f"models:/{NAME}-candidates/2", name),
    "register": lambda c, name, own: mlflow.register_model(f"models:/{NAME}-candidates/2", name),
    "take the name": lambda c, name, own: c.rename_registered_model(f"{NAME}-candidates", name),
    "make it anew": lambda c, name, own: c.create_registered_model(name),
}

ON_RUNS: dict[str, Attack] = {
    "new run": lambda c, e, r, o: c.create_run(e),
    "tag": lambda c, e, r, o: c.set_tag(r, "k", "v"),
    "delete tag": lambda c, e, r, o: c.delete_tag(r, "graphline.claim"),
    "metric": lambda c, e, r, o: c.log_metric(r, "rmse", 0.0),
    "param": lambda c, e, r, o: c.log_param(r, "k", "v"),
    "batch": lambda c, e, r, o: c.log_batch(r, [Metric("m", 0, 0, 0)], [Param("a", "b")], [RunTag("c", "d")]),
    "file": lambda c, e, r, o: c.log_text(r, "evil", "bundle/artifacts/model.onnx"),
    "dict": lambda c, e, r, o: c.log_dict(r, {}, "bundle/digests.json"),
    "end": lambda c, e, r, o: c.set_terminated(r, "FAILED"),
    "rename": lambda c, e, r, o: c.update_run(r, name="stolen"),
    "delete": lambda c, e, r, o: c.delete_run(r),
    "restore": lambda c, e, r, o: c.restore_run(r),
    "logged model": lambda c, e, r, o: c.create_logged_model(e, "m"),
    "tag experiment": lambda c, e, r, o: c.set_experiment_tag(e, "k", "v"),
    "rename experiment": lambda c, e, r, o: c.rename_experiment(e, "stolen"),
    "delete experiment": lambda c, e, r, o: c.delete_experiment(e),
    "restore experiment": lambda c, e, r, o: c.restore_experiment(e),
}


LIST_ROUTES = """
import json
from mlflow.server import handlers
from mlflow.server.auth import create_app
flask = create_app()
fields = {path: {field.name: [field.type, field.is_repeated] for field in message.DESCRIPTOR.fields}
          for path, message, _ in handlers.get_endpoints(lambda message: message) if hasattr(message, "DESCRIPTOR")}
found = {(method, rule.rule) for rule in flask.url_map.iter_rules() for method in rule.methods}
print("ROUTES " + json.dumps([[method, path, fields.get(path, {})] for method, path in sorted(found)]))
"""
"""Every page of a server without uvicorn, which is Flask's alone, and the fields of the message that it takes."""

LIST_ASSISTANT = """
import json
from mlflow.server.fastapi_app import app
pages = app.openapi()["paths"]
print("ROUTES " + json.dumps([[method, path] for path in pages if "/assistant/" in path for method in pages[path]]))
"""
"""The pages of the assistant, which only uvicorn serves."""

FROM_ELSEWHERE = (
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://evil.example"},
    {"X-Forwarded-For": "127.0.0.1"},
)
"""Headers of a page of another website, and of who says that he is a neighbour."""


def list_routes(program: str, env: Mapping[str, str]) -> list[Any]:
    """What `LIST_ROUTES` or `LIST_ASSISTANT` finds."""
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout.rpartition("ROUTES ")[2]))


def assistant_pages() -> list[tuple[str, str]]:
    """Method and path of each page of the assistant."""
    found = list_routes(LIST_ASSISTANT, environment())
    assert len(found) > 10
    return [(method.upper(), re.sub("{.*?}", "x", path)) for method, path in found]


PUBLIC = ("/health", "/static-files/", "/api/3.0/mlflow/server-info", "/ajax-api/3.0/mlflow/server-info")
"""Without login: is it alive, its web page's scripts, and which features are on."""

REFUSED = (
    *(f"/registered-models/{page}" for page in ("update", "rename", "delete", "set-tag", "delete-tag", "alias")),
    *(f"/model-versions/{page}" for page in ("create", "update", "delete", "set-tag", "delete-tag")),
    "/model-versions/transition-stage",
    *(f"/runs/{page}" for page in ("create", "update", "delete", "restore", "set-tag", "delete-tag", "outputs")),
    *(f"/runs/log-{page}" for page in ("metric", "parameter", "batch", "model", "inputs")),
    *(f"/experiments/{page}" for page in ("create", "update", "delete", "restore", "set-experiment-tag")),
    *("/upload-artifact", "/registered-models/create", "/users/create", "/users/update-admin", "/users/delete"),
    *("/permissions/grant", "/permissions/revoke", "/roles/create", "/roles/delete", "/roles/assign"),
    *("/roles/permissions/add", "/roles/permissions/remove", "/roles/permissions/update", "/mlflow/webhooks"),
    "/mlflow-artifacts/artifacts/<path:artifact_path>",
)
"""Pages that must refuse an author by his rights, not by a mistake in the request."""

HARMLESS = ("/search", "/search-datasets", "/gateway-proxy", "/ui-telemetry", "/demo/generate")
"""Pages that answer an author's POST: they only look, or make MLflow's own demo."""


def named_pages(word: str) -> set[tuple[str, str]]:
    """Method and path of the pages that `tests/data/server_pages.txt` names `word`."""
    lines = (ROOT / "tests" / "data" / "server_pages.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    return {(method, path) for name, method, path in rows if name == word}


def page_of(path: str) -> str:
    """The page behind its several addresses."""
    return re.sub(r"^/(ajax-)?api/\d\.\d/?", "/api/", path)


class Sender:
    """Fills every field of a request with what names the release, and sends it."""

    def __init__(self, scene: Scene, user: str, name: str) -> None:
        self.scene, self.user = scene, user
        experiment, run, own = ids(scene)
        role = json.loads(scene.http(ADMIN, "GET", "/api/3.0/mlflow/roles/list", workspace="default")[1])["roles"][-1]
        self.path = f"{experiment}/{run}/artifacts/bundle/artifacts/model.onnx"
        self.values = {
            **{"name": name, "new_name": "stolen", "version": "1", "alias": "champion", "stage": "Archived"},
            **{"run_id": run, "run_uuid": run, "experiment_id": experiment, "experiment_ids": [experiment]},
            **{"source": f"runs:/{run}/bundle", "key": "graphline.digest", "value": "evil", "description": "evil"},
            **{"username": "ben", "password": "a password of 12", "is_admin": True, "workspace": "default"},
            **{"role_id": role["id"], "role_permission_id": role["permissions"][0]["id"], "permission": "MANAGE"},
            **{"resource_type": "registered_model", "resource_pattern": NAME, "resource_id": NAME},
            **{"path": "bundle/artifacts/model.onnx", "artifact_path": self.path, "tags": [{"key": "k", "value": "v"}]},
            **{"own_run": own, "archive_existing_versions": True},
        }

    def send(self, method: str, path: str, fields: dict[str, tuple[int, bool]]) -> int:
        kept = {name: self._filled(name, *kind) for name, kind in fields.items()}
        body = self.values | {name: value for name, value in kept.items() if value is not None}
        page = re.sub(r"[<{](?:path:)?(\w+)[>}]", lambda found: str(self.values.get(found[1], "1")), path)
        query = {name: value for name, value in body.items() if isinstance(value, str)}
        return self.scene.http(self.user, method, page, body, **query)[0]

    def _filled(self, name: str, kind: int, repeated: bool) -> object:
        """Numbers, truth and text as protobuf's type `kind` wants them; None keeps what `values` says."""
        value = {1: 1.0, 2: 1.0, 8: True, 9: "1"}.get(kind, 1 if kind in (3, 4, 5, 13) else None)
        if name in self.values and isinstance(self.values[name], list) == repeated and kind in (9, 11):
            return None
        return [value] * repeated if repeated and value is not None else ([] if repeated else value)
