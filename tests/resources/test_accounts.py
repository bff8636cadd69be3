"""The account directory."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from helpers.stub_servers import no_jitter, quick

from ezeep_async import AccountUser, BadRequest, EzeepSession, NotFound, PermissionDenied
from ezeep_async.sandbox import Sandbox


PATCH = "PATCH /v1/users/{id}/"


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


@pytest.fixture
def other(sandbox: Sandbox) -> UUID:
    return next(person for person in sandbox.organization.people if person != sandbox.organization.admin_id)


async def test_everybody_is_listed_for_an_admin(session: EzeepSession, sandbox: Sandbox) -> None:
    """An administrator sees all accounts, page by page (docs/ezeep-api.md#account-directory)."""
    people = await session.accounts.list(page_size=50, concurrency=2).collect()
    assert {person.id for person in people} == set(sandbox.organization.people)
    assert len(people) == len(sandbox.organization.people)


async def test_an_ordinary_user_sees_itself(sandbox: Sandbox, other: UUID) -> None:
    """An ordinary user sees only their own account, and may not read others."""
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(other), endpoints=sandbox.endpoints, settings=quick()
    ) as session:
        assert [person.id for person in await session.accounts.list().collect()] == [other]
        assert (await session.accounts.me()).id == other
        assert (await session.accounts.me()).is_admin is False
        with pytest.raises(PermissionDenied):
            await session.accounts.get(sandbox.organization.admin_id)


async def test_one_person_and_oneself(session: EzeepSession, sandbox: Sandbox, other: UUID) -> None:
    """`get` and `me` return typed records."""
    me = await session.accounts.me()
    assert isinstance(me, AccountUser)
    assert me.id == sandbox.organization.admin_id
    assert me.is_admin
    assert await session.accounts.get(str(me.id)) == me
    assert (await session.accounts.get(other)).email == sandbox.organization.people[other].email
    with pytest.raises(NotFound):
        await session.accounts.get(uuid4())


async def test_9_3_update_sends_what_is_given(session: EzeepSession, sandbox: Sandbox, other: UUID) -> None:
    """9-3: the given fields are sent, also empty ones, and no others."""
    person = await session.accounts.update(other, first_name="", last_name="New", roles=("user",))
    assert json.loads(sandbox.requests[-1].body) == {"first_name": "", "last_name": "New", "roles": ["user"]}
    assert (person.first_name, person.last_name, person.roles) == ("", "New", ("user",))
    await session.accounts.update(other, email="new@example.com")
    assert json.loads(sandbox.requests[-1].body) == {"email": "new@example.com"}


async def test_6_13_updates_may_be_repeated(session: EzeepSession, sandbox: Sandbox, other: UUID) -> None:
    """6-13: setting fields is safe to repeat."""
    sandbox.faults.add(PATCH, drop="after")
    assert (await session.accounts.update(other, first_name="A")).first_name == "A"
    assert sandbox.count(PATCH) == 2


async def test_updates_that_make_no_sense_are_refused_unsent(
    session: EzeepSession, sandbox: Sandbox, other: UUID
) -> None:
    """No field, or a text in place of a list of roles: `ValueError`; nothing is sent."""
    with pytest.raises(ValueError, match="field"):
        await session.accounts.update(other)
    bad: Any
    for bad in ("admin", b"admin", 5, None):
        with pytest.raises(ValueError, match="roles"):
            await session.accounts.update(other, roles=bad)
    assert sandbox.requests == []


async def test_9_3_roles_that_can_be_read_once_are_sent(
    session: EzeepSession, sandbox: Sandbox, other: UUID
) -> None:
    """9-3: checking the roles of a generator does not exhaust it: an empty list would remove all roles."""
    words: Any = (role for role in ("admin", "user"))
    person = await session.accounts.update(other, roles=words)
    assert json.loads(sandbox.requests[-1].body) == {"roles": ["admin", "user"]}
    assert person.roles == ("admin", "user")


async def test_3_8_refused_values_are_named(session: EzeepSession, other: UUID) -> None:
    """3-8: the field errors of the server are in the error."""
    with pytest.raises(BadRequest) as caught:
        await session.accounts.update(other, email="nonsense", roles=["king"])
    assert set(caught.value.field_errors) == {"email", "roles"}


async def test_3_6_delete(session: EzeepSession, sandbox: Sandbox, other: UUID) -> None:
    """3-6: deleted, also when the response was lost; `NotFound` for an unknown account."""
    sandbox.faults.add("DELETE /v1/users/{id}/", drop="after")
    await session.accounts.delete(other)
    assert other not in sandbox.organization.people
    with pytest.raises(NotFound):
        await session.accounts.delete(other)


@pytest.mark.parametrize("bad", ["", "me", "x", None, 5])
async def test_bad_ids_are_refused_before_any_request(
    session: EzeepSession, sandbox: Sandbox, bad: Any
) -> None:
    """An id that is no UUID, such as `me`, is a `ValueError`; nothing is sent."""
    for call in (
        lambda: session.accounts.get(bad),
        lambda: session.accounts.update(bad, first_name="x"),
        lambda: session.accounts.delete(bad),
    ):
        with pytest.raises(ValueError, match="UUID"):
            await call()
    assert sandbox.requests == []


async def test_9_the_account_calls_go_to_the_account_host(session: EzeepSession, sandbox: Sandbox) -> None:
    """Accounts and printing are on two hosts (docs/ezeep-api.md#hosts)."""
    await session.accounts.me()
    await session.invitations.list().collect()
    await session.users.list().first()
    assert [seen.host for seen in sandbox.requests] == ["account", "account", "api"]
