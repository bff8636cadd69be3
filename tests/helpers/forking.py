"""A program that forks children, and says after the end of each whether its own session still works.

It reads one JSON line for each child: how the child is made, how it ends, and whether a refresh is under way meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

import attrs

from ezeep_async import (
    Endpoints,
    EzeepError,
    EzeepSession,
    FileTokenStore,
    OAuthApp,
    RedisTokenStore,
    Settings,
    run_sync,
)


SETTINGS = Settings(connect_timeout=5.0, read_timeout=5.0, deadline=10.0, refresh_timeout=5.0)


@attrs.frozen
class Job:
    """One child."""

    by: str
    """`fork`, `multiprocessing`, `preexec_fn` or `prefork`."""
    end: str
    """`return`, `sys.exit`, `os._exit`, `exception` or `SIGTERM`."""
    refreshing: bool


def end(how: str) -> None:
    """End this process, or return."""
    gc.collect()
    if how == "sys.exit":
        sys.exit(0)
    elif how == "os._exit":
        os._exit(0)
    elif how == "exception":
        raise RuntimeError("raised on purpose")
    elif how == "SIGTERM":
        os.kill(os.getpid(), signal.SIGTERM)


def make_child(job: Job, use: Callable[[], object]) -> int | None:
    """Make a child, and wait for its end. None in a child that is to return from `main`."""
    if job.by == "preexec_fn":
        with contextlib.suppress(subprocess.SubprocessError):
            subprocess.run([sys.executable, "-c", ""], preexec_fn=lambda: end(job.end), check=False)
        return 0
    if job.by == "multiprocessing":
        child = multiprocessing.get_context("fork").Process(target=end, args=(job.end,))
        child.start()
        child.join()
        return child.exitcode
    pid = os.fork()
    if pid == 0:
        if job.by == "prefork":
            prefork_worker(job, use)
        end(job.end)
        return None
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def prefork_worker(job: Job, use: Callable[[], object]) -> NoReturn:
    """What a worker of Celery's prefork pool does: billiard runs tasks, and ends the process without exit handlers."""
    code = 0
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not job.refreshing:  # its own session would wait for the lock that the parent holds
            use()
        end(job.end)
    except SystemExit:
        pass
    except BaseException:
        code = 1
    finally:
        sys.stdout.flush()
        os._exit(code)


def say(**what: object) -> None:
    print(json.dumps(what), flush=True)


def next_job() -> Job | None:
    line = sys.stdin.readline()
    return Job(**json.loads(line)) if line else None


def blocking(make: Callable[[], EzeepSession]) -> None:
    with run_sync(make()) as session:
        session.accounts.me()
        session.keep_alive()

        def attempt(call: Callable[[], object]) -> None:
            try:
                call()
            except EzeepError as error:
                errors.append(repr(error))

        while (job := next_job()) is not None:
            errors: list[str] = []
            refresh = threading.Thread(target=attempt, args=(session.oauth.refresh,))
            if job.refreshing:
                refresh.start()
                sys.stdin.readline()
            code = make_child(job, session.accounts.me)
            if code is None:
                return
            say(code=code)
            if job.refreshing:
                sys.stdin.readline()
                refresh.join()
            began = time.monotonic()
            attempt(session.accounts.me)
            attempt(session.oauth.refresh)
            say(errors=errors, seconds=time.monotonic() - began)


async def asynchronous(make: Callable[[], EzeepSession]) -> None:
    async with make() as session:
        await session.accounts.me()
        session.keep_alive()

        async def me() -> object:
            async with make() as own:
                return await own.accounts.me()

        while (job := await asyncio.to_thread(next_job)) is not None:
            errors: list[str] = []
            refresh = asyncio.ensure_future(session.oauth.refresh() if job.refreshing else asyncio.sleep(0))
            if job.refreshing:
                await asyncio.to_thread(sys.stdin.readline)
            code = make_child(job, lambda: asyncio.run(me()))
            if code is None:
                return
            say(code=code)
            if job.refreshing:
                await asyncio.to_thread(sys.stdin.readline)
            began = time.monotonic()
            for call in (lambda refresh=refresh: refresh, session.accounts.me, session.oauth.refresh):
                try:
                    await call()
                except EzeepError as error:
                    errors.append(repr(error))
            say(errors=errors, seconds=time.monotonic() - began)


def is_not_slow(record: logging.LogRecord) -> bool:
    """Debug mode reports slow callbacks, and to wait for a child is one."""
    return not record.getMessage().startswith("Executing")


def main(kind: str, where: str, client_id: str, account: str, api: str) -> None:
    def make() -> EzeepSession:
        store = RedisTokenStore(where) if where.startswith("redis://") else FileTokenStore(where)
        return EzeepSession(OAuthApp(client_id), store, endpoints=Endpoints(account, api), settings=SETTINGS)

    if kind == "async":
        asyncio.run(asynchronous(make))
    else:
        blocking(make)


if __name__ == "__main__":
    logging.getLogger("asyncio").addFilter(is_not_slow)
    main(*sys.argv[1:])
