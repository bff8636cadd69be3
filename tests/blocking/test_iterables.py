"""Iterables that are given to blocking methods are read in the caller's thread."""

from __future__ import annotations

import inspect
import threading
from collections import UserDict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from helpers.support import QUICK, sandbox_in_a_thread

import ezeep_async
from ezeep_async import BlockingSession, DesiredState, EzeepSession, InvalidInput, User, run_sync
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.may_block


@pytest.fixture
def server():
    with sandbox_in_a_thread() as sandbox:
        yield sandbox


@pytest.fixture
def blocking(server: Sandbox):
    session = EzeepSession(
        server.oauth_app,
        tokens=server.tokens(scope="printing webhooks"),
        endpoints=server.endpoints,
        settings=QUICK,
    )
    with run_sync(session) as opened:
        yield opened


@pytest.fixture
def user(blocking: BlockingSession) -> User:
    user = blocking.users.list().first()
    assert user is not None
    return user


def test_a_generator_over_a_listing(blocking: BlockingSession, user: User) -> None:
    """Its blocking calls are made in the thread of the caller, where they are allowed."""
    groups = [group.id for group in blocking.groups.list()]
    everything = blocking.users.set_groups(user, (group.id for group in blocking.groups.list(page_size=5)))
    assert everything.group_ids == {*groups}
    assert blocking.users.set_groups(user, blocking.groups.list()).group_ids == {*groups}
    names = (group for group in blocking.groups.list() if blocking.groups.get(group).id == groups[0])
    assert blocking.users.change_groups(user, remove=names).group_ids == {*groups[1:]}
    assert blocking.users.change_groups(user, iter([groups[0]])).group_ids == {*groups}
    plan = blocking.provisioning.plan(
        DesiredState.from_mapping({"New": []}),
        protect_users=(each.id for each in blocking.users.list()),
        protect_groups=blocking.groups.list(),
    )
    assert plan.removals == 0


CALLS: dict[str, Callable[[BlockingSession, Any], object]] = {
    "set_groups": lambda blocking, values: blocking.users.set_groups(blocking.users.list().first(), values),
    "keyword": lambda blocking, values: blocking.users.set_groups(
        group_ids=values, user_id=blocking.users.list().first()
    ),
    "add": lambda blocking, values: blocking.users.change_groups(blocking.users.list().first(), values),
    "remove": lambda blocking, values: blocking.users.change_groups(
        blocking.users.list().first(), (), remove=values
    ),
    "topics": lambda blocking, values: blocking.webhooks.create("x", "https://hooks.example.com/", values),
    "roles": lambda blocking, values: blocking.accounts.update(blocking.accounts.me(), roles=values),
    "protect_users": lambda blocking, values: blocking.provisioning.plan(
        DesiredState.from_mapping({"New": []}), protect_users=values
    ),
    "protect_groups": lambda blocking, values: blocking.provisioning.plan(
        DesiredState.from_mapping({"New": []}), protect_groups=values
    ),
    "printing": lambda blocking, values: blocking.printing.print_file(
        values, blocking.printers.list().first(), type="pdf"
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_iterable_is_read_in_the_thread_of_the_caller(blocking: BlockingSession, name: str) -> None:
    """And its exception leaves the call unchanged, with the variables of its frames. Nothing is written."""
    threads: set[threading.Thread] = set()
    failure = LookupError("in the generator")

    def values() -> Iterator[object]:
        secret = "kept"
        threads.add(threading.current_thread())
        blocking.accounts.me()
        if secret:
            raise failure
        yield

    with pytest.raises(LookupError) as caught:
        CALLS[name](blocking, values())
    assert caught.value is failure
    assert threads == {threading.current_thread()}
    assert failure.__cause__ is None
    assert "secret" in caught.traceback[-1].frame.f_locals


@pytest.mark.parametrize("fails_in", ["the generator", "the call"])
def test_no_traceback_shows_the_other_arguments(blocking: BlockingSession, fails_in: str) -> None:
    """Such as a password, which is beside the iterable."""
    password = "a-long-password"

    def topics() -> Iterator[str]:
        if fails_in == "the generator":
            raise LookupError
        yield ""

    with pytest.raises((LookupError, ValueError)) as caught:
        blocking.webhooks.create("x", "https://hooks.example.com/", topics(), username="x", password=password)
    package = Path(ezeep_async.__file__).parent
    inside = [each for each in caught.traceback if Path(each.path).is_relative_to(package)]
    assert inside or fails_in == "the call"
    assert not [each for each in inside if password in repr(each.frame.f_locals)]


class Fetched(deque[object]):
    """A collection that loads its items when it is read, such as a query set of Django."""

    threads: set[threading.Thread]

    def __iter__(self) -> Iterator[object]:
        self.threads = {threading.current_thread()}
        return super().__iter__()


def test_collections_of_other_libraries(server: Sandbox, blocking: BlockingSession, user: User) -> None:
    """Also a mapping, and those that have a length."""
    group = next(iter(server.organization.groups))
    values = Fetched([group])
    assert blocking.users.set_groups(user, values).group_ids == {group}
    assert values.threads == {threading.current_thread()}
    assert blocking.request("GET", "/printing/v1/groups/", UserDict({"limit": 1}))["count"] == 13


ASYNC_CALLS: dict[str, Callable[[EzeepSession, Any], Any]] = {
    "set_groups": lambda session, values: session.users.set_groups(str(UUID(int=1)), values),
    "add": lambda session, values: session.users.change_groups(str(UUID(int=1)), values),
    "topics": lambda session, values: session.webhooks.create("x", "https://hooks.example.com/", values),
    "roles": lambda session, values: session.accounts.update(str(UUID(int=1)), roles=values),
    "protect_users": lambda session, values: session.provisioning.plan(
        DesiredState.from_mapping({"New": []}), protect_users=values
    ),
    "protect_groups": lambda session, values: session.provisioning.plan(
        DesiredState.from_mapping({"New": []}), protect_groups=values
    ),
}


def used_up() -> Iterator[object]:
    """A generator that an earlier call has read."""
    values = (value for value in ["x"])
    assert [*values] == ["x"]
    return values


@pytest.mark.parametrize("name", [name for name in CALLS if name != "printing"])
def test_a_generator_that_was_read_before_is_refused(
    blocking: BlockingSession, server: Sandbox, name: str
) -> None:
    """It looks like an empty list: a loop over users with one generator would remove all but the first from their groups."""
    with pytest.raises(ValueError, match="is a generator that was read before"):
        CALLS[name](blocking, used_up())
    assert {each.method for each in server.requests if "/oauth" not in each.path} <= {"GET"}


@pytest.mark.parametrize("name", ASYNC_CALLS)
async def test_a_generator_that_was_read_before_is_refused_by_async_methods(
    sandbox: Sandbox, name: str
) -> None:
    """An empty one is an empty list."""
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(scope="webhooks"), endpoints=sandbox.endpoints
    ) as session:
        with pytest.raises(ValueError, match="is a generator that was read before"):
            await ASYNC_CALLS[name](session, used_up())
        assert not sandbox.requests
        user = next(iter(sandbox.organization.users))
        assert not (await session.users.set_groups(user, (each for each in []))).groups


def test_members_of_a_generator_that_was_read_before() -> None:
    """One generator for two groups: the second would lose all of its members."""
    members = (address for address in ["a@example.com"])
    with pytest.raises(InvalidInput, match="the members of 'B' are a generator that was read before"):
        DesiredState.from_mapping({"A": members, "B": members})


def test_values_that_are_no_lists_have_the_errors_of_the_async_method(
    blocking: BlockingSession, user: User
) -> None:
    for wrong in (str(user.id), user.id, user, 5, None, b"x"):
        values: Any = wrong
        with pytest.raises(ValueError, match="pass a list"):
            blocking.users.set_groups(user, values)


def test_every_parameter_for_iterables_is_in_the_test() -> None:
    """A new one has to be read in the thread of the caller, too."""
    found = {
        parameter.name
        for name in EzeepSession.__annotations__
        for _, method in inspect.getmembers(type(getattr(EzeepSession, name)), inspect.iscoroutinefunction)
        for parameter in inspect.signature(method).parameters.values()
        if any(
            kind in str(parameter.annotation)
            for kind in ("Iterable[", "Sequence[", "Collection[", "Iterator[")
        )
    }
    assert found == {"group_ids", "add", "remove", "topics", "roles", "protect_users", "protect_groups"}
