"""The tracking server: is it there, is it MLflow 3, and whom does it see."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import mlflow
import pytest

from pipeline.errors import RegistryError
from pipeline.runs.server import check_server, user


class Server(BaseHTTPRequestHandler):
    """Answers `pages` by path; where `login` is set, only who sends it."""

    pages: dict[str, str] = {}  # noqa: RUF012
    login: str | None = None

    def do_GET(self):
        refused = self.login and self.headers.get("Authorization") != self.login
        page = self.pages.get(self.path)
        self.send_response(401 if refused else 404 if page is None else 200)
        self.end_headers()
        self.wfile.write(b"" if refused or page is None else page.encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def serve(monkeypatch):
    """Start a server that MLflow is told to track to; returns its address."""
    started = []

    def start(pages, login=None):
        server = HTTPServer(("127.0.0.1", 0), type("Pages", (Server,), {"pages": pages, "login": login}))
        started.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: uri)
        return uri

    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def test_a_server_of_mlflow_3_is_taken(serve):
    serve({"/version": "3.17.2\n"})
    check_server()


@pytest.mark.parametrize(
    ("pages", "says"),
    [
        ({"/version": "2.22.0"}, "the tracking server says '2.22.0'; graphline needs MLflow 3.x"),
        ({"/version": "30.1"}, "says '30.1'"),
        ({"/version": "<html>\n" + "x" * 9999}, "needs MLflow 3.x"),
        ({}, "the tracking server says 'status 404'"),
    ],
)
def test_another_server_is_refused_in_one_line(serve, pages, says):
    uri = serve(pages)
    with pytest.raises(RegistryError) as caught:
        check_server()
    text = str(caught.value)
    assert text.startswith(f"{uri}: ")
    assert says in text
    assert "\n" not in text
    assert len(text) < 200


def test_a_server_that_is_not_there_is_refused_at_once(monkeypatch):
    closed = HTTPServer(("127.0.0.1", 0), Server)
    closed.server_close()
    uri = f"http://127.0.0.1:{closed.server_port}"
    monkeypatch.setattr(mlflow, "get_tracking_uri", lambda: uri)
    with pytest.raises(RegistryError, match=f"{uri}: no tracking server answers .*MLFLOW_TRACKING_URI") as caught:
        check_server()
    assert "\n" not in str(caught.value)


def test_a_server_with_login_wants_it_also_for_its_version(serve, monkeypatch):
    """MLflow's basic-auth protects /version too."""
    who = json.dumps({"user": {"username": "ada"}})
    serve({"/version": "3.17.2", "/api/2.0/mlflow/users/current": who}, login="Basic YWRhOmxvdmU=")  # ada:love
    with pytest.raises(RegistryError, match=r"refuses the login \(status 401\)\. Set MLFLOW_TRACKING_USERNAME"):
        check_server()
    with pytest.raises(RegistryError, match=r"does not say who you are \(status 401\)"):  # never taken for no login
        user()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "love")
    check_server()
    assert user() == ("ada", "tracking server login", True)


def test_without_login_the_user_is_unproven(serve, monkeypatch):
    monkeypatch.setenv("LOGNAME", "someone")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")  # told by the client, checked by nobody
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "x")
    serve({})
    assert user() == ("someone", "system user", False)


@pytest.mark.parametrize(
    "pages",
    [
        {"/api/2.0/mlflow/users/current": "<html>"},
        {"/api/2.0/mlflow/users/current": "{}"},
        {"/api/2.0/mlflow/users/get": "{}"},  # an older server with login, which cannot tell
    ],
)
def test_a_login_that_does_not_say_who_is_refused(serve, pages):
    serve(pages)
    with pytest.raises(RegistryError, match="the tracking server does not say who you are"):
        user()
