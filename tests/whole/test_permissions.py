"""A really started server with logins: authors register and cannot touch a release, reviewers release, nobody nothing.

MLflow's own rules are what keeps authors out: these tests show that our grants make them do so, through our entry
points, through MLflow's client and by plain HTTP.
"""

from __future__ import annotations

import base64
import multiprocessing
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import requests
from mlflow.exceptions import MlflowException

from pipeline.review.grants import ROLES, Logins
from pipeline.review.log import read_log
from tests.conftest import PATIENCE_S
from tests.support.attacks import (
    FROM_ELSEWHERE,
    HARMLESS,
    LIST_ROUTES,
    ON_MODELS,
    ON_RUNS,
    PUBLIC,
    REFUSED,
    Route,
    Sender,
    assistant_pages,
    ids,
    list_routes,
    named_pages,
    page_of,
)
from tests.support.logins import NAME, RELEASES, WORK, login_server
from tests.support.postgres import postgres
from tests.support.servers import ADMIN, ask, environment, server_settings

pytestmark = pytest.mark.mlflow


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """With three candidates of ada's, two of them released by rae: the second is live."""
    with login_server(tmp_path_factory.mktemp("logins")) as scene:
        for content in ("one", "two", "three"):
            said = scene.register("ada", content)
            assert said.code == 0, said
        for version in (1, 2):
            said = scene.decide("rae", "promote", version=version)
            assert said.code == 0, said
        yield scene


@pytest.fixture
def unchanged(scene):
    """Nothing of the release is another one after the test."""
    before = scene.state()
    assert before["bytes"]
    yield
    assert scene.state() == before


# --- our own entry points -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("step", "parameters"),
    [
        ("promote", {"version": 3}),
        ("promote", {"version": 3, "override": "trust me"}),
        ("reject", {"version": 3}),
        ("rollback", {}),
        ("retire", {}),
    ],
)
def test_an_author_gets_one_clear_line_from_our_entry_points(scene, step, parameters):
    said = scene.decide("ben", step, **parameters)
    assert said.code == 2
    assert said.error.count("\n") == 1
    assert "the tracking server does not let user 'ben' do this (/api/2.0/mlflow/" in said.error
    assert "reviewers releases" in said.error


@pytest.mark.usefixtures("unchanged")
def test_nobody_releases_his_own(scene):
    said = scene.decide("ada", "promote", version=3)
    assert (said.code, said.error.count("\n")) == (2, 1)
    assert "ada" in said.error


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("step", ["promote", "rollback", "retire", "register", "grant"])
def test_nobody_gets_one_clear_line(scene, step):
    parameters = {"register": {"evaluate_run": "x"}, "grant": {"name": NAME}}.get(step, {"reason": "x", "name": NAME})
    said = scene.step("", step, **parameters)
    assert (said.code, said.error.count("\n")) == (2, 1)
    assert "refuses the login (status 401). Set MLFLOW_TRACKING_USERNAME" in said.error


@pytest.mark.usefixtures("unchanged")
def test_a_run_in_anothers_experiment_is_refused_with_the_way_out(scene):
    for user, place in (("ada", RELEASES), ("rae", WORK), ("ada", "Default")):
        said = scene.step(user, "promote", _experiment=place, name=NAME, reason="x")
        assert (said.code, said.error.count("\n")) == (2, 1)
        assert f"you may not write runs in experiment '{place}'. Set MLFLOW_EXPERIMENT_NAME" in said.error


@pytest.mark.usefixtures("unchanged")
def test_only_an_administrator_grants(scene):
    for user in ("ada", "rae"):
        said = scene.step(user, "grant", name=NAME, authors="ada,rae")
        assert (said.code, said.error.count("\n")) == (2, 1)
        assert f"user '{user}' is no administrator" in said.error


# --- MLflow's own client ------------------------------------------------------------------------------------------


def assert_refused(attack: Callable[[], object]) -> None:
    """403 by the server; what MLflow's client makes of it differs between records and files."""
    with pytest.raises((MlflowException, requests.HTTPError)) as caught:
        attack()
    error = caught.value
    status = error.response.status_code if isinstance(error, requests.HTTPError) else error.get_http_status_code()
    assert status == 403, error


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("name", [NAME, f"{NAME}-decisions"])
def test_an_author_cannot_touch_the_release_with_mlflows_client(scene, name):
    own = ids(scene)[2]
    client = scene.act_as("ben")
    for what, attack in ON_MODELS.items():
        if what == "take the name":  # the candidates are his own to rename; but the name is taken
            with pytest.raises(MlflowException, match="already exists"):
                attack(client, name, own)
        else:
            assert_refused(lambda attack=attack: attack(client, name, own))


@pytest.mark.usefixtures("unchanged")
def test_an_author_cannot_touch_the_bytes_with_mlflows_client(scene):
    experiment, run, own = ids(scene)
    client = scene.act_as("ben")
    for attack in ON_RUNS.values():
        assert_refused(lambda attack=attack: attack(client, experiment, run, own))


def test_an_author_may_write_candidates_and_own_runs(scene):
    """The refusals above are not refusals of everything."""
    own = ids(scene)[2]
    client = scene.act_as("ben")
    client.set_model_version_tag(f"{NAME}-candidates", "3", "note", "mine")
    client.set_registered_model_alias(f"{NAME}-candidates", "challenger", "3")
    client.log_text(own, "text", "folder/file.txt")
    assert client.get_model_version_by_alias(NAME, "champion").version == "2"


# --- plain HTTP ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def routes(scene) -> list[Route]:
    folder = scene.server.log.parent
    found = list_routes(LIST_ROUTES, environment(**server_settings(folder)))
    assert len(found) > 400
    return found


def test_every_page_of_the_server_is_known(routes):
    """A new version of MLflow fails here: read what its new pages do, and name them."""
    found = {(method, page_of(path)) for method, path, _ in routes if method not in ("HEAD", "OPTIONS")}
    named = named_pages("harmless") | named_pages("refused")
    assert found == named
    assert not named_pages("harmless") & named_pages("refused")


@pytest.mark.usefixtures("unchanged")
def test_no_author_makes_the_server_act(scene, routes):
    """Start programs, call other hosts, give rights."""
    sender = Sender(scene, "ben", NAME)
    asked = [route for route in routes if (route[0], page_of(route[1])) in named_pages("refused")]
    answers = {(method, path): sender.send(method, path, fields) for method, path, fields in asked}
    assert {route for route, status in answers.items() if status < 400} == set()


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("user", ["ben", "rae", "", ADMIN])
def test_nobody_reaches_the_assistant(scene, user):
    """It runs programs on the server's machine, for whoever its proxy makes a neighbour."""
    for method, path in assistant_pages():
        for headers in ({}, *FROM_ELSEWHERE):
            status, text = scene.http(user, method, path, {}, headers)
            assert status in (401, 403, 404), (method, path, headers, text)


@pytest.mark.usefixtures("unchanged")
def test_nothing_answers_without_login(scene, routes):
    sender = Sender(scene, "", NAME)
    answers = {(method, path): sender.send(method, path, fields) for method, path, fields in routes}
    open_ = {route: status for route, status in answers.items() if status != 401}
    assert {path for _, path in open_ if not path.startswith(PUBLIC)} == set(), open_
    for login in (b"ben:wrong", b"nobody:x", b":", b"admin:password1234"):
        headers = {"Authorization": f"Basic {base64.b64encode(login).decode()}"}
        path = f"/api/2.0/mlflow/registered-models/get?name={NAME}"
        assert ask(scene.server.uri, "GET", path, None, headers).status == 401


@pytest.mark.usefixtures("unchanged")
def test_no_page_lets_an_author_touch_the_release(scene, routes):
    """Whatever page: the release is as it was."""
    pages = [route for route in routes if route[0] not in ("GET", "HEAD", "OPTIONS")]
    log = [route for route in pages if route[1].startswith("/api/2.0/mlflow/") and route[1].endswith(REFUSED)]
    for name, asked in ((NAME, pages), (f"{NAME}-decisions", log)):
        sender = Sender(scene, "ben", name)
        answers = {(method, path): sender.send(method, path, fields) for method, path, fields in asked}
        for page in REFUSED:
            there = {route: status for route, status in answers.items() if route[1].endswith(page)}
            assert there or asked is log, page
            assert set(there.values()) <= {403}, there
        assert {path for (_, path), status in answers.items() if status < 300 and not path.endswith(HARMLESS)} == set()


@pytest.mark.usefixtures("unchanged")
def test_no_spelling_of_a_path_reaches_the_bytes(scene):
    experiment, run, _ = ids(scene)
    work = scene.act_as("ben").get_experiment_by_name(WORK).experiment_id
    place = f"{run}/artifacts/bundle/artifacts/model.onnx"
    for root in ("/api/2.0/mlflow-artifacts/artifacts/", "/ajax-api/2.0/mlflow-artifacts/artifacts/"):
        for way in (
            f"{experiment}/{place}",
            f"workspaces/default/{experiment}/{place}",
            f"{work}/../{experiment}/{place}",
            f"{work}/%2e%2e/{experiment}/{place}",
            f"{work}/%252e%252e/{experiment}/{place}",
            f"{work}/..%2f{experiment}/{place}",
            f"./{experiment}/{place}",
            f"/{experiment}/{place}",
            f"%3{experiment}/{place}",
            f"0{experiment}/{place}",
            f"{work}\\..\\{experiment}/{place}",
        ):
            for method in ("PUT", "DELETE"):
                status, text = scene.http("ben", method, root + way, b"evil")
                assert status not in (200, 201, 204), (method, way, text)


@pytest.mark.usefixtures("unchanged")
def test_no_experiment_of_an_author_lies_among_the_bytes(scene):
    """MLflow writes uploads where an experiment says its files are; so authors must not make experiments."""
    experiment, run, _ = ids(scene)
    inside = f"{experiment}/{run}/artifacts/bundle"
    for location in (f"file://{scene.server.artifacts}/{inside}", f"mlflow-artifacts:/{inside}"):
        body = {"name": "mine", "artifact_location": location}
        assert scene.http("ben", "POST", "/api/2.0/mlflow/experiments/create", body)[0] == 403


# --- grant ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unchanged")
def test_to_grant_again_changes_nothing(scene):
    for lists in ({"authors": "ada,ben", "reviewers": "rae,tom"}, {}):
        said = scene.grant(name=NAME, **lists)
        assert (said.code, said.out) == (0, f"grant: {NAME}: nothing to change\n")


def test_grant_takes_away_what_others_hold_and_lets_go_who_is_not_named(scene):
    said = scene.grant(name=NAME, authors="ada,ben,zoe")
    assert "user zoe is made" in said.out
    assert scene.passwords["zoe"] not in said.out + said.error
    gift = {"username": "zoe", "resource_type": "registered_model", "resource_id": NAME, "permission": "EDIT"}
    assert scene.http("rae", "POST", "/api/3.0/mlflow/users/permissions/grant", gift)[0] == 200  # reviewers may
    scene.act_as("zoe").set_registered_model_tag(NAME, "k", "v")
    said = scene.grant(name=NAME, authors="ada,ben")
    assert f"zoe leaves {NAME}-authors" in said.out
    assert f"loses EDIT model {NAME}" in said.out
    client = scene.act_as("zoe")
    assert_refused(lambda: client.set_registered_model_tag(NAME, "k", "v"))
    assert_refused(lambda: client.get_registered_model(NAME))
    scene.act_as("rae").delete_registered_model_tag(NAME, "k")


def test_passwords_go_to_a_new_file_of_ones_own(scene):
    file = next(scene.folder.glob("passwords-*"))
    assert file.stat().st_mode & 0o777 == 0o600
    said = scene.step(ADMIN, "grant", name=NAME, authors="ada,ben,new", passwords=file)
    assert "is there already; name a new file" in said.error
    said = scene.step(ADMIN, "grant", name=NAME, authors="ada,ben,new")
    assert "no such user: new. Pass passwords=FILE" in said.error


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("lists", "says"),
    [
        ({"authors": "ada,rae"}, "sol: rae cannot be author and reviewer"),
        ({"authors": "ada", "reviewers": "rae,ada"}, "sol: ada cannot be author and reviewer"),
        ({"reviewers": "rae,admin"}, "sol: admin, an administrator, may do everything"),
        ({"experiments": f"{WORK},{RELEASES}"}, "'sol-releases' is what a model's own things are called"),
    ],
)
def test_grant_keeps_the_sides_apart(scene, lists, says):
    said = scene.grant(name=NAME, **lists)
    assert (said.code, said.error.count("\n")) == (2, 1)
    assert says in said.error


@pytest.mark.parametrize(
    ("kind", "permission"),
    [
        ("registered_model_version", "EDIT"),
        ("workspace", "USE"),
    ],
)
def test_grant_refuses_an_author_who_may_write_everything(scene, kind, permission):
    ask_admin = partial(Logins(scene.server.uri).ask, "POST")
    scene.act_as(ADMIN)
    role = ask_admin(f"{ROLES}/create", workspace="default", name=f"wide {kind}")["role"]["id"]
    ask_admin(f"{ROLES}/permissions/add", role_id=role, resource_type=kind, resource_pattern="*", permission=permission)
    ask_admin(f"{ROLES}/assign", role_id=role, username="ben")
    said = scene.grant(name=NAME)
    assert f"author ben may write every release (role wide {kind}: {permission} " in said.error
    scene.act_as(ADMIN)
    Logins(scene.server.uri).ask("DELETE", f"{ROLES}/delete", role_id=role)


def test_grant_asks_the_server_what_authors_may_do_in_the_end(scene, monkeypatch):
    monkeypatch.setattr(Logins, "permission", lambda *asked: "EDIT")  # as with default_permission = EDIT
    said = scene.grant(name=NAME)
    assert (said.code, said.error.count("\n")) == (2, 1)
    assert "author ada may still do EDIT on registered_model sol; set default_permission = READ" in said.error


# --- who may --------------------------------------------------------------------------------------------------------


def test_a_reviewer_releases_goes_back_and_retires(scene):
    assert scene.register("ada", "four").code == 0
    promoted = scene.decide("tom", "promote", version=3, champion=2)
    assert "champion was release 2, is release 3" in promoted.out, promoted
    rejected = scene.decide("rae", "reject", version=4)
    assert rejected.code == 0, rejected
    back = scene.decide("rae", "rollback")
    assert "champion was release 3, is release 2" in back.out, back
    retired = scene.decide("tom", "retire")
    assert "champion was release 2, is nothing" in retired.out, retired
    back = scene.decide("rae", "rollback", to=1)
    assert "champion was nothing, is release 1" in back.out, back
    assert scene.act_as("ada").get_model_version_by_alias(NAME, "champion").version == "1"


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory):
    with (
        postgres() as cluster,
        login_server(tmp_path_factory.mktemp("postgres"), cluster.database("runs"), cluster.database("users")) as scene,
    ):
        yield scene


def test_the_same_on_postgresql(on_postgres):
    scene = on_postgres
    for content in ("one", "two", "three"):
        assert scene.register("ada", content).code == 0
    before = scene.state()
    said = scene.decide("ben", "promote", version=1)
    assert (said.code, said.error.count("\n")) == (2, 1)
    assert "does not let user 'ben' do this" in said.error
    client = scene.act_as("ben")
    assert_refused(lambda: client.copy_model_version(f"models:/{NAME}-candidates/1", NAME))
    assert_refused(lambda: client.create_model_version(f"{NAME}-decisions", f"models:/{NAME}-candidates/1"))
    assert_refused(lambda: client.create_run(client.get_experiment_by_name(RELEASES).experiment_id))
    assert scene.http("", "GET", "/api/2.0/mlflow/registered-models/get", name=NAME)[0] == 401
    assert scene.state() == before
    assert scene.decide("rae", "promote", version=1).code == 0
    assert client.get_model_version_by_alias(NAME, "champion").version == "1"


def test_of_two_reviewers_at_one_moment_one_wins_on_postgresql(on_postgres):
    scene = on_postgres
    client = scene.act_as("ada")
    before = len(read_log(NAME).entries)
    spawn = multiprocessing.get_context("spawn")
    barrier, answers = spawn.Barrier(2), spawn.Queue()
    both = []
    for version, user in (("2", "rae"), ("3", "tom")):
        env = scene.server.client_env(user, scene.passwords[user])
        both.append(spawn.Process(target=decide_at_once, args=(barrier, answers, env, version, scene.folder)))
        both[-1].start()
    said = sorted(answers.get(timeout=PATIENCE_S) for _ in both)
    for process in both:
        process.join(30)
    assert [what for what, _ in said] == ["late", "won"], said
    assert "another decision was written" in said[0][1]
    history = read_log(NAME)
    assert len(history.records) == before + 1
    assert history.records[-1].reviewer == said[1][1]
    assert history.faults() == []
    assert client.get_model_version_by_alias(NAME, "champion").version == str(history.records[-1].release)


def decide_at_once(barrier, answers, env: dict[str, str], version: str, folder: Path) -> None:
    """In a process of its own, with its own login: both have read the log before one writes."""
    os.environ.update(env)
    from pipeline.review import review as core
    from pipeline.runs.server import user

    write = core.append

    def append(*arguments: object) -> object:
        barrier.wait(300)
        return write(*arguments)

    core.append = append
    request = core.DecisionRequest("approve", NAME, "at once", version, champion=1, gate=folder / "gate.yaml")
    try:
        answers.put(("won", core.review(request, user()).record.reviewer))
    except core.LateError as error:
        answers.put(("late", str(error)))
    except Exception as error:
        answers.put(("failed", repr(error)))
