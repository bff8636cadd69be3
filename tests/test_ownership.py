"""Closers and finalizers close what is theirs: on its event loop, after the refresh that needs it, with one complaint."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.support import ME, TOKEN, expired, open_session, put, sandbox_in_a_thread, until

from ezeep_async import (
    BlockingCallError,
    EzeepSession,
    FileTokenStore,
    MemoryTokenStore,
    SessionClosed,
    TokenStoreCorrupt,
    run_sync,
)
from ezeep_async.sandbox import SANDBOX_ADMIN
from ezeep_async.testing import ThreadedSandbox


pytestmark = [pytest.mark.may_block, pytest.mark.timeout(60), pytest.mark.slow]

BLOCKING = "a BlockingSession was not closed: use `with run_sync(...)`, or call its close()"
ASYNC = "an EzeepSession was not closed: use `async with`, or await its aclose()"


@pytest.fixture(scope="module")
def module_server() -> Iterator[ThreadedSandbox]:
    with sandbox_in_a_thread(users=30, groups=2) as sandbox:
        assert isinstance(sandbox, ThreadedSandbox)
        yield sandbox


@pytest.fixture
def server(module_server: ThreadedSandbox) -> ThreadedSandbox:
    module_server.reset_counts()
    return module_server


@pytest.fixture
def complaints(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """What finalizers say while every warning is an exception, as under `python -W error`."""
    said: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: said.append(str(unraisable.exc_value)))

    def collected() -> list[str]:
        gc.collect()
        return said

    gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield collected


def logged_in(server: ThreadedSandbox) -> EzeepSession:
    return open_session(server, MemoryTokenStore(server.tokens()))


# --- a session that is open on another event loop ------------------------------------------------------------------


@pytest.mark.parametrize("end", ["forget", "close", "with"])
async def test_5_10_a_twin_leaves_a_session_to_the_event_loop_that_has_opened_it(
    server: ThreadedSandbox, complaints: Callable[[], list[str]], end: str
) -> None:
    async with logged_in(server) as session:
        await session.accounts.me()

        def elsewhere() -> None:
            twin = run_sync(session)
            with pytest.raises(RuntimeError, match="another event loop"):
                twin.accounts.me()
            if end == "close":
                twin.close()
                twin.close()
            elif end == "with":
                with pytest.raises(RuntimeError, match="another event loop"):
                    twin.__enter__()

        await asyncio.to_thread(elsewhere)
        assert complaints() == []
        assert (await session.accounts.me()).email == SANDBOX_ADMIN
    with pytest.raises(SessionClosed):
        await session.accounts.me()


async def test_5_2_a_twin_that_was_refused_on_a_running_loop_is_no_forgotten_session(
    server: ThreadedSandbox, complaints: Callable[[], list[str]]
) -> None:
    session = logged_in(server)
    with pytest.raises(BlockingCallError), run_sync(session):
        pass
    with pytest.raises(BlockingCallError):
        run_sync(session).accounts.me()
    assert complaints() == []
    async with session:
        assert (await session.accounts.me()).email == SANDBOX_ADMIN
    assert complaints() == []


def test_5_2_a_close_that_was_refused_can_be_repeated(
    server: ThreadedSandbox, complaints: Callable[[], list[str]]
) -> None:
    twin = run_sync(logged_in(server))
    twin.accounts.me()

    async def close() -> None:
        with pytest.raises(BlockingCallError):
            twin.close()

    asyncio.run(close())
    assert twin.accounts.me().email == SANDBOX_ADMIN
    twin.close()
    assert complaints() == []


def test_a_session_that_could_not_be_opened_is_no_forgotten_session(
    server: ThreadedSandbox, tmp_path: Path, complaints: Callable[[], list[str]]
) -> None:
    path = tmp_path / "login.json"
    path.write_text("nothing")
    path.chmod(0o600)
    with (
        pytest.raises(TokenStoreCorrupt),
        run_sync(open_session(server, FileTokenStore(path), tokens=server.tokens())),
    ):
        pass
    assert complaints() == []


def test_two_twins_of_one_session_share_it(
    server: ThreadedSandbox, complaints: Callable[[], list[str]]
) -> None:
    session = logged_in(server)
    with run_sync(session) as first:
        second = run_sync(session)
        assert second.accounts.me().email == SANDBOX_ADMIN
        del second
        assert complaints() == []
        assert first.accounts.me().email == SANDBOX_ADMIN


async def test_3_12_closing_on_another_event_loop_is_refused(server: ThreadedSandbox) -> None:
    async with logged_in(server) as session:
        await session.accounts.me()
        with pytest.raises(RuntimeError, match="close it there"):
            await asyncio.to_thread(asyncio.run, session.aclose())
        assert (await session.accounts.me()).email == SANDBOX_ADMIN
    await asyncio.to_thread(asyncio.run, session.aclose())


def test_3_12_a_session_whose_event_loop_has_ended_can_be_closed_on_any(
    server: ThreadedSandbox, complaints: Callable[[], list[str]]
) -> None:
    session = logged_in(server)
    asyncio.run(session.accounts.me())
    asyncio.run(session.aclose())
    with pytest.raises(SessionClosed):
        asyncio.run(session.accounts.me())
    del session
    assert complaints() == []


# --- collected in another thread -----------------------------------------------------------------------------------


async def test_3_11_a_session_that_another_thread_collects_is_closed_on_its_own_loop(
    server: ThreadedSandbox, debug_mode: None, complaints: Callable[[], list[str]]
) -> None:
    """Debug mode raises for what is called from the wrong thread."""
    session = logged_in(server)
    await session.accounts.me()
    transport = session._core._transport
    forgotten = [session]
    del session
    gc.disable()
    try:
        await asyncio.to_thread(forgotten.clear)
    finally:
        gc.enable()
    await until(lambda: not transport.is_open)
    assert complaints() == [ASYNC]


async def test_4_6_a_listing_that_another_thread_collects_is_ended_on_its_own_loop(
    server: ThreadedSandbox, debug_mode: None, complaints: Callable[[], list[str]]
) -> None:
    async with logged_in(server) as session:
        pages = session.users.list(page_size=10).pages()
        await anext(pages)
        while not pages._in_flight._queue:
            await asyncio.sleep(0)
        prefetch = weakref.ref(pages._in_flight._queue[0][1])
        forgotten = [pages]
        del pages
        await asyncio.to_thread(forgotten.clear)
        await until(lambda: (task := prefetch()) is None or task.done())
        assert complaints() == []


# --- a refresh that is under way -----------------------------------------------------------------------------------


async def test_1_5_a_session_that_is_forgotten_in_mid_refresh_stores_the_new_token_set(
    server: ThreadedSandbox, tmp_path: Path
) -> None:
    store = FileTokenStore(tmp_path / "login.json")
    await put(store, expired(server.tokens()))
    hold = server.faults.hold(TOKEN, after=True, times=1)
    session = open_session(server, store)
    call = asyncio.ensure_future(session.accounts.me())
    await hold.arrived()
    call.cancel()
    await asyncio.wait({call})
    transport = weakref.ref(session._core._transport)
    with pytest.warns(ResourceWarning, match="EzeepSession"):
        del session, call
        gc.collect()
    hold.release()
    await until(lambda: (kept := transport()) is None or not kept.is_open)
    async with open_session(server, store) as other:
        await other.accounts.me()
    assert (server.refresh_requests, server.count(ME)) == (1, 1)


# --- one complaint for one session ---------------------------------------------------------------------------------


def test_a_forgotten_blocking_session_is_closed_and_said_once(
    server: ThreadedSandbox, complaints: Callable[[], list[str]]
) -> None:
    session = logged_in(server)
    transport = session._core._transport
    twin = run_sync(session)
    twin.accounts.me()
    del session, twin
    assert complaints() == [BLOCKING]
    pause = threading.Event()
    for _ in range(1000):
        if not transport.is_open:
            break
        pause.wait(0.01)
    assert complaints() == [BLOCKING]
    assert not transport.is_open


@pytest.mark.parametrize("case", ["in the loop", "in a cycle", "after the loop", "outside the loop"])
def test_a_forgotten_async_session_is_closed_and_said_once(
    server: ThreadedSandbox, complaints: Callable[[], list[str]], case: str
) -> None:
    loop = asyncio.new_event_loop()

    async def use() -> EzeepSession | None:
        session = logged_in(server)
        await session.users.list(page_size=10).first()
        if case == "in the loop":
            return None
        if case == "in a cycle":
            session.keep_alive()
            cycle: list[object] = [session]
            cycle.append(cycle)
            return None
        return session

    session = loop.run_until_complete(use())
    if case == "outside the loop":
        del session
        gc.collect()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    session = None
    assert complaints() == [ASYNC]


EXIT = """
    import asyncio, builtins, sys
    from ezeep_async import EzeepSession, run_sync
    from ezeep_async.testing import ThreadedSandbox

    with ThreadedSandbox(users=30, groups=2) as sandbox:
        def make():
            return EzeepSession(sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints)

        # These outlive the modules of the package.
        builtins.twin = run_sync(make())
        builtins.rest = iter(builtins.twin.users.list(page_size=10))
        next(builtins.rest)
        builtins.pages = builtins.twin.users.list(page_size=10).pages()
        next(builtins.pages)
        builtins.refused = run_sync(make())

        async def use():
            builtins.session = make()
            builtins.session.keep_alive()
            builtins.reading = builtins.session.users.list(page_size=10).pages()
            await anext(builtins.reading)

        asyncio.run(use())
"""


def test_5_5_what_is_collected_at_the_end_of_the_interpreter_is_said_once() -> None:
    """Finalizers that run when the globals of their modules are gone; the blocking session was closed by then."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(EXIT)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    heads = [
        line
        for line in done.stderr.splitlines()
        if not line.startswith((" ", "Traceback", "Exception ignored"))
    ]
    assert (heads, done.returncode) == ([f"ResourceWarning: {ASYNC}"], 0)
