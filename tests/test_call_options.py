"""`session.with_options(...)`: views of a session with other time limits and retries."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import attrs
import pytest
from helpers.stub_servers import session_on
from helpers.support import QUICK, open_session, put, sandbox_in_a_thread, until

from ezeep_async import (
    BlockingGroups,
    BlockingSession,
    ConcurrentModification,
    ConnectFailed,
    DesiredState,
    EzeepSession,
    FileTokenStore,
    Groups,
    OAuthApp,
    RateLimited,
    RequestTimeout,
    ServerError,
    SessionClosed,
    Settings,
    run_sync,
)
from ezeep_async._text.redaction import Secret
from ezeep_async._wire.uploads import StoragePut
from ezeep_async.sandbox import Sandbox
from ezeep_async.settings import CallOptions


GET = "GET /printing/v1/users/{id}/"
LIST = "GET /printing/v1/groups/"
ME = "GET /v1/users/me/"
CONFIGURATION = "GET /sfapi/GetConfiguration/"


@pytest.fixture
def user(sandbox: Sandbox) -> str:
    return str(next(iter(sandbox.organization.users)))


async def test_the_calls_of_a_view_have_its_options(
    sandbox: Sandbox, session: EzeepSession, user: str
) -> None:
    """And those of the session keep theirs."""
    view = session.with_options(retries=0)
    assert type(view) is EzeepSession
    sandbox.faults.add(GET, status=500, times=1)
    with pytest.raises(ServerError):
        await view.users.get(user)
    sandbox.faults.add(GET, status=500, times=1)
    await session.users.get(user)


CALLS: list[tuple[str, Callable[[EzeepSession], Awaitable[object]]]] = [
    (ME, lambda view: view.accounts.me()),
    (LIST, lambda view: view.request("GET", "/printing/v1/groups/")),
    (LIST, lambda view: view.groups.find("x")),
    ("GET /printing/v1/assignments/", lambda view: view.printer_assignments.list().collect()),
    (CONFIGURATION, lambda view: view.printing.supported_types()),
    (LIST, lambda view: view.provisioning.plan(DesiredState.from_mapping({"x": []}))),
    ("GET /reporting/reports/{id}", lambda view: view.reports.get("x")),
    ("GET /webhooks/endpoints", lambda view: view.webhooks.list().collect()),
    ("GET /printing/v1/drivers/vendors/", lambda view: view.drivers.vendors()),
]


@pytest.mark.parametrize(("route", "call"), CALLS)
async def test_all_resources_of_a_view_have_its_options(
    sandbox: Sandbox,
    session: EzeepSession,
    route: str,
    call: Callable[[EzeepSession], Awaitable[object]],
) -> None:
    """Each sends one request only, which fails."""
    sandbox.faults.add(route, status=500)
    with pytest.raises(ServerError) as caught:
        await call(session.with_options(retries=0))
    assert caught.value.attempts == 1


@pytest.mark.slow
async def test_the_deadline_of_a_view(sandbox: Sandbox, session: EzeepSession, user: str) -> None:
    """The message names it."""
    hold = sandbox.faults.hold(GET)
    try:
        with pytest.raises(RequestTimeout, match=r"deadline of 0\.3 s"):
            await session.with_options(deadline=0.3).users.get(user)
        with pytest.raises(RequestTimeout, match=r"read_timeout of 0\.2 s"):
            await session.with_options(read_timeout=0.2, retries=0).users.get(user)
    finally:
        hold.release()


async def test_the_time_to_connect_of_a_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """For requests of the API, and for uploads."""

    async def slow(*_: object, **__: object) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", slow)
    async with session_on("https://a.example", connect_timeout=3600.0, deadline=3600.0, retries=0) as session:
        view = session.with_options(connect_timeout=0.05)
        with pytest.raises(ConnectFailed):
            await view.accounts.me()
        upload = StoragePut("upload", Secret("https://b.example/x"), {}, (b"x",), ())
        with pytest.raises(ConnectFailed):
            await view._api.storage().put(upload)


async def test_the_longest_retry_after_of_a_view(sandbox: Sandbox, session: EzeepSession, user: str) -> None:
    """A view with a short `max_retry_after` raises the error at once. Later calls of the session still wait for the `Retry-After`."""
    sandbox.faults.add(GET, status=429, retry_after=5, times=1)
    with pytest.raises(RateLimited):
        await session.with_options(max_retry_after=0.01).users.get(user)
    call = asyncio.create_task(session.users.get(user))
    await until(lambda: session.stats.waiting)
    call.cancel()


async def test_views_of_views_add_up(sandbox: Sandbox, session: EzeepSession, user: str) -> None:
    view = session.with_options(deadline=7.0).with_options(retries=0)
    assert view._api.settings == attrs.evolve(QUICK, deadline=7.0, retries=0)
    assert view.with_options()._api.settings == view._api.settings
    sandbox.faults.add(GET, status=500, times=1)
    with pytest.raises(ServerError):
        await view.users.get(user)


async def test_a_view_shares_everything_else(sandbox: Sandbox, session: EzeepSession, user: str) -> None:
    """Token set, connections, limiter, locks and counters."""
    await session.users.get(user)
    issued = len(sandbox.requests)
    views = [session.with_options(deadline=9.0) for _ in range(5)]
    await asyncio.gather(*(view.users.get(user) for view in views))
    assert session.stats.calls == views[0].stats.calls == 6
    assert session.stats.refreshes == 0
    assert len(sandbox.requests) == issued + 5
    assert views[0].keep_alive() is session.keep_alive()
    assert await views[0].oauth.refresh()
    assert session.stats.refreshes == 1


async def test_writers_of_a_session_and_its_views_take_turns(
    sandbox: Sandbox, session: EzeepSession, user: str
) -> None:
    """No membership is lost."""
    groups = [str(each) for each in sandbox.organization.groups][:6]
    await session.users.set_groups(user, [])
    writers = [session, *(session.with_options(deadline=5.0 + n) for n in range(5))]
    await asyncio.gather(
        *(each.users.add_to_groups(user, group) for each, group in zip(writers, groups, strict=True))
    )
    assert len((await session.users.get(user)).group_ids) == 6


async def test_views_share_what_the_session_has_read(sandbox: Sandbox, session: EzeepSession) -> None:
    """The types and printers for printing, and where a printer is in the list of assignments."""
    printer = sandbox.printing.add_printer("P").id
    group = next(iter(sandbox.organization.groups))
    for view in (session, session.with_options(deadline=5.0), session.with_options(retries=0)):
        await view.printing.supported_types()
        await view.printers.get(printer)
        await view.printers.properties(printer)
        await view.printer_assignments.assign(printer, group)
    assert sandbox.count("GET /sfapi/GetPrinter/") == 1
    assert sandbox.count("GET /sfapi/GetPrinterProperties/") == 1
    assert sandbox.count(CONFIGURATION) == 1


@pytest.mark.slow
async def test_a_view_does_not_wait_for_a_read_with_other_limits(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """The read of the session takes longer than the deadline of the view."""
    hold = sandbox.faults.hold(CONFIGURATION, times=2)
    slow = asyncio.create_task(session.printing.supported_types())
    await hold.arrived()
    with pytest.raises(RequestTimeout, match=r"deadline of 0\.2 s"):
        await session.with_options(deadline=0.2).printing.supported_types()
    hold.release()
    assert await slow


@pytest.mark.slow
async def test_an_upload_of_a_view_has_its_options(sandbox: Sandbox, session: EzeepSession) -> None:
    """And the same limiter as those of the session."""
    printer = sandbox.printing.add_printer("P").id
    view = session.with_options(retries=0)
    sandbox.faults.add("PUT /userstorage/{id}", status=500, times=1)
    with pytest.raises(ServerError):
        await view.printing.print_file(b"x", printer, type="pdf")
    sandbox.faults.add("PUT /userstorage/{id}", status=500, times=1)
    await session.printing.print_file(b"x", printer, type="pdf")
    assert view._api.storage()._limiter is session._api.storage()._limiter


@pytest.mark.slow
async def test_the_wait_for_another_process_ends_with_the_deadline_of_the_view(
    sandbox: Sandbox, user: str, tmp_path: Path
) -> None:
    """The lock is held by a session with a store of its own at the same path, as in another process."""
    store = FileTokenStore(tmp_path / "login.json")
    await put(store, sandbox.tokens())
    async with open_session(sandbox, store) as session:
        async with session._core._store.shared_locks().hold(
            json.dumps((sandbox.endpoints.api, "user", user))
        ):
            with pytest.raises(ConcurrentModification, match=r"more than 0\.3 s"):
                await session.with_options(deadline=0.3).users.add_to_groups(
                    user, next(iter(sandbox.organization.groups))
                )


async def test_a_view_closes_nothing(sandbox: Sandbox, session: EzeepSession, user: str) -> None:
    """Neither `async with` nor `aclose()`; and its calls raise once the session is closed."""
    async with session.with_options(retries=1) as view:
        await view.users.get(user)
    await view.aclose()
    await session.users.get(user)
    await view.users.get(user)
    await session.aclose()
    with pytest.raises(SessionClosed):
        await view.users.get(user)
    with pytest.raises(SessionClosed):
        await view.users.add_to_groups(user, user)
    with pytest.raises(SessionClosed):
        await session.with_options(retries=0).users.get(user)


async def test_a_view_keeps_what_a_program_has_replaced(
    sandbox: Sandbox, session: EzeepSession, user: str
) -> None:
    """A fake in the place of a resource, which a test expects to be used, and attributes of a subclass."""

    class Mine(EzeepSession):
        tenant = "none"

    mine = Mine(OAuthApp("client"))
    mine.tenant = "a"
    fake: Any = create_autospec(Groups, instance=True)
    real = mine.users
    mine.groups = fake
    view = mine.with_options(retries=0).with_options(deadline=1.0)
    assert (view.groups, view.tenant) == (fake, "a")
    assert view.users is not real


async def test_views_share_what_the_session_has_learnt(
    sandbox: Sandbox, session: EzeepSession, user: str
) -> None:
    """A server that refuses PATCH gets one PATCH from all views of a session together."""
    sandbox.faults.add("PATCH /printing/v1/users/{id}/", status=405, times=None)
    for n in range(3):
        await session.with_options(deadline=5.0 + n).users.set_groups(user, [])
    assert sandbox.count("PATCH /printing/v1/users/{id}/") == 1


@pytest.mark.slow
async def test_the_deadline_of_a_view_ends_before_a_shared_refresh(
    sandbox: Sandbox, session: EzeepSession, user: str
) -> None:
    """The refresh goes on, and its token set is that of all. Without retries, too, a 401 is replayed."""
    await session.users.get(user)
    hold = sandbox.faults.hold("POST /oauth/access_token/")
    sandbox.faults.add(GET, status=401, times=2)
    slow = asyncio.create_task(session.users.get(user))
    await hold.arrived()
    with pytest.raises(RequestTimeout, match=r"deadline of 0\.1 s"):
        await session.with_options(deadline=0.1, retries=0).users.get(user)
    hold.release()
    assert (await slow).id == (await session.with_options(retries=0).users.get(user)).id
    assert session.stats.refreshes == 1


async def test_a_view_can_open_its_session(sandbox: Sandbox, user: str) -> None:
    session = open_session(sandbox)
    async with session.with_options(retries=1) as view:
        assert "open" in repr(session)
        assert repr(view).startswith("<view of EzeepSession open")
    await session.aclose()


async def test_again_on_a_view_makes_a_session_with_its_settings(sandbox: Sandbox, user: str) -> None:
    """A session of its own, which is closed like every other."""
    session = open_session(sandbox)
    async with session.with_options(deadline=3.0).again() as other:
        assert other._api.settings == attrs.evolve(QUICK, deadline=3.0)
        await other.users.get(user)
    assert "closed" in repr(other)
    assert "new" in repr(session)


@pytest.mark.parametrize("blocking", [False, True])
def test_what_does_not_concern_one_call_is_refused(blocking: bool) -> None:
    """With the options that there are."""
    session: Any = EzeepSession(OAuthApp("client"))
    session = run_sync(session) if blocking else session
    for wrong in ({"proxy": None}, {"concurrency": 1, "retries": 0}, {"timeout": 1.0}):
        with pytest.raises(
            TypeError, match="deadline, connect_timeout, read_timeout, retries, max_retry_after"
        ) as caught:
            session.with_options(**wrong)
        assert next(iter(wrong)) in str(caught.value)
    with pytest.raises(ValueError, match="deadline must be a positive number, not 0"):
        session.with_options(deadline=0)
    with pytest.raises(TypeError):
        session.with_options(10.0)


def test_the_options_are_fields_of_the_settings() -> None:
    """With the same types."""
    types = {field.name: field.type for field in attrs.fields(Settings)}
    assert {name: types[name] for name in CallOptions.__annotations__} == {
        name: each.__forward_arg__ for name, each in CallOptions.__annotations__.items()
    }


class TestBlocking:
    """The blocking twin of a view."""

    pytestmark = pytest.mark.may_block

    @pytest.fixture
    def server(self):
        with sandbox_in_a_thread() as sandbox:
            yield sandbox

    @pytest.fixture
    def blocking(self, server: Sandbox):
        with run_sync(open_session(server)) as session:
            yield session

    def test_its_calls_have_the_options(self, server: Sandbox, blocking: BlockingSession) -> None:
        user = next(iter(server.organization.users))
        view = blocking.with_options(retries=0)
        assert type(view) is BlockingSession
        for each in (view, view.with_options(deadline=5.0)):
            server.faults.add(GET, status=500, times=1)
            with pytest.raises(ServerError):
                each.users.get(user)
        server.faults.add(GET, status=500, times=1)
        assert blocking.users.get(user).id == user
        assert blocking.stats.calls == view.stats.calls == 3
        server.faults.add(CONFIGURATION, status=500, times=1)
        with pytest.raises(ServerError):
            view.printing.supported_types()

    def test_it_closes_nothing(self, server: Sandbox, blocking: BlockingSession) -> None:
        with blocking.with_options(retries=0) as view:
            view.accounts.me()
        view.close()
        assert view.accounts.me() == blocking.accounts.me()
        blocking.close()
        with pytest.raises(SessionClosed):
            view.accounts.me()
        with pytest.raises(SessionClosed):
            blocking.with_options(retries=0)

    def test_it_keeps_what_a_program_has_replaced(self, blocking: BlockingSession) -> None:
        """As the view of an async session does."""
        fake: Any = create_autospec(BlockingGroups, instance=True)
        blocking.groups = fake
        real = blocking.users
        vars(blocking)["tenant"] = "a"
        view = blocking.with_options(retries=0)
        assert (view.groups, vars(view)["tenant"]) == (fake, "a")
        assert view.users is not real

    def test_run_sync_of_a_view(self, server: Sandbox) -> None:
        """The session stays the one that is closed."""
        session = open_session(server)
        view = run_sync(session.with_options(retries=0))
        with run_sync(session) as blocking:
            server.faults.add(ME, status=500, times=1)
            with pytest.raises(ServerError):
                view.accounts.me()
            view.close()
            assert blocking.accounts.me()
        with pytest.raises(SessionClosed):
            view.accounts.me()

    @pytest.mark.slow
    def test_a_forked_child_has_a_view_of_its_own_session(self, server: Sandbox, tmp_path: Path) -> None:
        """With the same options."""
        store = FileTokenStore(tmp_path / "login.json")
        context = multiprocessing.get_context("fork")
        with run_sync(open_session(server, store, tokens=server.tokens())) as session:
            view = session.with_options(retries=0)
            assert view.accounts.me()
            server.faults.add(ME, status=500, times=1)
            results = context.Queue()
            child = context.Process(target=_attempts, args=(view, results))
            child.start()
            assert results.get(timeout=10) == 1
            child.join(10)
            assert child.exitcode == 0
            assert view.accounts.me()


def _attempts(view: BlockingSession, results: Any) -> None:
    try:
        view.accounts.me()
    except ServerError as error:
        results.put(error.attempts)
    else:
        results.put("no error")
