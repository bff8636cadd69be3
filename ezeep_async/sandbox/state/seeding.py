"""Fills an organization with the documented examples, and with generated records that depend on the seed."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, cast
from uuid import UUID

import msgspec

from ezeep_async.sandbox.state.organization import FLAGS, Invitation, Organization, Person


SANDBOX_ADMIN = "second.user@example.com"
"""The e-mail address of the admin, who owns the tokens of `Sandbox.tokens()`."""
SANDBOX_PASSWORD = "sandbox"  # noqa: S105  # the documented password of a sandbox
"""The password of all people, for the password grant."""


# Read when the module is imported: a sandbox is made inside running event loops, where files are not read.
_DATA = files("ezeep_async.sandbox").joinpath("data")


def _document(name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", msgspec.json.decode(_DATA.joinpath(name).read_bytes()))


def _results(name: str) -> list[dict[str, Any]]:
    return [{**record, "id": UUID(record["id"])} for record in _document(name)["results"]]


_ACCOUNTS = _results("account_users_page.json")
_USERS = _results("users_page_1.json")
_USER_COUNT: int = _document("users_page_1.json")["count"]
_MEMBERSHIPS = {user["id"]: [UUID(m["group_id"]) for m in user["groups"]] for user in _USERS}
_GROUPS = {group["id"]: group for group in _results("groups_page.json")}
_INVITATIONS = _results("invitations_page.json")
_NAMES: dict[str, list[str]] = _document("names.json")
_ADMIN = next(account for account in _ACCOUNTS if account["email"] == SANDBOX_ADMIN)


def populate(organization: Organization, *, users: int, groups: int) -> None:
    """Fill an empty organization with that many printing users and groups."""
    _add_groups(organization, groups)
    _add_users(organization, users)
    for invitation in _INVITATIONS:
        organization.invitations[invitation["id"]] = Invitation(**invitation)


def _add_groups(organization: Organization, count: int) -> None:
    for group in [*_GROUPS.values()][:count]:
        computed = {"id", "num_members", "organization_id"}
        organization.add_group(
            group_id=group["id"], **{name: group[name] for name in group.keys() - computed}
        )
    # The documented users are in groups that the documented page of groups does not have: in order of appearance.
    mentioned = dict.fromkeys(group_id for group_ids in _MEMBERSHIPS.values() for group_id in group_ids)
    ids = [group_id for group_id in mentioned if group_id not in _GROUPS]
    group_names = _NAMES["group_names"]
    for number in range(count - len(_GROUPS)):
        origin = {"provider": "Ezeep"}
        if number % 3 == 0:
            origin = {"provider": "Azure", "foreign_id": str(organization.new_id())}
        series, place = divmod(number, len(group_names))
        organization.add_group(
            group_names[place] + (f" {series + 1}" if series else ""),
            group_id=ids[number] if number < len(ids) else None,
            local_printing_enabled=number % 2 == 0,
            origin=origin,
            num_printers=organization.random.randrange(6),
        )


def _add_users(organization: Organization, count: int) -> None:
    examples = _USERS[:count]
    for account in _ACCOUNTS:
        # With few users the directory still has an admin, who then is no printing user.
        if account is _ADMIN or count >= len(_USERS) + len(_ACCOUNTS):
            organization.add_person(_person(account))
    organization.admin_id = _ADMIN["id"]
    ids = [example["id"] for example in examples]
    ids += _further_ids(organization, count - len(examples))
    for number, user_id in enumerate(ids, start=1):
        first = organization.random.choice(_NAMES["first_names"])
        last = organization.random.choice(_NAMES["last_names"])
        email = f"{first}.{last}.{number}@example.com".lower()
        organization.add_user(user_id=user_id, first_name=first, last_name=last, email=email)
    for example in examples:
        user = organization.users[example["id"]]
        for name in FLAGS:
            setattr(user, name, example[name])
        user.groups.replace(group_id for group_id in _MEMBERSHIPS[user.id] if group_id in organization.groups)
    _add_memberships(organization, ids[len(examples) :])


def _further_ids(organization: Organization, count: int) -> list[UUID]:
    """Sorted ids that come after those of the documented first page."""
    # The documented people are among them, the admin first: its id and name are the ones that tests know.
    known = [_ADMIN["id"], *(account["id"] for account in _ACCOUNTS if account is not _ADMIN)]
    ids = set(known[: max(count, 0)])
    first = (_USERS[-1]["id"].int >> 120) + 1
    while len(ids) < count:
        low = organization.random.getrandbits(120)
        ids.add(UUID(int=organization.random.randrange(first, 256) << 120 | low, version=4))
    return sorted(ids)


def _add_memberships(organization: Organization, ids: list[UUID]) -> None:
    """Put users into groups, so that the documented groups have their documented share of members."""
    rest = _USER_COUNT - len(_USERS)
    for group_id in list(organization.groups):
        if (example := _GROUPS.get(group_id)) is not None:
            named = sum(group_ids.count(group_id) for group_ids in _MEMBERSHIPS.values())
            share = (example["num_members"] - named) / rest
        else:
            share = organization.random.uniform(0.01, 0.12)
        for user_id in organization.random.sample(ids, round(len(ids) * share)):
            organization.users[user_id].groups.add(group_id)


def _person(account: dict[str, Any]) -> Person:
    fields = {name: value for name, value in account.items() if name not in {"display_name", "roles"}}
    return Person(**fields, roles=tuple(account["roles"]))
