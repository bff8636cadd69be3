"""Fills an organisation: the documented examples first, then as many more as are wanted, the same for every seed."""

from __future__ import annotations

from importlib.resources import files
from uuid import UUID

import msgspec

from ezeep_async.sandbox.state.organization import Invitation, Organisation, Person


SANDBOX_ADMIN = "second.user@example.com"
"""The e-mail address of the admin, who owns the tokens of `Sandbox.tokens()`."""
SANDBOX_PASSWORD = "sandbox"  # noqa: S105  # everybody's, in a sandbox that says so
"""The password of everybody, for the password grant."""


class _Account(msgspec.Struct):
    id: UUID
    email: str
    first_name: str
    last_name: str
    date_joined: str
    azure_profile: dict[str, object] | None
    id_profile: dict[str, object] | None
    user_invitations: list[dict[str, object]] | None
    roles: tuple[str, ...]
    is_verified: bool

    def person(self) -> Person:
        return Person(**msgspec.structs.asdict(self))


class _Membership(msgspec.Struct):
    group_id: UUID


class _User(msgspec.Struct):
    id: UUID
    local_printing_enabled: bool
    self_service_enabled: bool
    myprinters_enabled: bool
    groups: list[_Membership]


class _Group(msgspec.Struct):
    id: UUID
    name: str
    description: str
    local_printing_enabled: bool
    myprinters_enabled: bool
    origin: dict[str, str]
    num_members: int
    num_printers: int


class _Invitation(msgspec.Struct):
    id: UUID
    updated: str
    email: str
    expire_date: str
    delivery_status: str
    invitation_status: str


class _Accounts(msgspec.Struct):
    results: list[_Account]


class _Users(msgspec.Struct):
    count: int
    results: list[_User]


class _Groups(msgspec.Struct):
    results: list[_Group]


class _Invitations(msgspec.Struct):
    results: list[_Invitation]


class _Names(msgspec.Struct):
    first_names: list[str]
    last_names: list[str]
    group_names: list[str]


# Read when the module is imported: a sandbox is made inside running event loops, where files are not read.
_DATA = files("ezeep_async.sandbox").joinpath("data")
_ACCOUNTS = msgspec.json.decode(
    _DATA.joinpath("account_users_page.json").read_bytes(), type=_Accounts
).results
_USERS = msgspec.json.decode(_DATA.joinpath("users_page_1.json").read_bytes(), type=_Users)
_GROUPS = msgspec.json.decode(_DATA.joinpath("groups_page.json").read_bytes(), type=_Groups).results
_INVITATIONS = msgspec.json.decode(
    _DATA.joinpath("invitations_page.json").read_bytes(), type=_Invitations
).results
_NAMES = msgspec.json.decode(_DATA.joinpath("names.json").read_bytes(), type=_Names)
_ADMIN = next(account for account in _ACCOUNTS if account.email == SANDBOX_ADMIN)


def populate(organisation: Organisation, *, users: int, groups: int) -> None:
    """Fill an empty organisation with that many printing users and groups."""
    _add_groups(organisation, groups)
    _add_users(organisation, users)
    for example in _INVITATIONS:
        organisation.invitations[example.id] = Invitation(**msgspec.structs.asdict(example))


def _add_groups(organisation: Organisation, count: int) -> None:
    for example in _GROUPS[:count]:
        organisation.add_group(
            example.name,
            group_id=example.id,
            description=example.description,
            local_printing_enabled=example.local_printing_enabled,
            myprinters_enabled=example.myprinters_enabled,
            origin=example.origin,
            num_printers=example.num_printers,
        )
    # The documented users are in groups that the documented page of groups does not have. In the order in which
    # they are mentioned, without repetitions.
    mentioned = dict.fromkeys(membership.group_id for user in _USERS.results for membership in user.groups)
    ids = [group_id for group_id in mentioned if group_id not in {group.id for group in _GROUPS}]
    for number in range(count - len(_GROUPS)):
        origin = {"provider": "Ezeep"}
        if number % 3 == 0:
            origin = {"provider": "Azure", "foreign_id": str(organisation.new_id())}
        series, place = divmod(number, len(_NAMES.group_names))
        organisation.add_group(
            _NAMES.group_names[place] + (f" {series + 1}" if series else ""),
            group_id=ids[number] if number < len(ids) else None,
            local_printing_enabled=number % 2 == 0,
            origin=origin,
            num_printers=organisation.random.randrange(6),
        )


def _add_users(organisation: Organisation, count: int) -> None:
    examples = _USERS.results[:count]
    for account in _ACCOUNTS:
        # With few users the directory still has an admin, who then is no printing user.
        if account is _ADMIN or count >= len(_USERS.results) + len(_ACCOUNTS):
            organisation.add_person(account.person())
    organisation.admin_id = _ADMIN.id
    ids = [example.id for example in examples]
    ids += _further_ids(organisation, count - len(examples))
    for number, user_id in enumerate(ids, start=1):
        first = organisation.random.choice(_NAMES.first_names)
        last = organisation.random.choice(_NAMES.last_names)
        email = f"{first}.{last}.{number}@example.com".lower()
        organisation.add_user(user_id=user_id, first_name=first, last_name=last, email=email)
    for example in examples:
        user = organisation.users[example.id]
        user.local_printing_enabled = example.local_printing_enabled
        user.self_service_enabled = example.self_service_enabled
        user.myprinters_enabled = example.myprinters_enabled
        user.groups.replace(m.group_id for m in example.groups if m.group_id in organisation.groups)
    _add_memberships(organisation, ids[len(examples) :])


def _further_ids(organisation: Organisation, count: int) -> list[UUID]:
    """Sorted ids that come after those of the documented first page."""
    # The documented people are among them, the admin first: its id and name are the ones that tests know.
    known = [_ADMIN.id, *(account.id for account in _ACCOUNTS if account is not _ADMIN)]
    ids = set(known[: max(count, 0)])
    first = (_USERS.results[-1].id.int >> 120) + 1
    while len(ids) < count:
        low = organisation.random.getrandbits(120)
        ids.add(UUID(int=organisation.random.randrange(first, 256) << 120 | low, version=4))
    return sorted(ids)


def _add_memberships(organisation: Organisation, ids: list[UUID]) -> None:
    """Put users into groups, so that the documented groups have their documented share of members."""
    documented = len(_USERS.results)
    rest = _USERS.count - documented
    examples = {group.id: group for group in _GROUPS}
    for group_id in list(organisation.groups):
        if (example := examples.get(group_id)) is not None:
            named = sum(1 for user in _USERS.results for m in user.groups if m.group_id == group_id)
            share = (example.num_members - named) / rest
        else:
            share = organisation.random.uniform(0.01, 0.12)
        for user_id in organisation.random.sample(ids, round(len(ids) * share)):
            organisation.users[user_id].groups.add(group_id)
