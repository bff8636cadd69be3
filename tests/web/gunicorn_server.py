"""A real gunicorn, whose workers can be distinguished, in a process group that ends with its test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import attrs
from helpers.support import until
from web.servers import Browser, listening

from ezeep_async.sandbox import Sandbox


TESTS = Path(__file__).parent.parent


@attrs.define
class Gunicorn:
    """A gunicorn with two workers."""

    url: str
    process: Process
    logins: Path
    """The folder of the token files that the workers share."""
    log_file: Path
    browsers: contextlib.AsyncExitStack
    killed: set[int] = attrs.field(factory=set)

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def workers(self) -> list[int]:
        """The process ids of the living workers, the oldest first."""
        booted = map(int, re.findall(r"Booting worker with pid: (\d+)\n", self.log))
        return [pid for pid in booted if pid not in self.killed]

    def hung_up(self) -> int:
        """How many handlers ended because their client went away."""
        return self.log.count("GET /me: the client hung up")

    async def browser(self, cookies: Mapping[str, str] | None = None) -> Browser:
        browser = await self.browsers.enter_async_context(Browser(self.url))
        browser.cookies = dict(cookies or {})
        return browser

    async def browsers_at(self, worker: int, cookies: Mapping[str, str], count: int = 1) -> list[Browser]:
        """Browsers with a kept connection to that worker: the other workers are stopped meanwhile."""
        others = [pid for pid in self.workers if pid != worker]
        browsers = [await self.browser(cookies) for _ in range(count)]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            for browser in browsers:
                answer = await asyncio.wait_for(browser.get("/me"), 15)
                assert answer.headers["X-Served-By"] == str(worker)
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)
        return browsers

    def kill(self, worker: int) -> None:
        os.kill(worker, signal.SIGKILL)
        self.killed.add(worker)

    async def replacement(self) -> int:
        """The worker that replaced a killed one."""
        await until(lambda: len(self.workers) == 2)
        return self.workers[1]

    async def stop(self) -> int:
        """Stop gunicorn, wait for its end, and return the exit code."""
        if self.process.returncode is None:
            self.process.terminate()
        return await asyncio.wait_for(self.process.wait(), 30)


@contextlib.asynccontextmanager
async def gunicorn(sandbox: Sandbox, folder: Path) -> AsyncIterator[Gunicorn]:
    """Two workers on a free port, whose callback is registered in the sandbox."""
    sock, url = listening()
    sandbox.behaviour.redirect_uris = (f"{url}/callback",)
    logins, log_file = folder / "logins", folder / "gunicorn.log"
    command = [sys.executable, "-m", "gunicorn", "--config", str(TESTS / "web" / "gunicorn_settings.py")]
    command += ["--pythonpath", str(TESTS), "--bind", f"fd://{sock.fileno()}", "web.gunicorn_app:serve"]
    env = {
        **os.environ,
        "EZEEP_CLIENT_ID": sandbox.oauth_app.client_id,
        "EZEEP_REDIRECT_URI": f"{url}/callback",
        "EZEEP_ACCOUNT_URL": sandbox.endpoints.account,
        "EZEEP_API_URL": sandbox.endpoints.api,
        "LOGINS": str(logins),
        # All but that one: gunicorn leaves open what it copied a listening socket from.
        "PYTHONWARNINGS": "default,ignore::ResourceWarning:gunicorn.arbiter",
    }
    with sock, log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=env,
            stdout=log,
            stderr=log,
            pass_fds=[sock.fileno()],
            start_new_session=True,
        )
    try:
        async with contextlib.AsyncExitStack() as browsers:
            server = Gunicorn(url, process, logins, log_file, browsers)
            await until(lambda: len(server.workers) == 2 or process.returncode is not None)
            assert process.returncode is None, server.log
            yield server
    finally:
        # The group and not the process: a master that was killed leaves its workers.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
