"""The tracking server: is it there, and whom does it see."""

from __future__ import annotations

from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from pipeline.errors import RegistryError
from pipeline.runs.person import Person

SERVER_OPTIONS = ("--gunicorn-opts", "--threads 8")
"""How MLflow's server is started without its assistant, which runs programs on the server's machine for whoever comes
from there, a proxy included; no switch turns it off, but only uvicorn, the default, serves it.

Source: mlflow 3.17.2, mlflow/server/assistant/api.py (`_is_localhost`), mlflow/server/__init__.py (`_run_server`).
"""

SERVER_SETTINGS = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""Environment of such a server: it starts no jobs, calls no language models and reports to nobody."""

_CURRENT_USER = "/api/2.0/mlflow/users/current"


def check_server() -> None:
    """Refuse a tracking server that is not there or not MLflow 3, in one line, at first contact."""
    uri = mlflow.get_tracking_uri()
    if not uri.startswith("http"):
        return
    answer = _reach(uri, "/version")
    if answer.status_code in (401, 403):
        raise RegistryError(
            f"{uri}: the tracking server refuses the login (status {answer.status_code}). "
            "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
        )
    version = " ".join(answer.text.split())[:40] if answer.ok else f"status {answer.status_code}"
    if not version.startswith("3."):
        raise RegistryError(
            f"{uri}: the tracking server says '{version}'; graphline needs MLflow 3.x. Upgrade the server."
        )


def user() -> Person:
    """Who acts: the user that a server with login names, else the system user, who is not proven.

    Raises:
        RegistryError: if a server with login does not say who it is.
    """
    uri = mlflow.get_tracking_uri()
    if uri.startswith("http"):
        try:
            answer = _ask(uri, _CURRENT_USER)
            if answer.ok:
                return Person(str(answer.json()["user"]["username"]), "tracking server login", True)
            # 404 of both pages: a server without login. Anything else must not pass for one.
            if answer.status_code != 404 or _ask(uri, "/api/2.0/mlflow/users/get").status_code != 404:
                raise ValueError(f"status {answer.status_code}")
        except (MlflowException, KeyError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RegistryError(f"{uri}: the tracking server does not say who you are ({reason}).") from None
    import getpass

    return Person(getpass.getuser(), "system user", False)


def needs_login() -> bool:
    """Does the tracking server answer nobody without a login?

    Raises:
        RegistryError: if it cannot be reached.
    """
    uri = mlflow.get_tracking_uri()
    return uri.startswith("http") and _reach(uri, _CURRENT_USER, (None, None)).status_code in (401, 403)


def check_login(name: str, password: str) -> str | None:
    """The user that the tracking server sees behind a name and a password; None when it refuses them.

    Raises:
        RegistryError: if it cannot be reached.
    """
    answer = _reach(mlflow.get_tracking_uri(), _CURRENT_USER, (name, password))
    return str(answer.json()["user"]["username"]) if answer.ok else None


def _reach(uri: str, page: str, login: tuple[str | None, str | None] | None = None) -> Any:
    """`_ask`, with one line for a server that is not there."""
    try:
        return _ask(uri, page, login)
    except MlflowException as error:
        reason = type(error.__context__ or error).__name__
        raise RegistryError(
            f"{uri}: no tracking server answers ({reason}). Start it, or mend MLFLOW_TRACKING_URI."
        ) from None


def _ask(uri: str, page: str, login: tuple[str | None, str | None] | None = None) -> Any:
    """GET a page of the tracking server once, with the certificates that MLflow itself uses.

    Args:
        login: name and password, both None for nobody; default: the login that MLflow itself uses.
    """
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    creds = get_default_host_creds(uri)
    if login:
        creds.username, creds.password = login
        creds.token = creds.auth = None
    return http_request(creds, page, "GET", max_retries=0, timeout=10, raise_on_status=False)
