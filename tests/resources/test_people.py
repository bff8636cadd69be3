"""`session.people`: users joined with accounts."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from helpers.stub_servers import no_jitter
from helpers.support import open_session, sandbox_in_a_thread

from ezeep_async import (
    EzeepSession,
    MemoryTokenStore,
    NotFound,
    PermissionDenied,
    Person,
    ServerError,
    run_sync,
)
from ezeep_async.sandbox import Person as Account
from ezeep_async.sandbox import Sandbox


USERS, USER = "GET /printing/v1/users/", "GET /printing/v1/users/{id}/"
ACCOUNTS, ACCOUNT = "GET /v1/users/", "GET /v1/users/{id}/"


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


async def test_users_and_accounts_are_joined(session: EzeepSession, sandbox: Sandbox) -> None:
    """One pass of each listing, in the order of the users, with what both have."""
    people = await session.people.list(page_size=50, concurrency=2).collect()
    assert (sandbox.count(USERS), sandbox.count(ACCOUNTS)) == (3, 3)
    assert [person.user for person in people] == await session.users.list().collect()
    for person in people:
        there = sandbox.organization.people[person.id]
        assert person.account is not None
        assert (person.account.id, person.account.email) == (person.id, person.email)
        assert (person.email, person.display_name) == (there.email, there.display_name)
        assert person.group_ids == person.user.group_ids
    assert [person async for person in session.people.list(page_size=7)] == people
    assert people[0].to_dict() == {
        "user": people[0].user.to_dict(),
        "account": people[0].account and people[0].account.to_dict(),
    }


async def test_each_reading_is_a_new_one(session: EzeepSession, sandbox: Sandbox) -> None:
    """Two loops over one listing read the accounts twice."""
    listing = session.people.list()
    before = await listing.collect()
    sandbox.organization.people[before[0].id].email = "other@example.com"
    assert (await listing.collect())[0].email == "other@example.com"
    assert before[0].email != "other@example.com"


async def test_people_in_a_group(session: EzeepSession, sandbox: Sandbox) -> None:
    """Also where the server ignores the filter."""
    group = next(group for group in sandbox.organization.groups if sandbox.organization.num_members(group))
    members = await session.groups.members(group).collect()
    for honoured in (True, False):
        sandbox.behaviour.honour_group_filter = honoured
        people = session.people.list(group=group)
        assert [person.user for person in await people.collect()] == members
        assert await people.count() == len(members)
        first = await people.first()
        assert first is not None
        assert (first.user, first.email) == (members[0], sandbox.organization.people[first.id].email)


async def test_users_without_accounts_and_accounts_without_users(
    session: EzeepSession, sandbox: Sandbox
) -> None:
    """The first are people without an account, the second are not listed."""
    users = await session.users.list().collect()
    organization = sandbox.organization
    organization._sorted_people.remove(organization.people.pop(users[0].id))
    organization.add_person(Account(uuid4(), "new@example.com"))
    people = await session.people.list().collect()
    assert [person.user for person in people] == users
    assert (people[0].account, people[0].email, people[0].display_name) == (None, "", "")
    assert all(person.account for person in people[1:])
    assert await session.people.get(users[0].id) == people[0]
    assert await session.people.list().first() == people[0]


async def test_who_may_not_read_the_directory(
    sandbox: Sandbox, session: EzeepSession, caplog: pytest.LogCaptureFixture
) -> None:
    """An ordinary user sees their own account; a 403 for the directory shows none, and logs a warning."""
    other = next(each for each in sandbox.organization.people if each != sandbox.organization.admin_id)
    tokens = MemoryTokenStore(sandbox.tokens(other))
    async with open_session(sandbox, tokens) as ordinary:
        people = await ordinary.people.list().collect()
        assert len(people) == 134
        assert [person.id for person in people if person.account] == [other]
    sandbox.faults.add(ACCOUNTS, status=403, times=None)
    sandbox.faults.add(ACCOUNT, status=403, times=None)
    assert caplog.messages == []
    assert not any(person.account for person in await session.people.list().collect())
    assert caplog.messages == [
        "the logged-in user may not list the accounts: people have no names and addresses"
    ]
    assert (await session.people.get(other)).account is None


async def test_a_403_for_a_later_page_of_the_directory(session: EzeepSession, sandbox: Sandbox) -> None:
    """It is an error: people whose accounts were read must not lose them in silence."""
    sandbox.faults.add(ACCOUNTS, nth=2, status=403)
    with pytest.raises(PermissionDenied):
        await session.people.list(page_size=50)


async def test_first_and_count_do_not_read_the_directory(session: EzeepSession, sandbox: Sandbox) -> None:
    """They take one request for the user, and one for its account."""
    assert await session.people.list().count() == 134
    first = await session.people.list(offset=3).first()
    assert (sandbox.count(USERS), sandbox.count(ACCOUNTS), sandbox.count(ACCOUNT)) == (2, 0, 1)
    assert first == (await session.people.list().collect())[3]
    assert await session.people.list(offset=200).first() is None
    with pytest.raises(NotFound):
        await session.people.get(uuid4())


async def test_a_change_of_the_accounts_is_drift(session: EzeepSession, sandbox: Sandbox) -> None:
    """A row of the directory may be missing: `drift` is about both listings."""
    listing = session.people.list(page_size=50)
    await listing.collect()
    assert not listing.drift
    hold = sandbox.faults.hold(ACCOUNTS)
    async with listing.pages() as pages:
        page = asyncio.create_task(anext(pages))
        await hold.arrived()
        hold.release(1)
        await hold.arrived(2)
        sandbox.organization.add_user(email="new@example.com")
        hold.release()
        assert (await page).items
    assert listing.drift


async def test_a_failed_listing_says_where_it_was(session: EzeepSession, sandbox: Sandbox) -> None:
    """`items_so_far` are people, and `resume_offset` is one of the users."""
    sandbox.faults.add(ACCOUNTS, nth=2, status=500, times=None)
    async with session.people.list(page_size=50, offset=50).pages() as pages:
        with pytest.raises(ServerError) as caught:
            await anext(pages)
    assert caught.value.resume_offset == 50
    with pytest.raises(ServerError) as caught:
        await session.people.list(page_size=50).collect()
    assert caught.value.items_so_far == []
    sandbox.faults.clear()
    sandbox.faults.add(USERS, nth=2, status=500, times=None)
    with pytest.raises(ServerError) as caught:
        await session.people.list(page_size=50).collect()
    assert [type(each) for each in caught.value.items_so_far] == [Person] * 50


@pytest.mark.may_block
def test_people_without_await() -> None:
    """The blocking twin."""
    with sandbox_in_a_thread(users=12) as server, run_sync(open_session(server)) as session:
        people = session.people.list(page_size=5).collect()
        assert len(people) == session.people.list().count() == 12
        assert session.people.get(people[0].id) == session.people.list().first() == people[0]
        assert [person.email for person in session.people.list(group=None)] == [each.email for each in people]
