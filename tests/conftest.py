"""What the tests share: a sandbox on a real socket, a session in it, and a guard against blocking the loop."""

from __future__ import annotations

import asyncio
import asyncio.constants
import contextlib
import gc
import importlib
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from helpers.loops.sitecustomize import use_event_loop
from helpers.support import QUICK
from helpers.watch import Watch, installed
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import none

from ezeep_async import EzeepSession
from ezeep_async.sandbox import Sandbox


if TYPE_CHECKING:
    from helpers.sql_databases import Database, PostgresServer


# Its first import reads the disk (entry points, in old versions), and the guard below hides the disk from it: not in a session.
with contextlib.suppress(ImportError):
    importlib.import_module("opentelemetry.trace")


# In debug mode, asyncio keeps a stack for each callback: the innermost frame says enough, and ten are a third of the time.
asyncio.constants.DEBUG_STACK_DEPTH = 1
# For each future and task it keeps the whole stack, whose files are looked up on the disk: its C code asks for no limit.
traceback.extract_stack.__defaults__ = (None, 2)

# A failure prints what to put before the test to see it again, on any machine: nothing is left to a local database.
settings.register_profile(
    "default", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("quick", settings.get_profile("default"), max_examples=20)
settings.register_profile("long", settings.get_profile("default"), max_examples=10_000)
settings.load_profile(PROFILE := os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With the profile `long` no test has a time limit, whatever its marker says."""
    if PROFILE == "long":
        for item in items:
            item.add_marker(pytest.mark.timeout(0), append=False)


@pytest.fixture(scope="session")
def _first_example() -> None:
    """Hypothesis registers a random generator with its first example, and looks who refers to it: frozen objects are not seen."""
    given(none())(lambda _: None)()


@pytest.fixture(scope="module", autouse=True)
def _freeze(_first_example: None) -> None:
    """What was imported and cached until now stays: the tests' many garbage collections need not look at it."""
    gc.collect()
    gc.freeze()


_quick_test: str | None = None
"""The running test, unless it has the marker `slow`."""


def _refuse_processes(event: str, arguments: tuple[object, ...]) -> None:
    if _quick_test is not None and event in {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"}:
        raise AssertionError(f"{_quick_test} starts a process: it needs the marker `slow`")


sys.addaudithook(_refuse_processes)


@pytest.fixture(autouse=True)
def _no_processes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Only tests with the marker `slow`, which `nox -s quick` leaves out, start processes."""
    global _quick_test  # noqa: PLW0603  # an audit hook cannot be removed
    _quick_test = None if request.node.get_closest_marker("slow") else request.node.nodeid
    yield
    _quick_test = None


def pytest_configure() -> None:
    """`EVENT_LOOP=eager`, `uvloop` or `debug` runs the suite, and its child processes, on such an event loop.

    What a shell starts in the background ignores SIGINT, and under `nohup` SIGHUP: child processes would inherit that.
    """
    # aiohttp reads the certificates of the system when it is imported: a fifth of the start of each child process, and all
    # that the tests trust they make.
    os.environ["SSL_CERT_FILE"] = os.devnull
    if kind := os.environ.get("EVENT_LOOP"):
        use_event_loop(kind)
        folder = str(Path(__file__).parent / "helpers" / "loops")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _no_blocking(request: pytest.FixtureRequest) -> Iterator[BlockBuster | None]:
    """A test fails when it, or what it calls, blocks the event loop with I/O."""
    if request.node.get_closest_marker("may_block"):
        yield None
        return
    with blockbuster_ctx("ezeep_async") as guard:
        yield guard


@pytest.fixture(autouse=True)
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """8-3, 3-1, 9-5: every test fails when a secret is shown or a token is sent to the wrong host."""
    watching = installed(monkeypatch)
    yield watching
    assert watching.complaints() == []


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith("EZEEP_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for this process, which starts with the first test that uses it."""
    from helpers.sql_databases import PostgresServer

    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """A database with the tables of `SQLTokenStore`. Tests share the one of PostgreSQL, empty at the start of each."""
    from helpers.sql_databases import Database, prepared

    if request.param == "sqlite":
        return prepared(Database(f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"))
    return prepared(request.getfixturevalue("postgres").database)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as server:
        yield server


@pytest.fixture
async def session(sandbox: Sandbox) -> AsyncIterator[EzeepSession]:
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=QUICK
    ) as opened:
        yield opened


@pytest.fixture
async def debug_mode() -> None:
    """asyncio's debug mode, for the tests of concurrency: it finds what is not awaited and what blocks."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 5.0  # what blocks is found by the guard above; a busy machine is no finding
