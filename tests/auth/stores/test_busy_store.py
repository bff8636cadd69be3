"""2-8: waiting for a store that another process holds can be cancelled; a refresh that was sent cannot."""

from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.support import TOKEN, expired, open_session, put, sandbox_in_a_thread, settle, until

from ezeep_async import FileTokenStore, MemoryTokenStore, TransientAuthError
from ezeep_async.sandbox import Sandbox


CHILD = """
import asyncio, sys

from ezeep_async import Endpoints, EzeepSession, FileTokenStore, OAuthApp

client_id, account, api, path, inside = sys.argv[1:]


class Reporting(FileTokenStore):
    def _try_lock(self, lock):
        taken = super()._try_lock(lock)
        print("waiting", flush=True)
        return taken


async def main():
    session = EzeepSession(OAuthApp(client_id), Reporting(path), endpoints=Endpoints(account, api))
    if inside:
        async with session:
            await session.accounts.me()
    else:
        await session.accounts.me()


asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.timeout(60)
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("inside", ["inside", ""])
def test_2_8_one_ctrl_c_ends_a_process_that_waits_for_the_lock(tmp_path: Path, inside: str) -> None:
    """2-8: nothing has been sent, and nothing is lost: the close does not wait, nor does the end of the loop."""
    path = tmp_path / "login.json"

    async def main() -> None:
        store = FileTokenStore(path)
        await put(store, expired(sandbox.tokens()))
        async with store.lock():
            where = [sandbox.oauth_app.client_id, sandbox.endpoints.account, sandbox.endpoints.api, str(path)]
            with subprocess.Popen(
                [sys.executable, "-c", CHILD, *where, inside], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as child:
                assert child.stdout is not None
                assert child.stderr is not None
                child.stdout.readline()
                child.stdout.readline()
                child.send_signal(signal.SIGINT)
                try:
                    child.wait(20)
                finally:
                    child.kill()
                errors = child.stderr.read()
        assert errors.endswith(b"KeyboardInterrupt\n")
        assert b"destroyed" not in errors
        async with open_session(sandbox, FileTokenStore(path)) as session:
            await session.accounts.me()

    with sandbox_in_a_thread() as sandbox:
        asyncio.run(main())
        assert sandbox.refresh_requests == 1


async def test_2_8_a_call_whose_session_closes_while_it_waits_gets_an_error(sandbox: Sandbox) -> None:
    """2-8: it gets an error, not a cancellation that no caller requested; the lock is free for the next session."""
    store = MemoryTokenStore(expired(sandbox.tokens()))
    session = open_session(sandbox, store)
    async with store.lock():
        calls = [asyncio.create_task(session._core.refresher.access_token()) for _ in range(3)]
        await settle()
        calls[0].cancel()
        await session.aclose()
        await asyncio.wait(calls)
        assert calls[0].cancelled()
        for call in calls[1:]:
            assert isinstance(call.exception(), TransientAuthError)
    async with open_session(sandbox, store) as again:
        await again.accounts.me()
    assert sandbox.refresh_requests == 1


async def test_1_7_closing_reports_what_it_waits_for(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1-7: a silent account service holds up the close, and a person at the terminal learns why."""
    monkeypatch.setattr("ezeep_async.auth.refresher.REPORT_CLOSING_AFTER_S", 0.05)
    session = open_session(sandbox)
    hold = sandbox.faults.hold(TOKEN)
    call = asyncio.create_task(session.accounts.me())
    await hold.arrived()
    with caplog.at_level(logging.WARNING):
        closing = asyncio.create_task(session.aclose())
        await until(lambda: "closing waits for a token refresh" in caplog.text)
    assert not closing.done()
    hold.release()
    await closing
    await asyncio.wait({call})
    assert sandbox.refreshes == 1


@pytest.mark.may_block
def test_2_3_the_first_token_set_of_a_killed_process_is_adopted(tmp_path: Path) -> None:
    """2-3: the process died after the write and before the rename. There is no older token set, so this one counts."""
    with sandbox_in_a_thread() as sandbox:
        tokens = sandbox.tokens()
    path = tmp_path / "login.json"
    store = FileTokenStore(path)
    asyncio.run(put(store, tokens))
    path.rename(path.with_name(f".{path.name}.0.tmp"))
    path.with_name(f".{path.name}.0.try").write_text("what only showed that there is room")

    async def check() -> None:
        async with store.lock():
            assert await store.load() == tokens
            await store.clear()
        async with store.lock():
            assert await store.load() is None

    asyncio.run(check())
    assert [each.name for each in tmp_path.iterdir()] == ["login.json.lock"]
