"""`ezeep_async.testing`: the sandbox as a fixture in the test run of another project, and from any thread."""

from __future__ import annotations

import asyncio
import copy
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from helpers.support import ME, QUICK, TOKEN, expired

from ezeep_async import EzeepSession, MemoryTokenStore, run_sync
from ezeep_async.sandbox import Sandbox
from ezeep_async.testing import ThreadedSandbox


CONFTEST = """
from ezeep_async.testing import ThreadedSandbox  # imported before it becomes a plugin: no warning about that

pytest_plugins = ["ezeep_async.testing"]
"""

WITHOUT_A_PLUGIN = """
import asyncio

import pytest

from ezeep_async import EzeepSession, TokenStoreError, run_sync
from ezeep_async.testing import ThreadedSandbox

USERS = "GET /printing/v1/users/"
ME = "GET /v1/users/me/"


def session_in(sandbox):
    return EzeepSession(sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints)


@pytest.mark.parametrize("again", [1, 2])
def test_a_blocking_session_and_a_sandbox_of_its_own(ezeep_sandbox, again):
    assert ezeep_sandbox.requests == []
    with run_sync(session_in(ezeep_sandbox)) as session:
        assert len(session.users.list().collect()) == 134
    assert ezeep_sandbox.count(USERS) == 2


def test_one_asyncio_run_after_the_other(ezeep_sandbox: ThreadedSandbox):
    async def me():
        async with session_in(ezeep_sandbox) as session:
            return await session.accounts.me()

    assert asyncio.run(me()) == asyncio.run(me())
    assert ezeep_sandbox.count(ME) == 2


def test_faults_and_refusals(ezeep_sandbox):
    ezeep_sandbox.faults.add(ME, status=503, retry_after=0)
    with run_sync(session_in(ezeep_sandbox)) as session:
        session.accounts.me()
        ezeep_sandbox.expire_access_tokens()
        session.accounts.me()
    assert ezeep_sandbox.count(ME) == 4
    assert ezeep_sandbox.refreshes == 1


@pytest.mark.ezeep_sandbox(users=10, seed=7)
class TestMarked:
    def test_on_the_class(self, ezeep_sandbox):
        assert len(ezeep_sandbox.organization.users) == 10
        assert ezeep_sandbox.behaviour.expires_in == 3600

    @pytest.mark.ezeep_sandbox(users=3, expires_in=60.0)
    def test_on_the_test_too(self, ezeep_sandbox):
        assert len(ezeep_sandbox.organization.users) == 3
        assert ezeep_sandbox.organization.seed == 7
        assert ezeep_sandbox.behaviour.expires_in == 60
"""

A_STORE = '''
import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

from ezeep_async.testing import TokenStoreContract


class Drawer:
    """A store of another project. All of its objects share a mapping, which is read and written in the lock only."""

    def __init__(self, shared):
        self.shared = shared

    async def load(self):
        assert self.shared["lock"].locked()
        return self.shared.get("login")

    async def save(self, tokens, /):
        assert self.shared["lock"].locked()
        self.shared["login"] = tokens

    async def clear(self):
        self.shared.pop("login", None)

    async def check_writable(self):
        pass

    @asynccontextmanager
    async def lock(self):
        while not self.shared["lock"].acquire(blocking=False):
            await asyncio.sleep(0.001)
        try:
            yield
        finally:
            self.shared["lock"].release()


class TestDrawer(TokenStoreContract):
    @pytest.fixture
    def make_store(self):
        shared = {"lock": threading.Lock()}
        return lambda: Drawer(shared)
'''

WRONG = """
import asyncio
from contextlib import asynccontextmanager

import pytest

from ezeep_async import MemoryTokenStore
from ezeep_async.testing import TokenStoreContract


class Unlocked(MemoryTokenStore):
    @asynccontextmanager
    async def lock(self):
        yield


class TestUnlocked(TokenStoreContract):
    @pytest.fixture
    def make_store(self):
        store = Unlocked()
        return lambda: store


@pytest.mark.ezeep_sandbox(10)
def test_a_marker_with_a_position(ezeep_sandbox):
    pass


@pytest.mark.ezeep_sandbox(user=10)
def test_a_marker_with_an_unknown_keyword(ezeep_sandbox):
    pass
"""

WITH_PLUGINS = """
import asyncio

import pytest

from ezeep_async import EzeepSession, MemoryTokenStore

TOKEN = "POST /oauth/access_token/"


async def refresh_with_its_caller_cancelled(sandbox):
    store = MemoryTokenStore(sandbox.tokens())
    sandbox.expire_access_tokens()
    hold = sandbox.faults.hold(TOKEN)
    async with EzeepSession(sandbox.oauth_app, store=store, endpoints=sandbox.endpoints) as session:
        call = asyncio.create_task(session.accounts.me())
        await hold.arrived()
        call.cancel()
        await asyncio.wait([call])
        hold.release()
        await session.accounts.me()
    assert sandbox.refresh_requests == 1


@pytest.mark.asyncio
async def test_under_pytest_asyncio(ezeep_sandbox):
    await refresh_with_its_caller_cancelled(ezeep_sandbox)


@pytest.mark.asyncio
async def test_asked_for_in_the_running_loop(request):
    await refresh_with_its_caller_cancelled(request.getfixturevalue("ezeep_sandbox"))


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
async def test_under_anyio(ezeep_sandbox, anyio_backend):
    await refresh_with_its_caller_cancelled(ezeep_sandbox)


def test_without_either(ezeep_sandbox):
    asyncio.run(refresh_with_its_caller_cancelled(ezeep_sandbox))
"""

BARE = ("-p", "no:aiohttp", "-p", "no:asyncio", "-p", "no:anyio", "-p", "no:timeout")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def _pytest(folder: Path, *options: str) -> tuple[int, str]:
    """A test run in a process of its own, strict in everything. Its exit status and its words."""
    command = [sys.executable, "-m", "pytest", "-W", "error", "--strict-markers", "--strict-config", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--color=no"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # shorter than one item a line  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_tests_of_any_kind_without_a_plugin_for_asynchronous_ones(folder: Path) -> None:
    """Blocking, `asyncio.run`, the marker, and the contract for a store of another project."""
    (folder / "test_code.py").write_text(WITHOUT_A_PLUGIN)
    (folder / "test_store.py").write_text(A_STORE)
    status, said = _pytest(folder, *BARE, "-v")
    assert status == 0, said
    assert len(re.findall(r"test_code.py::\S+ PASSED", said)) == 6, said
    assert len(re.findall(r"TestDrawer::\S.* PASSED", said)) == 27, said
    assert "failed" not in said


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_what_is_wrong_is_said_in_words(folder: Path) -> None:
    """A store without a lock, and markers that are not understood."""
    (folder / "test_wrong.py").write_text(WRONG)
    status, said = _pytest(
        folder, *BARE, "-k", "one_task_at_a_time or excludes_another_task or two_sessions or marker"
    )
    assert status == 1, said
    assert "two tasks held the lock at the same time" in said
    assert "the lock was acquired while another task held it" in said
    assert "2 refreshes of 1 token sets" in said or "calls failed" in said
    assert "the marker ezeep_sandbox takes keywords only" in said
    assert "unexpected keyword argument 'user'" in said


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_tests_under_the_plugins_for_asynchronous_ones(folder: Path) -> None:
    """The same fixture under pytest-asyncio and under anyio's plugin, holds included."""
    (folder / "test_code.py").write_text(WITH_PLUGINS)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    status, said = _pytest(folder)
    assert status == 0, said
    assert "4 passed" in said, said


@pytest.mark.slow
def test_the_package_does_not_import_pytest() -> None:
    """Neither with its front nor with the sandbox: only tests need it."""
    script = "import sys, ezeep_async, ezeep_async.sandbox, ezeep_async.blocking.session; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


# --- the sandbox in a thread ---------------------------------------------------------------------------------------------


def test_a_hold_is_waited_for_and_released_from_any_thread() -> None:
    """By a test without an event loop, while a blocking session waits for its answer."""
    with ThreadedSandbox(users=3, groups=1) as sandbox:
        hold = sandbox.faults.hold(ME)
        store = MemoryTokenStore(sandbox.tokens())
        session = EzeepSession(sandbox.oauth_app, store=store, endpoints=sandbox.endpoints, settings=QUICK)
        with run_sync(session) as blocking:
            calls = [threading.Thread(target=blocking.accounts.me) for _ in range(3)]
            for call in calls:
                call.start()
            asyncio.run(hold.arrived(3))
            assert all(call.is_alive() for call in calls)
            hold.release(1)
            hold.release()
            for call in calls:
                call.join(10)
            assert not any(call.is_alive() for call in calls)
            blocking.accounts.me()
        assert sandbox.count(ME) == 4


def test_all_faults_are_cleared_from_another_thread() -> None:
    """What is held goes on, on an event loop that is not the sandbox's."""

    async def use(sandbox: Sandbox) -> None:
        hold = sandbox.faults.hold(ME)
        sandbox.faults.add(ME, nth=2, status=500, times=None)
        async with EzeepSession(
            sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=QUICK
        ) as session:
            call = asyncio.create_task(session.accounts.me())
            await hold.arrived()
            sandbox.faults.clear()
            await call
            await session.accounts.me()
        assert hold.count == 1

    with ThreadedSandbox(users=3, groups=1) as opened:
        asyncio.run(use(opened))


def test_a_fault_that_is_removed_does_not_hide_another() -> None:
    """One thread goes through the faults while another removes one."""
    with ThreadedSandbox(users=3, groups=1) as sandbox:
        first, second = sandbox.faults.add(ME), sandbox.faults.add(TOKEN)
        seen = []
        for fault in sandbox.faults._faults:
            first.remove()
            seen.append(fault)
        assert seen == [first, second]
        assert [fault for fault in sandbox.faults._faults if not fault.removed] == [second]


def test_tokens_expire_while_others_are_issued() -> None:
    """A request that is given tokens in the middle of it is no error, and nothing that was there is forgotten."""

    class IssuesMeanwhile(dict):
        def values(self):
            for number, value in enumerate(super().values()):
                if len(self) == 2 and number == 0:
                    self["meanwhile"] = copy.copy(value)
                yield value

    with ThreadedSandbox(users=3, groups=1) as sandbox:
        before = [sandbox.tokens(), sandbox.tokens()]
        sandbox._grants._access = IssuesMeanwhile(sandbox._grants._access)
        sandbox.expire_access_tokens()
        assert len(sandbox._grants._access) == 3
        assert [sandbox._grants.owner(tokens.access_token) for tokens in before] == [None, None]


def test_a_function_is_called_between_two_requests() -> None:
    """In the sandbox's thread; what it returns and what it raises come back."""
    with ThreadedSandbox(users=3, groups=1) as sandbox:
        there = sandbox.call(threading.get_ident)
        assert there not in {threading.get_ident(), sandbox.call(threading.get_native_id)}
        user = sandbox.call(sandbox.organization.add_user, email="new@example.com")
        assert user.id in sandbox.organization.users
        with pytest.raises(KeyError):
            sandbox.call(sandbox.organization.remove_group, user.id)


def test_it_is_a_plain_sandbox_where_it_has_no_thread() -> None:
    """With `async with` it is served on the loop that is there."""

    async def use() -> None:
        async with ThreadedSandbox(users=3, groups=1) as sandbox:
            hold = sandbox.faults.hold(TOKEN)
            store = MemoryTokenStore(expired(sandbox.tokens()))
            async with EzeepSession(sandbox.oauth_app, store=store, endpoints=sandbox.endpoints) as session:
                call = asyncio.create_task(session.accounts.me())
                await hold.arrived()
                hold.release()
                await call

    asyncio.run(use())


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_leaves_it_alone() -> None:
    """The child of a test that forks comes to the end of the block too: the sandbox is still there for its parent."""
    with ThreadedSandbox(users=3, groups=1) as sandbox:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                sandbox.faults.hold(ME).release()
                sandbox.__exit__(None, None, None)
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        session = EzeepSession(sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints)
        with run_sync(session) as blocking:
            blocking.accounts.me()


def test_it_ends_with_its_thread() -> None:
    """Nothing of it goes on: not when the test fails, and not when it could not be opened."""
    before = threading.active_count()
    with pytest.raises(LookupError), ThreadedSandbox(users=3, groups=1) as sandbox:
        raise LookupError
    sandbox.faults.hold(ME).release()
    sandbox.faults.clear()

    class Unopened(ThreadedSandbox):
        async def __aenter__(self):
            await Sandbox.__aenter__(self)
            await self.aclose()
            raise OSError("no port")

    with pytest.raises(OSError, match="no port"), Unopened(users=3, groups=1):
        pass
    assert threading.active_count() == before
