"""What the tests of provisioning share: the sandbox's organization, looked at."""

from __future__ import annotations

from uuid import UUID

from ezeep_async.provisioning import DesiredState
from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.state.organization import SandboxGroup


PATCH_USER = "PATCH /printing/v1/users/{id}/"
GET_USER = "GET /printing/v1/users/{id}/"
POST_GROUP = "POST /printing/v1/groups/"
LIST_GROUPS = "GET /printing/v1/groups/"
LIST_USERS = "GET /printing/v1/users/"
LIST_PEOPLE = "GET /v1/users/"
LIST_INVITATIONS = "GET /v1/userinvitations/"
INVITE = "POST /v1/userinvitations/"

State = dict[UUID, frozenset[UUID]]


def state(sandbox: Sandbox) -> State:
    """Every user's groups."""
    return {user.id: frozenset(user.groups) for user in sandbox.organization.listed_users()}


def names(sandbox: Sandbox) -> list[str]:
    """The names of all groups, sorted, those that are there twice twice."""
    return sorted(group.name for group in sandbox.organization.groups.values())


def group_named(sandbox: Sandbox, name: str) -> SandboxGroup:
    (group,) = [group for group in sandbox.organization.groups.values() if group.name == name]
    return group


def emails(sandbox: Sandbox, many: int | None = None) -> list[str]:
    """The addresses of the printing users, in the order of their ids."""
    return [sandbox.organization.people[user.id].email for user in sandbox.organization.listed_users()[:many]]


def members(sandbox: Sandbox, name: str) -> set[str]:
    """The addresses of a group's members."""
    organization = sandbox.organization
    return {organization.people[user].email for user in organization.members(group_named(sandbox, name).id)}


def writes(sandbox: Sandbox) -> list[str]:
    """The requests that were meant to change something."""
    return [
        f"{request.method} {request.path}"
        for request in sandbox.requests
        if request.method != "GET" and request.grant_type is None
    ]


def new_team(sandbox: Sandbox, many: int = 8, name: str = "Team") -> DesiredState:
    """A new group of so many people: one write for each of them, and one for the group."""
    return DesiredState.from_mapping({name: emails(sandbox, many)})


def add_team(sandbox: Sandbox, many: int = 8, name: str = "Team") -> SandboxGroup:
    """A group with that many members."""
    group = sandbox.organization.add_group(name)
    for user in sandbox.organization.listed_users()[:many]:
        user.groups.add(group.id)
    return group
