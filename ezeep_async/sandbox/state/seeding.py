"""Fills an organization with the documented examples, and with generated records that depend on the seed."""

from __future__ import annotations

from importlib.resources import files
from typing import Any
from uuid import UUID

import msgspec

from ezeep_async.sandbox.state.organization import FLAGS, Invitation, Organization, Person


SANDBOX_ADMIN = "second.user@example.com"
"""The e-mail address of the admin, who owns the tokens of `Sandbox.tokens()`."""
SANDBOX_PASSWORD = "sandbox"  # noqa: S105  # the documented password of a sandbox
"""The password of all people, for the password grant."""


def _document(name: str) -> Any:
    return msgspec.json.decode(files("ezeep_async.sandbox").joinpath("data", f"{name}.json").read_bytes())


# Read when the module is imported: a sandbox is made inside running event loops, where files are not read.
_ACCOUNTS = _document("account_users_page")["results"]
_ADMIN_ID = next(UUID(account["id"]) for account in _ACCOUNTS if account["email"] == SANDBOX_ADMIN)
_USERS: dict[str, Any] = _document("users_page_1")
_EXAMPLES = {
    UUID(user["id"]): (user, [UUID(membership["group_id"]) for membership in user["groups"]])
    for user in _USERS["results"]
}
"""The documented users with the ids of their groups."""
_GROUPS = {UUID(group["id"]): group for group in _document("groups_page")["results"]}
_INVITATIONS = _document("invitations_page")["results"]
_NAMES: dict[str, list[str]] = _document("names")


def populate(organization: Organization, *, users: int, groups: int) -> None:
    """Fill an empty organization with that many printing users and groups."""
    _add_groups(organization, groups)
    _add_users(organization, users)
    for invitation in msgspec.convert(_INVITATIONS, list[Invitation]):
        organization.invitations[invitation.id] = invitation


def _add_groups(organization: Organization, count: int) -> None:
    computed = {"id", "num_members", "organization_id"}
    for group_id, group in [*_GROUPS.items()][:count]:
        fields = {name: value for name, value in group.items() if name not in computed}
        organization.add_group(group_id=group_id, **fields)
    # The documented users are in groups that the documented page of groups does not have: in order of appearance.
    mentioned = dict.fromkeys(group_id for _, group_ids in _EXAMPLES.values() for group_id in group_ids)
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
    organization.admin_id = _ADMIN_ID
    for person in msgspec.convert(_ACCOUNTS, list[Person]):
        # The directory has an admin even without printing users.
        if person.id == _ADMIN_ID or count >= len(_EXAMPLES) + len(_ACCOUNTS):
            organization.add_person(person)
    # The admin, whose id comes after those of the documented page, is always a printing user.
    examples = [*_EXAMPLES][: max(count - 1, 0)]
    further = _further_ids(organization, count - len(examples))
    for number, user_id in enumerate(examples + further, start=1):
        first = organization.random.choice(_NAMES["first_names"])
        last = organization.random.choice(_NAMES["last_names"])
        email = f"{first}.{last}.{number}@example.com".lower()
        user = organization.add_user(user_id=user_id, first_name=first, last_name=last, email=email)
        if user_id in _EXAMPLES:
            example, group_ids = _EXAMPLES[user_id]
            for name in FLAGS:
                setattr(user, name, example[name])
            user.groups.replace(group_id for group_id in group_ids if group_id in organization.groups)
    _add_memberships(organization, further)


def _further_ids(organization: Organization, count: int) -> list[UUID]:
    """Sorted ids that come after those of the documented first page."""
    # The documented people are among them, the admin first: its id and name are the ones that tests know.
    known = [_ADMIN_ID, *(UUID(account["id"]) for account in _ACCOUNTS if account["email"] != SANDBOX_ADMIN)]
    ids = set(known[: max(count, 0)])
    first = ([*_EXAMPLES][-1].int >> 120) + 1
    while len(ids) < count:
        low = organization.random.getrandbits(120)
        ids.add(UUID(int=organization.random.randrange(first, 256) << 120 | low, version=4))
    return sorted(ids)


def _add_memberships(organization: Organization, ids: list[UUID]) -> None:
    """Put users into groups, so that the documented groups have their documented share of members."""
    rest = _USERS["count"] - len(_EXAMPLES)
    for group_id in list(organization.groups):
        if (example := _GROUPS.get(group_id)) is not None:
            named = sum(group_ids.count(group_id) for _, group_ids in _EXAMPLES.values())
            share = (example["num_members"] - named) / rest
        else:
            share = organization.random.uniform(0.01, 0.12)
        for user_id in organization.random.sample(ids, round(len(ids) * share)):
            organization.users[user_id].groups.add(group_id)
