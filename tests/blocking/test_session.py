"""`BlockingSession` against the sandbox: requirements 5-1 to 5-10."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import types
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import attrs
import pytest
from helpers.support import ME, QUICK, Clock, expired, open_session, put, sandbox_in_a_thread

from ezeep_async import (
    BlockingCallError,
    BlockingPaginator,
    BlockingSession,
    BlockingSessionPool,
    EzeepSession,
    FileTokenStore,
    MemoryTokenStore,
    NotFound,
    Paginator,
    SessionClosed,
    SessionPool,
    TokenStoreError,
    run_sync,
)
from ezeep_async.auth import keep_alive
from ezeep_async.auth.oauth import OAuth, OAuthLogin
from ezeep_async.blocking.pool import BlockingOAuthLogin
from ezeep_async.blocking.session import (
    BlockingAccounts,
    BlockingConnectors,
    BlockingDrivers,
    BlockingGroups,
    BlockingInvitations,
    BlockingOAuth,
    BlockingPeople,
    BlockingPrinterAssignments,
    BlockingReports,
    BlockingUsers,
    BlockingWebhooks,
)
from ezeep_async.resources.accounts import Accounts
from ezeep_async.resources.assignments import PrinterAssignments
from ezeep_async.resources.connectors import Connectors, Drivers
from ezeep_async.resources.groups import Groups
from ezeep_async.resources.invitations import Invitations
from ezeep_async.resources.people import People
from ezeep_async.resources.reports import Reports
from ezeep_async.resources.users import Users
from ezeep_async.resources.webhooks import Webhooks
from ezeep_async.sandbox import SANDBOX_ADMIN, Sandbox


pytestmark = pytest.mark.may_block

TWINS = [
    (EzeepSession, BlockingSession),
    (OAuth, BlockingOAuth),
    (Groups, BlockingGroups),
    (Users, BlockingUsers),
    (Accounts, BlockingAccounts),
    (Invitations, BlockingInvitations),
    (People, BlockingPeople),
    (PrinterAssignments, BlockingPrinterAssignments),
    (Connectors, BlockingConnectors),
    (Drivers, BlockingDrivers),
    (Webhooks, BlockingWebhooks),
    (Reports, BlockingReports),
    (SessionPool, BlockingSessionPool),
    (OAuthLogin, BlockingOAuthLogin),
]


@pytest.fixture
def server():
    with sandbox_in_a_thread() as sandbox:
        yield sandbox


@pytest.fixture
def blocking(server: Sandbox):
    with run_sync(open_session(server)) as session:
        yield session


def test_every_resource_works_without_await(server: Sandbox, blocking: BlockingSession) -> None:
    """5-1: a plain script reads and writes with every resource."""
    organization = server.organization.organization_id
    group, created = blocking.groups.ensure("Blocking", organization, description="x")
    assert created
    assert blocking.groups.get(group.id) == group
    assert blocking.groups.update(group.id, description="").description == ""
    user = blocking.users.list().first()
    assert user is not None
    assert group.id in blocking.users.add_to_groups(user.id, group.id).group_ids
    assert [member.id for member in blocking.groups.members(group.id)] == [user.id]
    assert group.id not in blocking.users.remove_from_groups(user.id, group.id).group_ids
    assert blocking.users.set_groups(user.id, user.group_ids).group_ids == user.group_ids
    assert blocking.groups.delete(group.id) is None
    assert blocking.accounts.me().email == SANDBOX_ADMIN
    assert blocking.invitations.create("new@example.com").email == "new@example.com"
    assert blocking.request("GET", "/printing/v1/groups/", params={"limit": 1})["count"] == 13
    assert blocking.oauth.refresh().access_token
    with pytest.raises(NotFound):
        blocking.groups.get(group.id)


def test_the_administration_works_without_await(server: Sandbox, tmp_path: Path) -> None:
    """5-1: assignments, connectors, drivers, webhooks and reports."""
    group = next(iter(server.organization.groups))
    printer = server.printing.add_printer("P").id
    tokens = server.tokens(scope="printing webhooks reporting")
    with run_sync(open_session(server, MemoryTokenStore(tokens))) as blocking:
        assert blocking.printer_assignments.assign(printer, group).group_ids == {group}
        assert [each.id for each in blocking.printer_assignments.list(group=group)] == [printer]
        assert blocking.printer_assignments.remove(printer, group).groups == ()
        assert [each.type for each in blocking.connectors.list(type="Virtual")] == ["Virtual"]
        vendor = blocking.drivers.vendors()[0]
        assert {driver.vendor for driver in blocking.drivers.list(vendor)} == {vendor}
        webhook = blocking.webhooks.create("A", "https://hooks.example.com/", ["printjob_failed"])
        assert blocking.webhooks.update(webhook.id, "B") == blocking.webhooks.get(webhook.id)
        assert [each.name for each in blocking.webhooks.list()] == ["B"]
        assert blocking.webhooks.delete(webhook.id) is None
        report = blocking.reports.create("2026-10-01", "2026-11-01")
        assert blocking.reports.wait(report.id, interval=0.01) == blocking.reports.get(report.id)
        assert blocking.reports.download(report.id, tmp_path / "report.csv") == 58


def test_listings_cross_the_thread_by_page(server: Sandbox, blocking: BlockingSession) -> None:
    """4-12: iteration, pages, collect, first and count work, and a loop that is left early stops the requests."""
    users = blocking.users.list(page_size=10)
    assert isinstance(users, BlockingPaginator)
    assert len(list(users)) == len(users.collect()) == users.count() == 134
    assert [len(page.items) for page in users.pages()][:2] == [10, 10]
    server.reset_counts()
    for _ in blocking.users.list(page_size=10):
        break
    assert server.count("GET /printing/v1/users/") <= 2


def test_5_8_every_public_method_has_a_blocking_method() -> None:
    """5-8: name, parameters, defaults and docstring are those of the async method, the docstring without `await`."""
    for async_class, blocking_class in TWINS:
        for name, function in inspect.getmembers(async_class, inspect.isfunction):
            if name.startswith("_") or name in {"aclose", "again"}:
                continue
            twin = inspect.getattr_static(blocking_class, name)
            expected = list(inspect.signature(function).parameters.values())[1:]
            bound = twin.__get__(types.SimpleNamespace(_aio=None), blocking_class)
            assert list(inspect.signature(bound).parameters.values()) == expected, (async_class, name)
            assert bound.__doc__ == re.sub(r"\b(await|async) ", "", function.__doc__)


def test_5_8_the_blocking_session_has_the_same_attributes(server: Sandbox) -> None:
    """5-8: oauth, groups, users, accounts, invitations, request."""
    session = EzeepSession(server.oauth_app)
    public = {name for name in vars(session) if not name.startswith("_")} | {"request", "aclose"}
    public |= {
        name for name, part in vars(EzeepSession).items() if isinstance(part, functools.cached_property)
    }
    assert {"reports", "webhooks", "provisioning"} <= public
    twin = run_sync(session)
    assert {name for name in public if hasattr(twin, name)} == public


def test_5_8_the_two_paginators_have_the_same_signatures() -> None:
    """5-8: `BlockingPaginator` is not derived from `Paginator`, so its methods are compared here."""
    for name in ("collect", "first", "count", "pages"):
        one, other = (inspect.signature(getattr(cls, name)) for cls in (Paginator, BlockingPaginator))
        assert list(one.parameters.values()) == list(other.parameters.values()), name


def test_5_2_a_blocking_call_in_a_coroutine_is_refused(server: Sandbox, blocking: BlockingSession) -> None:
    """5-2: the error is raised at once, names the await expression, and is a RuntimeError."""

    async def main() -> None:
        with pytest.raises(BlockingCallError, match=r"await session\.accounts\.me\("):
            blocking.accounts.me()
        with pytest.raises(RuntimeError):
            list(blocking.users.list())

    asyncio.run(main())
    assert server.count(ME) == 0


def test_5_2_close_in_a_coroutine_is_refused_and_names_another_thread(blocking: BlockingSession) -> None:
    """5-2: the session stays open."""

    async def main() -> None:
        with pytest.raises(BlockingCallError, match=r"asyncio\.to_thread"):
            blocking.close()

    asyncio.run(main())
    assert blocking.accounts.me().email == SANDBOX_ADMIN


def test_5_1_worker_threads_share_one_session(server: Sandbox, blocking: BlockingSession) -> None:
    """5-1, 1-1: forty threads call when the token has expired: one refresh."""
    with ThreadPoolExecutor(40) as pool:
        emails = list(pool.map(lambda _: blocking.accounts.me().email, range(80)))
    assert set(emails) == {SANDBOX_ADMIN}
    assert server.refresh_requests == 1


def test_5_10_one_session_on_two_loops_is_refused(server: Sandbox) -> None:
    """5-10, 3-12: a session used by run_sync and then awaited on another loop raises, and does not hang."""
    session = open_session(server)
    with run_sync(session) as twin:
        twin.accounts.me()

        async def main() -> None:
            with pytest.raises(RuntimeError, match="another event loop"):
                await session.accounts.me()

        asyncio.run(main())
        twin.accounts.me()


def test_every_call_after_close_raises_session_closed(server: Sandbox) -> None:
    """3-11: a second close does nothing; a call after it raises SessionClosed."""
    with run_sync(open_session(server)) as session:
        session.accounts.me()
    session.close()
    session.aclose()
    with pytest.raises(SessionClosed):
        session.accounts.me()
    with pytest.raises(SessionClosed):
        list(session.users.list())


def test_a_session_that_is_not_closed_causes_one_warning(server: Sandbox) -> None:
    """3-11: one ResourceWarning that names BlockingSession, and none of aiohttp."""
    session = run_sync(open_session(server))
    session.accounts.me()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del session
        gc.collect()
        with run_sync(open_session(server)) as other:
            other.accounts.me()
    assert [str(warning.message) for warning in caught if "closed" in str(warning.message)] == [
        "a BlockingSession was not closed: use `with run_sync(...)`, or call its close()"
    ]


def _in_child(session: BlockingSession, results) -> None:
    try:
        results.put(session.accounts.me().email)
    except Exception as error:
        results.put(repr(error))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_5_3_a_forked_child_opens_its_own_session(server: Sandbox, tmp_path: Path) -> None:
    """5-3: calls in the parent, the child and the parent again work, with one refresh for all."""
    context = multiprocessing.get_context("fork")
    store = FileTokenStore(tmp_path / "login.json")
    with run_sync(open_session(server, store, tokens=expired(server.tokens()))) as session:
        assert session.accounts.me().email == SANDBOX_ADMIN
        results = context.Queue()
        child = context.Process(target=_in_child, args=(session, results))
        child.start()
        assert results.get(timeout=10) == SANDBOX_ADMIN
        child.join(10)
        assert child.exitcode == 0
        assert session.accounts.me().email == SANDBOX_ADMIN
    assert server.refresh_requests == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("is_over", [False, True])
def test_5_3_a_token_set_in_memory_is_not_refreshed_by_a_child(server: Sandbox, is_over: bool) -> None:
    """5-3: the refresh token works once; a refresh in the child would invalidate the parent's token set."""
    context = multiprocessing.get_context("fork")
    tokens = server.tokens()
    with run_sync(open_session(server, MemoryTokenStore(expired(tokens) if is_over else tokens))) as session:
        if not is_over:
            session.accounts.me()
        results = context.Queue()
        child = context.Process(target=_in_child, args=(session, results))
        child.start()
        result = results.get(timeout=10)
        child.join(10)
        assert ("FileTokenStore" in result) if is_over else (result == SANDBOX_ADMIN)
        assert session.accounts.me().email == SANDBOX_ADMIN
    assert server.refresh_requests == int(is_over)


SCRIPT = """
import signal, sys, threading
from ezeep_async import *
app, account, api, access, refresh, mode = sys.argv[1:]
from datetime import datetime, UTC, timedelta
tokens = TokenSet(access, refresh, datetime.now(UTC) + timedelta(hours=1))
session = run_sync(EzeepSession(OAuthApp(app), tokens=tokens, endpoints=Endpoints(account, api)))
print(session.accounts.me().email, flush=True)
if mode == "exit":
    sys.exit(0)
if mode == "daemon":
    def forever():
        while True:
            session.accounts.me()
    threading.Thread(target=forever, daemon=True).start()
if mode == "interrupt":
    try:
        session.accounts.me()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        print(session.groups.list().count(), flush=True)
"""


def _start(server: Sandbox, mode: str) -> subprocess.Popen[str]:
    tokens, where = server.tokens(), server.endpoints
    arguments = [
        server.oauth_app.client_id,
        where.account,
        where.api,
        tokens.access_token,
        tokens.refresh_token,
        mode,
    ]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["exit", "daemon"])
def test_5_5_exit_with_an_open_session(server: Sandbox, mode: str) -> None:
    """5-5: exit code 0, no traceback, no hang."""
    process = _start(server, mode)
    out, err = process.communicate(timeout=15)
    assert (process.returncode, err) == (0, "")
    assert SANDBOX_ADMIN in out


@pytest.mark.slow
def test_5_4_ctrl_c_cancels_the_call_and_the_session_still_works(server: Sandbox) -> None:
    """5-4: the coroutine is cancelled, KeyboardInterrupt is raised, the next call works."""
    process = _start(server, "interrupt")
    assert process.stdout is not None
    hold = server.faults.hold(ME, when=lambda request: server.count(ME) > 1)
    assert process.stdout.readline().strip() == SANDBOX_ADMIN
    deadline = threading.Event()
    for _ in range(500):
        if hold.count:
            break
        deadline.wait(0.01)
    assert hold.count
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=15)
    assert (out.split(), err) == (["interrupted", "13"], "")


@pytest.mark.slow
def test_5_4_a_refresh_survives_ctrl_c(server: Sandbox, tmp_path: Path) -> None:
    """5-4, 1-5: Ctrl-C during a refresh ends the process; the new token set is in the file."""
    path = tmp_path / "login.json"
    store = FileTokenStore(path)
    asyncio.run(put(store, expired(server.tokens())))
    before = json.loads(path.read_text())["token"]["refresh_token"]
    script = """
        import sys
        from ezeep_async import *
        with run_sync(EzeepSession(OAuthApp(sys.argv[1]), FileTokenStore(sys.argv[2]), endpoints=Endpoints(*sys.argv[3:]))) as s:
            print("calling", flush=True)
            s.accounts.me()
    """
    hold = server.faults.hold("POST /oauth/access_token/", after=True)
    where = server.endpoints
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(script),
            server.oauth_app.client_id,
            str(path),
            where.account,
            where.api,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pause = threading.Event()
    for _ in range(1000):
        if hold.count:
            break
        pause.wait(0.01)
    process.send_signal(signal.SIGINT)
    pause.wait(0.2)
    hold.release()
    _, err = process.communicate(timeout=15)
    assert "KeyboardInterrupt" in err
    assert server.refreshes == 1
    assert json.loads(path.read_text())["token"]["refresh_token"] != before


UNCLOSED = """
    import atexit, sys
    from ezeep_async import *
    session = run_sync(EzeepSession(OAuthApp(sys.argv[1]), FileTokenStore(sys.argv[2]), endpoints=Endpoints(*sys.argv[3:])))
    # Exit handlers run in reverse order: this one runs before the one of the package.
    atexit.register(print, "exiting", flush=True)
    session.accounts.me()
"""


@pytest.mark.slow
def test_5_4_a_refresh_survives_ctrl_c_twice_without_with(server: Sandbox, tmp_path: Path) -> None:
    """5-4, 5-5: the first Ctrl-C ends the program, the second comes while its exit waits for the refresh."""
    path = tmp_path / "login.json"
    asyncio.run(put(FileTokenStore(path), expired(server.tokens())))
    hold = server.faults.hold("POST /oauth/access_token/", after=True, times=1)
    where = server.endpoints
    command = [sys.executable, "-c", textwrap.dedent(UNCLOSED), server.oauth_app.client_id, str(path)]
    with subprocess.Popen(
        [*command, where.account, where.api], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            asyncio.run(hold.arrived())
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "exiting\n"
            process.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):  # it still waits
                process.wait(0.5)
            hold.release()
            _, said = process.communicate(timeout=15)
        finally:
            process.kill()
    assert said.count("KeyboardInterrupt") <= 2  # the second one may interrupt the exit handler
    assert server.refreshes == 1
    with run_sync(open_session(server, FileTokenStore(path))) as session:
        assert session.accounts.me().email == SANDBOX_ADMIN
    assert server.refresh_requests == 1


def test_again_refuses_a_borrowed_aiohttp_session(server: Sandbox) -> None:
    """The borrowed connections belong to another event loop."""

    async def main() -> None:
        async with aiohttp.ClientSession() as http:
            session = EzeepSession(server.oauth_app, http=http)
            with pytest.raises(ValueError, match="borrows"):
                session.again()

    asyncio.run(main())


def test_a_memory_store_refuses_a_refresh_in_another_process(
    monkeypatch: pytest.MonkeyPatch, server: Sandbox
) -> None:
    """The message names the fork; checked in one process."""
    store = MemoryTokenStore(server.tokens())
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(TokenStoreError, match="fork"):
        asyncio.run(store.check_writable())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let keep_alive read the test's clock every 10 ms."""
    monkeypatch.setattr(keep_alive, "LONGEST_SLEEP_S", 0.01)
    monkeypatch.setattr(keep_alive, "SHORTEST_SLEEP_S", 0.01)


def _until(condition) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("the condition did not become true")


@pytest.mark.usefixtures("quick")
def test_5_1_keep_alive_refreshes_an_idle_session(server: Sandbox) -> None:
    """5-1: started from a plain thread, one handle for all threads, ended by stop, by a block and by the close."""
    clock = Clock()
    with run_sync(open_session(server, MemoryTokenStore(server.tokens()), clock=clock)) as session:
        handle = session.keep_alive()
        with ThreadPoolExecutor(4) as pool:
            assert {pool.submit(session.keep_alive).result() for _ in range(4)} == {handle}
        for number in range(1, 4):
            server.clock.advance(
                3560
            )  # first, because the client refreshes as soon as its own clock advances
            clock.steady += 3560
            _until(lambda number=number: server.refreshes == number)
            # Until the client's thread has the response, the next jump of the clock would change its expiry.
            _until(lambda: session._aio._core.refresher.due_in() > 0)
        handle.stop()
        assert repr(handle) == "<KeepAlive stopped>"
        with session.keep_alive() as second:
            assert repr(second) == "<KeepAlive running>"
        assert not second.is_running
        third = session.keep_alive()
        assert session.accounts.me().email == SANDBOX_ADMIN
    assert not third.is_running
    assert server.refresh_requests == 3
    with pytest.raises(SessionClosed):
        session.keep_alive()


def test_5_1_background_calls_have_a_lower_priority(server: Sandbox) -> None:
    """5-1: a call in the block waits for calls that other threads make later."""
    hold = server.faults.hold("GET /printing/v1/users/", times=1)
    settings = attrs.evolve(QUICK, concurrency=1)
    group, person = next(iter(server.organization.groups)), server.organization.admin_id
    store = MemoryTokenStore(server.tokens())
    with run_sync(open_session(server, store, settings=settings)) as session, ThreadPoolExecutor(3) as pool:

        def job() -> None:
            with session.background():
                session.groups.get(group)

        ends = [pool.submit(session.users.list(page_size=1).first)]
        _until(lambda: hold.count)
        ends.append(pool.submit(job))
        _until(lambda: session.stats.waiting == 1)
        ends.append(pool.submit(session.users.get, person))
        _until(lambda: session.stats.waiting == 2)
        hold.release()
        for end in ends:
            end.result(10)
    paths = [seen.path for seen in server.requests]
    assert paths[1:] == [f"/printing/v1/users/{person}/", f"/printing/v1/groups/{group}/"]


def test_5_2_keep_alive_in_a_coroutine_is_refused(blocking: BlockingSession) -> None:
    """5-2: the message names the method of EzeepSession."""

    async def main() -> None:
        with pytest.raises(BlockingCallError, match=r"`session\.keep_alive\(\.\.\.\)`"):
            blocking.keep_alive()

    asyncio.run(main())


def _keep_alive_in_child(session: BlockingSession, handle: keep_alive.KeepAlive, results) -> None:
    try:
        session.accounts.me()
        core = session._aio._core
        states = [core._keep_alive is None, handle.is_running]
        handle.stop()
        states.append(session.keep_alive().is_running)
        session.close()
        results.put(states)
    except Exception as error:
        results.put(repr(error))


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_5_3_a_forked_child_starts_its_own_keep_alive(server: Sandbox, tmp_path: Path) -> None:
    """5-3: the parent's keep_alive does not run in the child, and stopping it there leaves it running in the parent."""
    context = multiprocessing.get_context("fork")
    store, clock = FileTokenStore(tmp_path / "login.json"), Clock()
    with run_sync(open_session(server, store, tokens=server.tokens(), clock=clock)) as session:
        handle = session.keep_alive()
        session.accounts.me()
        results = context.Queue()
        child = context.Process(target=_keep_alive_in_child, args=(session, handle, results))
        child.start()
        assert results.get(timeout=10) == [True, False, True]
        child.join(10)
        assert child.exitcode == 0
        clock.steady += 3560
        _until(lambda: server.refreshes == 1)
        assert handle.is_running
    assert server.refresh_requests == 1
