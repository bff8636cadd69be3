"""1-5 and 1-7: shutdowns that cancel everything, again and again, in processes that refresh a token."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.support import TOKEN, expired, open_session, put, sandbox_in_a_thread

from ezeep_async import FileTokenStore, MemoryTokenStore, TokenSet
from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.may_block, pytest.mark.timeout(60)]

CHILD = """
import asyncio, signal, sys

from ezeep_async import Endpoints, EzeepSession, FileTokenStore, OAuthApp

client_id, account, api, path = sys.argv[1:]


def cancel_everything():
    for task in asyncio.all_tasks():
        task.cancel()
    asyncio.get_running_loop().call_later(0.05, lambda: print("cancelled", flush=True))


async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, cancel_everything)
    session = EzeepSession(OAuthApp(client_id), FileTokenStore(path), endpoints=Endpoints(account, api))
    async with session:
        await session.accounts.me()


asyncio.run(main())
"""


async def _still_logged_in(sandbox: Sandbox, path: Path) -> None:
    async with open_session(sandbox, FileTokenStore(path)) as session:
        await session.accounts.me()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("signals", [1, 2, 5])
def test_1_5_a_process_that_cancels_everything_at_each_signal_keeps_its_login(
    signals: int, tmp_path: Path
) -> None:
    """1-5, 1-7: SIGTERM cancels all tasks of the loop, in mid exchange, once and again: closing waits all the same."""
    path = tmp_path / "login.json"
    with sandbox_in_a_thread() as sandbox:
        asyncio.run(put(FileTokenStore(path), expired(sandbox.tokens())))
        hold = sandbox.faults.hold(TOKEN, after=True)
        where = [sandbox.oauth_app.client_id, sandbox.endpoints.account, sandbox.endpoints.api, str(path)]
        with subprocess.Popen([sys.executable, "-c", CHILD, *where], stdout=subprocess.PIPE) as child:
            while not hold.count:
                assert child.poll() is None
                time.sleep(0.01)
            # Each one finds the process where the one before has left it: first the call, then the close, then the
            # end of the loop, which waits for what is left.
            for _ in range(signals):
                child.send_signal(signal.SIGTERM)
                assert child.stdout is not None
                assert child.stdout.readline() == b"cancelled\n"
            hold.release()
            child.wait(30)
        assert sandbox.refresh_requests == 1
        asyncio.run(_still_logged_in(sandbox, path))
        assert sandbox.refresh_requests == 1


class _Storm:
    """Cancels everything, from a callback of the loop, for `times` times."""

    def __init__(self, times: int) -> None:
        self.left = times

    def now(self) -> None:
        if self.left:
            self.left -= 1
            asyncio.get_running_loop().call_soon(lambda: [task.cancel() for task in asyncio.all_tasks()])


class _Stormy(MemoryTokenStore):
    """A store in which every wait meets a storm, once there is a new login to keep."""

    attempts = 0

    def __init__(self, tokens: TokenSet, storm: _Storm, where: str) -> None:
        super().__init__(tokens)
        self.storm, self.where = storm, where

    async def save(self, tokens: TokenSet, /) -> None:
        self.attempts += 1
        if self.where == "save":
            self.storm.now()
        await asyncio.sleep(0.001)
        await super().save(tokens)

    @contextlib.asynccontextmanager
    async def lock(self):
        async with super().lock():
            yield
            if self.attempts and self.where == "unlock":
                self.storm.now()
                await asyncio.sleep(0.001)


@pytest.mark.parametrize("where", ["save", "unlock"])
def test_1_5_a_storm_while_the_login_is_kept(where: str) -> None:
    """1-5: the save is repeated until it succeeds, the lock is released, and the hook is called."""
    rotated: list[TokenSet] = []
    with sandbox_in_a_thread() as sandbox:
        store = _Stormy(expired(sandbox.tokens()), _Storm(7), where)

        async def main() -> None:
            async with open_session(
                sandbox, store, on_token_rotated=lambda old, new: rotated.append(new)
            ) as session:
                await session.accounts.me()

        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(main())
        assert store._tokens is not None
        assert [store._tokens] == rotated
        assert not store._lock.locked()
        assert store.attempts == (8 if where == "save" else 1)
        assert sandbox.refresh_requests == 1


def test_1_5_a_storm_between_a_lost_response_and_its_replay() -> None:
    """1-5, 1-12: the refresh token may be used up, so it is replayed, also after cancellations."""

    class Leased(_Stormy):
        async def begin_refresh(self) -> None:
            pass

        async def is_still_locked(self) -> bool:
            self.storm.now()
            await asyncio.sleep(0.001)
            return True

    with sandbox_in_a_thread() as sandbox:
        store = Leased(expired(sandbox.tokens()), _Storm(7), "replay")
        sandbox.faults.add(TOKEN, status=502)

        async def main() -> None:
            async with open_session(sandbox, store) as session:
                await session.oauth.refresh()

        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(main())
        assert store.storm.left == 0
        assert store._tokens is not None
        assert store._tokens.expires_at.timestamp() > time.time()


def test_1_5_a_storm_over_the_last_save() -> None:
    """1-5, 2-7: what could not be stored is stored by the close, however often that is cancelled."""

    class Reluctant(_Stormy):
        async def save(self, tokens: TokenSet, /) -> None:
            if not self.attempts:
                self.attempts += 1
                raise OSError("no room yet")
            await super().save(tokens)

    with sandbox_in_a_thread() as sandbox:
        store = Reluctant(expired(sandbox.tokens()), _Storm(7), "save")

        async def main() -> None:
            async with open_session(sandbox, store) as session:
                await session.oauth.refresh()

        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(main())
        assert store._tokens is not None
        assert store._tokens.expires_at.timestamp() > time.time()


def test_1_5_a_save_that_cancels_itself_is_not_repeated_for_ever() -> None:
    """2-7: a store that raises `CancelledError` by itself has failed to store the token set. That is reported."""

    class Broken(MemoryTokenStore):
        attempts = 0

        async def save(self, tokens: TokenSet, /) -> None:
            self.attempts += 1
            raise asyncio.CancelledError

    with sandbox_in_a_thread() as sandbox:
        store = Broken(expired(sandbox.tokens()))

        async def main() -> str:
            session = open_session(sandbox, store)
            try:
                return (await session.accounts.me()).email
            finally:
                with contextlib.suppress(Exception):
                    await session.aclose()

        assert asyncio.run(main())
        assert store.attempts == 2
