"""Requests as they are built: slashes, quoting, ids and falsy values."""

from __future__ import annotations

import json
from urllib.parse import urlencode
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ezeep_async import EzeepSession
from ezeep_async._wire.requests import (
    ACCOUNTS,
    GROUPS,
    INVITATIONS,
    USERS,
    Collection,
    as_uuid,
    checked_text,
    group_filter,
    id_text,
    memberships,
    oauth_form,
)
from ezeep_async.sandbox import Sandbox


ID = UUID("0050a068-cc7b-4490-951a-06920a610ee5")
COLLECTIONS = {"groups": GROUPS, "users": USERS, "accounts": ACCOUNTS, "invitations": INVITATIONS}


@pytest.mark.parametrize("collection", COLLECTIONS.values(), ids=COLLECTIONS)
def test_3_4_every_path_ends_in_a_slash(collection: Collection) -> None:
    """3-4: lists, records and the builders of all of them."""
    built = [
        collection.page({"limit": "1"}),
        collection.get(ID),
        collection.get("me"),
        collection.create({}),
        collection.patch(ID, {}),
        collection.put(ID, {}),
        collection.delete(ID),
    ]
    for request in built:
        assert request.path.endswith("/"), request
        assert request.path.startswith("/")
        assert "//" not in request.path
        assert "?" not in request.path


@pytest.mark.parametrize("collection", COLLECTIONS.values(), ids=COLLECTIONS)
def test_6_4_only_creating_is_not_repeatable(collection: Collection) -> None:
    """6-4: setting, deleting and reading may be repeated; creating may not."""
    assert collection.create({}).idempotent is False
    for request in (
        collection.get(ID),
        collection.patch(ID, {}),
        collection.put(ID, {}),
        collection.delete(ID),
    ):
        assert request.idempotent is True


async def test_3_4_contract_over_all_endpoints(session: EzeepSession, sandbox: Sandbox) -> None:
    """3-4: every public call is made, and no request arrives without its slash, at an unknown route, or redirected."""
    group, _ = await session.groups.ensure("Slashes", sandbox.organization.organization_id)
    user = await session.users.list().first()
    assert user is not None
    await session.groups.list().collect()
    await session.groups.get(group.id)
    await session.groups.find("Slashes")
    await session.groups.update(group.id, description="x")
    await session.groups.members(group.id).collect()
    await session.users.get(user.id)
    await session.users.list(group=group.id).count()
    await session.users.set_groups(user.id, [])
    await session.users.add_to_groups(user.id, group.id)
    await session.users.remove_from_groups(user.id, group.id)
    await session.groups.delete(group.id)
    me = await session.accounts.me()
    await session.accounts.list().collect()
    await session.accounts.get(me.id)
    await session.accounts.update(me.id, first_name="S")
    other = next(person for person in sandbox.organization.people if person != me.id)
    await session.accounts.delete(other)
    invitation = await session.invitations.create("new@example.com")
    await session.invitations.list().collect()
    await session.invitations.resend(invitation.id)
    await session.oauth.refresh()
    await session.oauth.pair()
    await session.oauth.revoke()
    assert len(sandbox.requests) > 20
    assert [seen.path for seen in sandbox.requests if not seen.path.endswith("/")] == []
    assert [seen.path for seen in sandbox.requests if seen.status is None or seen.status >= 300] == []
    assert not sandbox.unknown_routes


def test_3_4_the_oauth_forms_too() -> None:
    """3-4: the token endpoint takes a form, and has its slash."""
    request = oauth_form("/oauth/access_token/", {"scope": "a b", "code": "x&y=%"})
    assert request.body == b"scope=a+b&code=x%26y%3D%25"
    assert request.content_type == "application/x-www-form-urlencoded"
    assert request.idempotent is False


@pytest.mark.parametrize("value", [False, "", [], 0])
def test_3_16_9_3_falsy_values_are_in_the_body(value: object) -> None:
    """3-16, 9-3: what is false is sent all the same."""
    for request in (
        GROUPS.patch(ID, {"x": value}),
        GROUPS.put(ID, {"x": value}),
        GROUPS.create({"x": value}),
    ):
        assert request.body is not None
        assert json.loads(request.body) == {"x": value}


def test_9_3_no_groups_are_an_empty_list() -> None:
    """9-3: clearing a user's groups sends `"groups": []`."""
    assert USERS.patch(ID, {"groups": memberships([])}).body == b'{"groups":[]}'


def test_7_3_memberships_do_not_depend_on_order() -> None:
    """7-3: the same set is the same bytes."""
    ids = [UUID(int=n) for n in (3, 1, 2)]
    assert memberships(ids) == memberships(reversed(ids))
    assert memberships(ids)[0] == {"group_id": str(UUID(int=1))}


def test_the_group_filter_is_as_documented() -> None:
    """API document, "Users": a GET with a JSON body of one group."""
    assert json.loads(group_filter(ID)) == {"groups": [{"group_id": str(ID)}]}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "me",
        "x",
        "../../users",
        f"{ID}/",
        f"{ID}?x=1",
        f"{ID}#",
        f"{ID}x",
        str(ID)[:-1],
        5,
        None,
        b"x",
        ID.bytes,
        [],
        ID.hex[:-1] + "g",
    ],
)
def test_ids_that_are_none_are_refused(value: object) -> None:
    """Section 9, 8-1: what is not a UUID is a `ValueError` that names the argument."""
    with pytest.raises(ValueError, match="group_id must be a UUID"):
        as_uuid(value, "group_id")
    with pytest.raises(ValueError, match="group_id must be a UUID"):
        id_text(value, "group_id")


@given(st.uuids())
def test_ids_are_taken_as_uuid_or_text(value: UUID) -> None:
    """Ids may be UUIDs or their text, in capitals too, and come out the same."""
    assert as_uuid(value, "x") == as_uuid(str(value), "x") == as_uuid(str(value).upper(), "x") == value
    assert as_uuid(value.hex, "x") == as_uuid(value.urn, "x") == as_uuid(f"{{{value}}}", "x") == value
    assert GROUPS.get(as_uuid(str(value).upper(), "x")).path == f"/printing/v1/groups/{value}/"


class Text(str):
    """Text that a path would show in another form, as Python 3.11 does for a member of a `str, Enum`."""

    __slots__ = ()

    def __format__(self, _: str) -> str:
        return "Ids.SALES"


@given(st.uuids())
def test_an_id_has_one_text(value: UUID) -> None:
    """Paths, names of locks and bodies have the form of the API, whatever the caller passes."""
    for given_id in (
        value,
        str(value),
        str(value).upper(),
        value.hex,
        value.urn,
        f"{{{value}}}",
        f"{value.hex}-",
        Text(str(value)),
    ):
        assert f"{id_text(given_id, 'x')}" == str(value)


@given(st.text(max_size=10))
def test_no_text_gets_out_of_its_place_in_a_path(text: str) -> None:
    """Paths are quoted: whatever passes the id check is one plain segment."""
    try:
        path = USERS.get(as_uuid(text, "x")).path
    except ValueError:
        return
    assert path.count("/") == USERS.path.count("/") + 1


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=10), max_size=4))
def test_query_values_are_quoted(params: dict[str, str]) -> None:
    """A query has no character that would end it or begin another part."""
    query = USERS.page(params).query
    assert not set(query) & set('#/?: \r\n\\"<>')


def test_names_have_1_to_255_characters() -> None:
    """API document, "Groups": 0 and 256 characters are refused, 1 and 255 are not."""
    for good in ("x", "x" * 255, "ü" * 255):
        assert checked_text(good, "name", shortest=1) == good
    for bad in ("", " ", "x" * 256, None, 5):
        with pytest.raises(ValueError, match="name"):
            checked_text(bad, "name", shortest=1)


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "100", "offset": "0"},
        {"cursor": "cD0yMDI0LTA1+/=="},
        {"a&b": "c d", "e": ""},
        {"limit": "\uff11", "offset": "é"},
        {},
    ],
)
def test_4_11_the_query_of_a_page_is_quoted(params: dict[str, str]) -> None:
    """4-11: whatever the parameters of a `next` link are."""
    assert USERS.page(params).query == urlencode(params)
