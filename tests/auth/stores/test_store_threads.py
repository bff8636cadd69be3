"""Blocking work of stores while the executor of the loop is full, and while a keyring hangs."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers.support import expired, open_session, put

from ezeep_async import FileTokenStore, TokenStoreError
from ezeep_async.sandbox import Sandbox


@pytest.mark.timeout(60)
async def test_2_8_a_full_executor_does_not_block_the_store(sandbox: Sandbox, tmp_path: Path) -> None:
    """2-8: every worker of the executor waits for a call whose token refresh reads and writes the store."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(2))
    store = FileTokenStore(tmp_path / "login.json")
    await put(store, expired(sandbox.tokens()))
    async with open_session(sandbox, store) as session:

        def blocking() -> str:
            return asyncio.run_coroutine_threadsafe(session.accounts.me(), loop).result(20).email

        emails = await asyncio.gather(*[asyncio.to_thread(blocking) for _ in range(4)])
    assert len(set(emails)) == 1
    assert sandbox.refresh_requests == 1


HANGING = """
import asyncio, sys, threading

import keyring
from keyring.backend import KeyringBackend

from ezeep_async import KeyringTokenStore


class Hanging(KeyringBackend):
    priority = 1

    def get_password(self, *args):
        print("asked", flush=True)
        threading.Event().wait()

    set_password = delete_password = get_password


keyring.set_keyring(Hanging())
if sys.argv[1] == "time":
    import ezeep_async.auth.stores.keyring as module

    module.RESPONSE_TIMEOUT_S = 0.2
store = KeyringTokenStore(folder=sys.argv[2])


async def tick():
    # A signal that comes just before the loop goes to sleep is seen when it next wakes.
    while True:
        await asyncio.sleep(0.05)


async def main():
    ticking = asyncio.create_task(tick())
    async with store.lock():
        await getattr(store, sys.argv[3])()


asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.timeout(60)
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("method", ["load", "probe", "check_writable"])
@pytest.mark.parametrize("end", ["time", "signal"])
def test_2_11_a_keyring_that_hangs_delays_neither_cancellation_nor_exit(
    tmp_path: Path, method: str, end: str
) -> None:
    """2-11: the timeout raises a clear error, one Ctrl-C ends the wait, and the program exits."""
    pytest.importorskip("keyring", reason="the extra keyring is not installed")
    command = [sys.executable, "-c", HANGING, end, str(tmp_path), method]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == b"asked\n"
        if end == "signal":
            child.send_signal(signal.SIGINT)
        try:
            child.wait(20)
        finally:
            child.kill()
        last = child.stderr.read().splitlines()[-1].decode()
    if end == "signal":
        assert last == "KeyboardInterrupt"
    else:
        assert f"{TokenStoreError.__name__}: the keyring of this machine does not respond" in last
