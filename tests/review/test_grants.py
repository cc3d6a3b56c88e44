"""Roles of authors and reviewers: who may write what, by hand, and who is refused, against a server of a few lines."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError, RegistryError
from pipeline.review import grants
from pipeline.review.grants import AUTHORS, REVIEWERS, Grant, check_sides, connect, plan

MODEL = "registered_model"


class Server:
    """The pages that `grants` asks, with roles and users as dictionaries."""

    uri = "http://server"

    def __init__(self, users=("ada", "ben"), admins=(), roles=None, members=None, allowed=None):
        self.names = {name: {"is_admin": name in admins} for name in (*users, *admins)}
        self.role_list = roles or {}
        self.member_list = members or {}
        self.allowed = allowed or {}
        self.sent: list[tuple[str, str, dict[str, object]]] = []

    def users(self):
        return self.names

    def roles(self):
        return self.role_list

    def members(self, role):
        return set(self.member_list.get(role["name"], ()))

    def permission(self, user, kind, thing):
        return self.allowed.get((user, kind, thing), "READ")

    def ask(self, method, page, **values):
        self.sent.append((method, page.rpartition("/mlflow/")[2], values))
        return {"role": {"name": values.get("name"), "id": 1, "permissions": []}}


def row(kind, thing, permission, number=7):
    return {"id": number, "resource_type": kind, "resource_pattern": thing, "permission": permission}


def role(name, *rows):
    return {name: {"name": name, "id": 9, "permissions": list(rows)}}


def test_the_plan_by_hand():
    found = plan("m", ["1", "2"], "5")
    assert set(map(str, found[AUTHORS])) == {
        *("EDIT experiment 1", "EDIT experiment 2", "EDIT model m-candidates"),
        *("READ model m", "READ model m-decisions", "READ experiment 5"),
    }
    assert set(map(str, found[REVIEWERS])) == {
        *("READ experiment 1", "READ experiment 2", "READ model m-candidates"),
        *("MANAGE model m", "EDIT model m-decisions", "EDIT experiment 5"),
    }


def test_no_side_writes_what_the_other_writes():
    writes = [
        {grant[:2] for grant in side if grant.permission != "READ"} for side in plan("m", ["1", "2"], "5").values()
    ]
    assert not writes[0] & writes[1]
    assert {grant[:2] for side in plan("m", ["1"], "5").values() for grant in side if grant.kind == MODEL} == {
        (MODEL, name) for name in ("m", "m-candidates", "m-decisions")
    }


def test_a_list_that_is_not_given_stays_as_it_is():
    server = Server(roles=role("m-reviewers"), members={"m-reviewers": ["ben"]})
    assert check_sides(server, "m", ["ada"], None) == {AUTHORS: {"ada"}, REVIEWERS: {"ben"}}
    assert check_sides(server, "m", [], []) == {AUTHORS: set(), REVIEWERS: set()}


@pytest.mark.parametrize(
    ("authors", "reviewers", "says"),
    [
        (["ada"], ["ada", "ben"], "ada cannot be author and reviewer"),
        (["ben"], None, "ben cannot be author and reviewer"),  # who reviews already
        (["root"], [], "root, an administrator, may do everything"),
        ([], ["root"], "root, an administrator"),
    ],
)
def test_sides_are_kept_apart(authors, reviewers, says):
    server = Server(admins=["root"], roles=role("m-reviewers"), members={"m-reviewers": ["ben"]})
    with pytest.raises(ConfigError, match=says):
        check_sides(server, "m", authors, reviewers)


@pytest.mark.parametrize(
    ("wide", "refused"),
    [
        (row(MODEL, "*", "EDIT"), True),
        (row("experiment", "*", "MANAGE"), True),
        (row("workspace", "*", "USE"), True),  # may create experiments
        (row(MODEL, "*", "READ"), False),
        (row(MODEL, "other", "MANAGE"), False),
    ],
)
def test_an_author_who_may_write_everything_is_refused(wide, refused):
    server = Server(roles=role("lab", wide), members={"lab": ["ada"]})
    assert check_sides(server, "m", [], ["ada"])  # a reviewer may
    if refused:
        with pytest.raises(ConfigError, match=r"author ada may write every release \(role lab: "):
            check_sides(server, "m", ["ada"], [])
    else:
        assert check_sides(server, "m", ["ada"], [])


def test_a_role_is_made_to_hold_just_what_is_asked():
    there = role("m-authors", row(MODEL, "m", "EDIT", 1), row(MODEL, "m-candidates", "EDIT", 2))
    server = Server(roles=there, members={"m-authors": ["old", "ada"]})
    wanted = [Grant(MODEL, "m", "READ"), Grant(MODEL, "m-candidates", "EDIT")]
    said = list(grants._apply_role(server, "m-authors", wanted, ["ada", "new"]))
    assert said == [
        "role m-authors loses EDIT model m",
        "role m-authors gets READ model m",
        "old leaves m-authors",
        "new joins m-authors",
    ]
    assert [(method, page) for method, page, _ in server.sent] == [
        ("DELETE", "roles/permissions/remove"),
        ("POST", "roles/permissions/add"),
        ("DELETE", "roles/unassign"),
        ("POST", "roles/assign"),
    ]
    assert server.sent[0][2] == {"role_permission_id": 1}


def test_to_apply_the_same_again_asks_for_nothing():
    server = Server(roles=role("m-authors", row(MODEL, "m", "READ")), members={"m-authors": ["ada"]})
    assert list(grants._apply_role(server, "m-authors", [Grant(MODEL, "m", "READ")], ["ada"])) == []
    assert server.sent == []


def test_what_others_hold_on_the_models_own_things_is_taken_away():
    owner = role(
        "__user_4__", row(MODEL, "m", "MANAGE", 1), row(MODEL, "other", "MANAGE", 2), row(MODEL, "m", "READ", 3)
    )
    own = role("m-reviewers", row(MODEL, "m", "MANAGE", 4))
    server = Server(roles=owner | own, members={"__user_4__": ["ada"]})
    assert list(grants._withdraw_others(server, "m", plan("m", ["1"], "5"))) == [
        "ada (__user_4__) loses MANAGE model m"
    ]
    assert [values for _, _, values in server.sent] == [{"role_permission_id": 1}]


@pytest.mark.parametrize("held", ["EDIT", "MANAGE", "USE"])
def test_in_the_end_the_server_is_asked_what_an_author_may_do(held):
    release = plan("m", ["1"], "5")[REVIEWERS]
    grants._check_authors(Server(), ["ada"], release)
    with pytest.raises(RegistryError, match=f"author ada may still do {held} on {MODEL} m; set default_permission"):
        grants._check_authors(Server(allowed={("ada", MODEL, "m"): held}), ["ada"], release)
    grants._check_authors(Server(allowed={("ada", MODEL, "m-candidates"): held}), ["ada"], release)  # an author's own


class Answer:
    def __init__(self, status, values):
        self.status_code, self.ok, self.values = status, status < 400, values
        self.text = self.content = "text"

    def json(self):
        return self.values


WHOLE = {
    "/users/current": Answer(200, {"user": {"username": "root", "is_admin": True}}),
    "/server-info": Answer(200, {"workspaces_enabled": True}),
    "/assistant/config": Answer(404, {}),
}


@pytest.mark.parametrize(
    ("page", "answer", "says"),
    [
        (None, None, None),
        ("/users/current", Answer(404, {}), "has no logins; start the server with --app-name basic-auth"),
        ("/users/current", Answer(200, {"user": {"username": "ada"}}), "user 'ada' is no administrator"),
        ("/server-info", Answer(200, {}), "lets every user create experiments"),
        ("/assistant/config", Answer(200, {}), "has MLflow's assistant"),
        ("/assistant/config", Answer(403, {}), None),
    ],
)
def test_only_a_safe_server_and_its_administrator_are_taken(monkeypatch, page, answer, says):
    pages = WHOLE | ({page: answer} if page else {})

    def send(self, method, asked, **values):
        return next(found for end, found in pages.items() if asked.endswith(end))

    monkeypatch.setattr(grants.Logins, "send", send)
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "http://server")
    if says is None:
        assert connect().uri == "http://server"
    else:
        with pytest.raises(RegistryError, match=says):
            connect()


def test_a_database_has_no_logins(monkeypatch):
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "sqlite:///mlflow.db")
    with pytest.raises(RegistryError, match="has no logins; set MLFLOW_TRACKING_URI to a server"):
        connect()
