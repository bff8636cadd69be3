"""What the caller's code raises on our loop and in our tasks: `SystemExit`, `KeyboardInterrupt` and their kind."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
from helpers.provisioned import emails, new_team
from helpers.support import TOKEN, open_session, until
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from ezeep_async import BlockingSession, FileTokenStore, MemoryTokenStore, TokenSet, run_sync
from ezeep_async.provisioning import DesiredState, report_of
from ezeep_async.sandbox import Sandbox
from ezeep_async.testing import ThreadedSandbox


pytestmark = [pytest.mark.may_block, pytest.mark.slow]


class Stop(BaseException):
    """None of Python's own."""


EXITS = [SystemExit(3), KeyboardInterrupt(), Stop()]
exits = pytest.mark.parametrize("error", EXITS, ids=lambda error: type(error).__name__)


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedSandbox]:
    with ThreadedSandbox(users=12, groups=2) as sandbox:
        yield sandbox


@pytest.fixture
def other(server: Sandbox) -> Iterator[BlockingSession]:
    """Another session of the process, which goes on whatever happens to the first."""
    with run_sync(open_session(server)) as session:
        session.accounts.me()
        yield session
        session.oauth.refresh()
        session.accounts.me()


# --- hooks -----------------------------------------------------------------------------------------------------------


@exits
@pytest.mark.parametrize("is_async", [False, True])
def test_a_hook_that_exits_ends_no_other_task(
    server: Sandbox, other: BlockingSession, tmp_path: Path, error: BaseException, is_async: bool
) -> None:
    called: list[TokenSet] = []

    def hook(old: TokenSet | None, new: TokenSet) -> None:
        called.append(new)
        raise error

    async def async_hook(old: TokenSet | None, new: TokenSet) -> None:
        await asyncio.sleep(0)
        hook(old, new)

    store = FileTokenStore(tmp_path / "login.json", lock_timeout=1.0)
    session = open_session(
        server, store, tokens=server.tokens(), on_token_rotated=async_hook if is_async else hook
    )
    with run_sync(session) as blocking:
        first = blocking.oauth.refresh()
        second = blocking.oauth.refresh()
    assert called == [first, second]
    with run_sync(open_session(server, FileTokenStore(store.path, lock_timeout=0.0))) as again:
        assert again.oauth.refresh() != second


@pytest.mark.parametrize(
    "leave_behind",
    [
        lambda loop: loop.call_soon(sys.exit),
        lambda loop: loop.stop(),
        lambda loop: loop.set_exception_handler(lambda *_: sys.exit(4)) or loop.call_soon(lambda: 1 / 0),
    ],
    ids=["callback", "stop", "exception handler"],
)
def test_what_a_hook_leaves_behind_on_the_loop_ends_nothing(
    server: Sandbox, other: BlockingSession, leave_behind: Callable[[asyncio.AbstractEventLoop], object]
) -> None:
    def hook(old: TokenSet | None, new: TokenSet) -> None:
        leave_behind(asyncio.get_running_loop())

    async def no_handler() -> None:
        asyncio.get_running_loop().set_exception_handler(None)

    from ezeep_async.blocking import portal

    with run_sync(open_session(server, on_token_rotated=hook)) as session:
        before = portal.current()
        session.oauth.refresh()
        session.accounts.me()
        portal.run("await f()", no_handler)
        assert portal.current() is before


def test_a_log_handler_that_exits_does_not_end_the_loop(server: Sandbox, other: BlockingSession) -> None:
    """As one that ends the program with the first error."""

    class Exiting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise SystemExit(6)

    from ezeep_async.blocking import portal

    handler, log = Exiting(logging.WARNING), logging.getLogger("ezeep_async")
    before = portal.current()
    log.addHandler(handler)
    try:
        with run_sync(open_session(server)) as session:
            server.faults.add(TOKEN, status=500, times=1)
            with pytest.raises(SystemExit):  # of the line about the response that was lost
                session.oauth.refresh()
            session.accounts.me()
            session.oauth.refresh()
    finally:
        log.removeHandler(handler)
    assert portal.current() is before


def test_a_task_of_a_hook_that_exits_ends_alone(server: Sandbox, other: BlockingSession) -> None:
    tasks: list[asyncio.Task[None]] = []

    async def fail() -> None:
        await asyncio.sleep(0)
        raise SystemExit(5)

    def hook(old: TokenSet | None, new: TokenSet) -> None:
        tasks.append(asyncio.create_task(fail()))

    with run_sync(open_session(server, on_token_rotated=hook)) as session:
        session.oauth.refresh()
        session.accounts.me()
        assert isinstance(tasks[0].exception(), SystemExit)


@exits
async def test_a_hook_that_exits_leaves_an_application_its_loop(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def hook(old: TokenSet | None, new: TokenSet) -> None:
        raise error

    async with open_session(sandbox, on_token_rotated=hook) as session:
        await session.accounts.me()
        await session.oauth.refresh()
    logged = [record for record in caplog.records if "on_token_rotated raised" in record.message]
    assert len(logged) == 2
    assert all(record.levelno == logging.ERROR for record in logged)


# --- token stores ----------------------------------------------------------------------------------------------------


@attrs.define(eq=False)
class Exiting(MemoryTokenStore):
    """A store that raises at one place, as often as requested."""

    place: str = ""
    error: BaseException = attrs.field(factory=SystemExit)
    times: int = 0

    def _at(self, place: str) -> None:
        if place == self.place and self.times > 0:
            self.times -= 1
            raise self.error

    async def load(self) -> TokenSet | None:
        self._at("load")
        return await super().load()

    async def save(self, tokens: TokenSet, /) -> None:
        self._at("save")
        await super().save(tokens)
        self._at("saved")

    async def check_writable(self) -> None:
        self._at("check_writable")

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        self._at("lock")
        async with super().lock():
            self._at("locked")
            try:
                yield
            finally:
                self._at("unlocking")
        self._at("unlocked")


PLACES = ["lock", "locked", "load", "check_writable", "save", "saved", "unlocking", "unlocked"]


@pytest.mark.parametrize(
    ("place", "error"),
    [*((place, SystemExit(3)) for place in PLACES), ("save", KeyboardInterrupt()), ("unlocking", Stop())],
)
def test_a_store_that_exits_raises_in_its_caller_and_keeps_the_token_set(
    server: Sandbox, other: BlockingSession, place: str, error: BaseException
) -> None:
    store = Exiting(server.tokens(), place=place, error=error)
    with run_sync(open_session(server, store)) as session:
        session.accounts.me()
        store.times = 1
        with pytest.raises(type(error)) as caught:
            session.oauth.refresh()
        assert caught.value is error
        # Nothing is lost, nothing stays locked, and what was not stored is stored with the next call.
        session.accounts.me()
        session.oauth.refresh()
    with run_sync(open_session(server, store)) as again:
        again.oauth.refresh()


@pytest.mark.parametrize("error", EXITS[:2])
async def test_a_store_that_exits_raises_it_in_each_waiter_of_an_application(
    sandbox: Sandbox, error: BaseException
) -> None:
    store = Exiting(sandbox.tokens(), place="save", error=error, times=1)
    caught: list[BaseException] = []

    async def call() -> None:
        try:
            await session.oauth.refresh()
        except BaseException as problem:
            caught.append(problem)

    async with open_session(sandbox, store) as session:
        await asyncio.gather(*[call() for _ in range(3)])
        assert caught == [error] * 3
        await session.accounts.me()
    async with open_session(sandbox, store) as session:
        await session.oauth.refresh()


def test_listings_plans_and_writes_over_a_store_that_exits(server: Sandbox, other: BlockingSession) -> None:
    store = Exiting(server.tokens(), place="load", error=SystemExit(7))
    with run_sync(open_session(server, store)) as session:
        everybody = session.users.list().collect()
        desired = DesiredState.from_mapping({"Exits": emails(server, 2)})
        for call in (
            lambda: session.users.list(page_size=2, concurrency=4).collect(),
            lambda: session.provisioning.plan(desired),
            lambda: session.users.add_to_groups(everybody[0].id, *(everybody[1].group_ids or ())),
        ):
            server.expire_access_tokens()
            store.times = 1
            try:
                call()
            except SystemExit as exit_:
                assert exit_.code == 7
            else:
                assert store.times == 1  # it needed no refresh
        store.times = 0
        session.accounts.me()


async def test_a_store_that_exits_does_not_end_what_keeps_alive(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    store = Exiting(place="load", times=1)
    async with open_session(sandbox, store, tokens=None) as session:
        keeping = session.keep_alive()
        await until(lambda: store.times == 0)
        await until(lambda: "kept alive" in caplog.text)
        assert keeping.is_running
        keeping.stop()


# --- tracers ---------------------------------------------------------------------------------------------------------


class Failing(SpanProcessor):
    """Raises when a span begins, or ends."""

    def __init__(self, place: str, error: BaseException) -> None:
        self._place, self._error = place, error

    def on_start(self, span: object, parent_context: object = None) -> None:
        if self._place == "start":
            raise self._error

    def on_end(self, span: ReadableSpan) -> None:
        if self._place == "end":
            raise self._error


@pytest.mark.parametrize("error", [EXITS[0], ValueError("no")], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", ["start", "end"])
def test_a_tracer_that_fails_costs_no_call_and_no_token_set(
    server: Sandbox,
    other: BlockingSession,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
    place: str,
) -> None:
    provider = TracerProvider()
    provider.add_span_processor(Failing(place, error))
    monkeypatch.setattr("opentelemetry.trace.get_tracer", lambda *_: provider.get_tracer("test"))
    store = MemoryTokenStore(server.tokens())
    with run_sync(open_session(server, store)) as session:
        session.accounts.me()
        refreshed = session.oauth.refresh()
        session.accounts.me()
    assert store._tokens == refreshed
    assert "the tracer failed" in caplog.text


# --- the callback of a run -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "error"), [(1, EXITS[0]), (3, EXITS[0]), (8, EXITS[0]), (3, EXITS[1]), (3, EXITS[2])]
)
def test_7_13_a_callback_that_exits_ends_the_run_with_its_report(
    server: ThreadedSandbox, other: BlockingSession, error: BaseException, after: int
) -> None:
    """7-13: nothing that was written is called "not_started"."""

    def on_event(event: object) -> None:
        nonlocal after
        after -= 1
        if after == 0:
            raise error

    name = f"Exits {type(error).__name__} {after}"
    with run_sync(open_session(server)) as session:
        plan = session.provisioning.plan(new_team(server, 8, name))
        before = len(
            [each for each in server.requests if each.method in {"PATCH", "POST"} and each.host == "api"]
        )
        with pytest.raises(type(error)) as caught:
            session.provisioning.apply(plan, concurrency=4, on_event=on_event)
        assert caught.value is error
        written = (
            len([e for e in server.requests if e.method in {"PATCH", "POST"} and e.host == "api"]) - before
        )
        report = report_of(caught.value)
        assert report is not None
        counts = report.counts
        assert counts["created"] + counts["updated"] == written
        assert counts["not_started"] == len(plan.changes) - written
        assert counts["unknown"] == counts["failed"] == 0
        assert session.provisioning.apply(session.provisioning.plan(new_team(server, 8, name))).ok


@pytest.mark.parametrize("error", EXITS[:2])
async def test_7_13_a_callback_that_exits_in_an_application(sandbox: Sandbox, error: BaseException) -> None:
    def on_event(event: object) -> None:
        raise error

    async with open_session(sandbox) as session:
        plan = await session.provisioning.plan(new_team(sandbox, 6))
        with pytest.raises(type(error)) as caught:
            await session.provisioning.apply(plan, on_event=on_event)
        report = report_of(caught.value)
        assert report is not None
        assert report.counts["created"] == 1
        assert report.counts["not_started"] == 6
        assert (await session.provisioning.apply(await session.provisioning.plan(new_team(sandbox, 6)))).ok


@attrs.frozen
class Frozen(Exception):
    """Takes no attributes."""


class WithReport(Exception):
    """Has something else of that name."""

    @property
    def report(self) -> str:
        return "mine"


@pytest.mark.parametrize("kind", [asyncio.CancelledError, Frozen, WithReport])
async def test_7_13_what_a_callback_raises_ends_the_run_as_it_is(
    sandbox: Sandbox, kind: type[BaseException]
) -> None:
    """7-13: also a CancelledError without a cancellation, and exceptions that the report cannot be put on as usual."""

    def on_event(event: object) -> None:
        raise kind

    async with open_session(sandbox) as session:
        plan = await session.provisioning.plan(new_team(sandbox, 6))
        with pytest.raises(kind) as caught:
            await session.provisioning.apply(plan, on_event=on_event)
        report = report_of(caught.value)
        assert (report is None) == (kind is WithReport)
        if report is not None:
            assert report.counts["created"] == 1
            assert report.counts["not_started"] == 6


@pytest.fixture(autouse=True)
def _nothing_unraisable() -> Iterator[None]:
    """asyncio reports an exception that was never retrieved when the task is collected: here, not in another test."""
    yield
    gc.collect()
