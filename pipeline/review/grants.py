"""Who may write what on a tracking server with logins: two roles a model, set up by an administrator.

                               <name>-authors   <name>-reviewers
experiments of the authors     EDIT             READ
<name>-candidates              EDIT             READ
<name>                         READ             MANAGE   (to take an alias away needs MANAGE)
<name>-decisions               READ             EDIT     (nobody may delete a record)
<name>-releases (experiment)   READ             EDIT

To create a version and to set an alias both need EDIT on the model: three models keep the sides apart.

Source: mlflow 3.17.2, mlflow/server/auth (permissions.py, requirements.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.errors import ConfigError, RegistryError
from pipeline.runs.registry import candidates_of
from pipeline.runs.server import SERVER_OPTIONS

AUTHORS, REVIEWERS = "authors", "reviewers"
WORKSPACE = "default"
WRITES = ("EDIT", "MANAGE")
USERS, PERMISSIONS, ROLES = "/api/2.0/mlflow/users", "/api/3.0/mlflow/users/permissions", "/api/3.0/mlflow/roles"


class Grant(NamedTuple):
    """A permission on one thing."""

    kind: str  # experiment or registered_model
    thing: str  # id of an experiment, name of a model
    permission: str  # READ, EDIT, MANAGE

    def __str__(self) -> str:
        return f"{self.permission} {self.kind.removeprefix('registered_')} {self.thing}"


class Logins:
    """The pages of a tracking server that say who may do what, asked as its administrator."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def ask(self, method: str, page: str, **values: Any) -> dict[str, Any]:
        """Ask one page.

        Raises:
            RegistryError: with what the server says, if it refuses.
        """
        answer = self.send(method, page, **values)
        if not answer.ok:
            reason = " ".join(answer.text.split())[:200]
            raise RegistryError(f"{self.uri}{page}: the server refuses (status {answer.status_code}: {reason}).")
        return dict(answer.json()) if answer.content.strip() else {}

    def send(self, method: str, page: str, **values: Any) -> Any:
        """The server's response, whatever its status."""
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        sent = {"params" if method == "GET" else "json": values}
        return http_request(get_default_host_creds(self.uri), page, method, raise_on_status=False, **sent)

    def users(self) -> dict[str, dict[str, Any]]:
        return {user["username"]: user for user in self.ask("GET", f"{USERS}/list")["users"]}

    def roles(self) -> dict[str, dict[str, Any]]:
        """Name -> role with its `permissions`; a user's own grants are a role `__user_<id>__`."""
        return {role["name"]: role for role in self.ask("GET", f"{ROLES}/list", workspace=WORKSPACE)["roles"]}

    def members(self, role: dict[str, Any]) -> set[str]:
        names = {user["id"]: name for name, user in self.users().items()}
        found = self.ask("GET", f"{ROLES}/users/list", role_id=role["id"])["assignments"]
        return {names[assignment["user_id"]] for assignment in found}

    def permission(self, user: str, kind: str, thing: str) -> str:
        """What a user may do in effect."""
        found = self.ask("GET", f"{PERMISSIONS}/get", username=user, resource_type=kind, resource_id=thing)
        return str(found["permission"])


def connect() -> Logins:
    """Open the tracking server as its administrator.

    Raises:
        RegistryError: if it has no logins, we are no administrator, every user may create experiments, or it has
            MLflow's assistant.
    """
    uri = mlflow.get_tracking_uri()
    logins = Logins(uri)
    if not uri.startswith("http"):
        raise RegistryError(f"{uri} has no logins; set MLFLOW_TRACKING_URI to a server with --app-name basic-auth.")
    try:
        user = logins.ask("GET", f"{USERS}/current")["user"]
    except (RegistryError, KeyError, ValueError):
        raise RegistryError(f"{uri} has no logins; start the server with --app-name basic-auth.") from None
    if not user.get("is_admin"):
        raise RegistryError(f"user '{user['username']}' is no administrator of {uri}; set MLFLOW_TRACKING_USERNAME.")
    if not logins.ask("GET", "/api/3.0/mlflow/server-info").get("workspaces_enabled"):
        raise RegistryError(
            f"{uri} lets every user create experiments, also ones whose files lie among those of a release; "
            "start the server with --enable-workspaces."
        )
    _refuse_assistant(logins)
    return logins


def _refuse_assistant(logins: Logins) -> None:
    """Its pages ask for no right: behind a proxy on the server's machine they start programs for every user."""
    if logins.send("GET", "/ajax-api/3.0/mlflow/assistant/config").status_code not in (403, 404):
        raise RegistryError(
            f"{logins.uri} has MLflow's assistant, with which authors may run programs on the server's machine; "
            f"start the server with {SERVER_OPTIONS[0]} '{SERVER_OPTIONS[1]}'."
        )


def plan(name: str, experiments: Sequence[str], releases: str) -> dict[str, list[Grant]]:
    """What each side may do.

    Args:
        experiments: ids of those that authors write.
        releases: id of the experiment with the bytes of the releases.
    """
    kind = "registered_model"
    work = [Grant("experiment", experiment, "EDIT") for experiment in experiments]
    work.append(Grant(kind, candidates_of(name), "EDIT"))
    release = [Grant(kind, name, "MANAGE"), Grant(kind, f"{name}-decisions", "EDIT")]
    release.append(Grant("experiment", releases, "EDIT"))
    return {AUTHORS: work + _read(release), REVIEWERS: release + _read(work)}


def check_sides(
    logins: Logins, name: str, authors: Collection[str] | None, reviewers: Collection[str] | None
) -> dict[str, set[str]]:
    """Who will stand on each side.

    Args:
        authors, reviewers: the whole list, or None to leave it as it is.

    Raises:
        ConfigError: if somebody would be on both sides, or may write everything anyway.
    """
    asked = {AUTHORS: authors, REVIEWERS: reviewers}
    sides = {side: _members(logins, name, side) if users is None else set(users) for side, users in asked.items()}
    both = sorted(sides[AUTHORS] & sides[REVIEWERS])
    if both:
        raise ConfigError(f"{name}: {', '.join(both)} cannot be author and reviewer; choose one side.")
    known = logins.users()
    admins = sorted(user for users in sides.values() for user in users if known.get(user, {}).get("is_admin"))
    if admins:
        raise ConfigError(f"{name}: {', '.join(admins)}, an administrator, may do everything; name another user.")
    for role in logins.roles().values():
        wide = [_grant(row) for row in role["permissions"] if _is_wide(row)]
        held = sorted(logins.members(role) & sides[AUTHORS]) if wide else []
        if held:
            raise ConfigError(
                f"{name}: author {held[0]} may write every release (role {role['name']}: {wide[0]}); remove that first."
            )
    return sides


def apply_plan(logins: Logins, name: str, experiments: Sequence[str], sides: dict[str, set[str]]) -> Iterator[str]:
    """Make the things of a model and the roles for them; yields a line for each change.

    Args:
        experiments: titles of those that authors write.
        sides: as `check_sides` found them; every user is there.

    Raises:
        RegistryError: if an author could write a release all the same.
    """
    for title in (*experiments, f"{name}-releases"):
        yield from _make_experiment(title)
    for model in (name, candidates_of(name), f"{name}-decisions"):
        yield from _make_model(model)
    grants = plan(name, [_experiment(title) for title in experiments], _experiment(f"{name}-releases"))
    for side, users in sides.items():
        yield from _apply_role(logins, f"{name}-{side}", grants[side], users)
    yield from _withdraw_others(logins, name, grants)
    _check_authors(logins, sides[AUTHORS], grants[REVIEWERS])


def _read(grants: Sequence[Grant]) -> list[Grant]:
    return [grant._replace(permission="READ") for grant in grants]


def _members(logins: Logins, name: str, side: str) -> set[str]:
    role = logins.roles().get(f"{name}-{side}")
    return logins.members(role) if role else set()


def _is_wide(row: dict[str, Any]) -> bool:
    """Does this row of a role open things by the dozen? With USE on the workspace a user may create experiments."""
    return row["resource_pattern"] == "*" and (
        row["permission"] in WRITES or (row["resource_type"] == "workspace" and row["permission"] == "USE")
    )


def _grant(row: dict[str, Any]) -> Grant:
    return Grant(row["resource_type"], row["resource_pattern"], row["permission"])


def _make_experiment(title: str) -> Iterator[str]:
    client = MlflowClient()
    found = client.get_experiment_by_name(title)
    if found is None:
        yield f"experiment {title} is made, id {client.create_experiment(title)}"
    elif found.lifecycle_stage != "active":
        raise RegistryError(f"experiment {title} is deleted; restore it with `mlflow experiments restore`.")


def _experiment(title: str) -> str:
    found = MlflowClient().get_experiment_by_name(title)
    assert found
    return str(found.experiment_id)


def _make_model(name: str) -> Iterator[str]:
    client = MlflowClient()
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        client.create_registered_model(name)
        yield f"model {name} is made"


def _apply_role(logins: Logins, name: str, grants: Sequence[Grant], users: Collection[str]) -> Iterator[str]:
    """Make a role hold just these grants and these users."""
    role = logins.roles().get(name)
    if role is None:
        role = logins.ask("POST", f"{ROLES}/create", workspace=WORKSPACE, name=name)["role"]
        yield f"role {name} is made"
    there = {_grant(row): row["id"] for row in role["permissions"]}
    for grant in sorted(set(there) - set(grants)):
        logins.ask("DELETE", f"{ROLES}/permissions/remove", role_permission_id=there[grant])
        yield f"role {name} loses {grant}"
    for grant in sorted(set(grants) - set(there)):
        row = {"resource_type": grant.kind, "resource_pattern": grant.thing, "permission": grant.permission}
        logins.ask("POST", f"{ROLES}/permissions/add", role_id=role["id"], **row)
        yield f"role {name} gets {grant}"
    members = logins.members(role)
    for user in sorted(members - set(users)):
        logins.ask("DELETE", f"{ROLES}/unassign", username=user, role_id=role["id"])
        yield f"{user} leaves {name}"
    for user in sorted(set(users) - members):
        logins.ask("POST", f"{ROLES}/assign", username=user, role_id=role["id"])
        yield f"{user} joins {name}"


def _withdraw_others(logins: Logins, name: str, grants: dict[str, list[Grant]]) -> Iterator[str]:
    """Take away what others hold on the model's own things: who creates one gets MANAGE on it."""
    own = {f"{name}-{side}" for side in grants}
    models = {grant[:2] for side in grants.values() for grant in side if grant.kind == "registered_model"}
    guarded = models | {grant[:2] for grant in grants[REVIEWERS] if grant.permission in WRITES}
    for role in logins.roles().values():
        for row in role["permissions"]:
            grant = _grant(row)
            if role["name"] not in own and grant[:2] in guarded and grant.permission in WRITES:
                logins.ask("DELETE", f"{ROLES}/permissions/remove", role_permission_id=row["id"])
                holders = ", ".join(sorted(logins.members(role))) or "nobody"
                yield f"{holders} ({role['name']}) loses {grant}"


def _check_authors(logins: Logins, authors: Collection[str], release: Sequence[Grant]) -> None:
    """Ask the server what authors may do in effect: its `default_permission` counts too."""
    things = [grant[:2] for grant in release if grant.permission in WRITES] + [("experiment", "*")]
    for author in sorted(authors):
        for kind, thing in things:
            found = logins.permission(author, kind, thing)
            if found not in ("READ", "NO_PERMISSIONS", "DENY"):
                raise RegistryError(
                    f"author {author} may still do {found} on {kind} {thing}; set default_permission = READ in the "
                    "server's basic_auth.ini (MLFLOW_AUTH_CONFIG_PATH) and start it again."
                )
