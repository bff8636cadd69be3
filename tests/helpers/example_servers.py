"""The applications of `examples/`, started as their users start them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
from helpers.support import reserved_port

from ezeep_async.sandbox import Sandbox


EXAMPLES = Path(__file__).parent.parent.parent / "examples"
# Each application imports modules from its folder, as its users start it there.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
FAULT = re.compile(r"Traceback|Warning: (?!Enable)|WARNING|ERROR|never retrieved|was destroyed")
LISTENING = re.compile(r"unclosed <socket\.socket fd=\d+, [^>]*laddr=\('127\.0\.0\.1', \d+\)>")
"""gunicorn leaves its listening socket open, in its workers and where it copied it from."""
LOST = "may or may not be printed"
"""Logged as an error, where a test loses the response to a print request."""
REFUSED = "the print service refused the job"
"""Logged as an error, where a test has it refused."""


def environment(sandbox: Sandbox, **more: str) -> dict[str, str]:
    """What the applications read. All warnings are shown."""
    return {
        **ENVIRONMENT,
        "EZEEP_CLIENT_ID": sandbox.oauth_app.client_id,
        "EZEEP_ACCOUNT_URL": sandbox.endpoints.account,
        "EZEEP_API_URL": sandbox.endpoints.api,
        "EZEEP_PRINT_URL": sandbox.endpoints.print,
        "SECRET_KEY": "a secret of this test, which is long enough",
        "TOKEN_KEY": "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=",
        "PYTHONWARNINGS": "default",
        **more,
    }


@attrs.define
class Server:
    """A running server, and what it has logged."""

    url: str
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def stop(self) -> None:
        """SIGTERM, and a clean end."""
        self.process.terminate()
        # uvicorn shuts down, and then lets the signal have its effect.
        assert self.process.wait(30) in {0, -signal.SIGTERM}, self.log
        expected = re.compile(f"{LOST}|{REFUSED}|{LISTENING.pattern}")
        faults = [line for line in self.log.splitlines() if FAULT.search(line) and not expected.search(line)]
        assert faults == [], self.log


@contextlib.contextmanager
def serving(
    folder: str, command: Sequence[str], sandbox: Sandbox, into: Path, redirect_uri: str = "", **env: str
) -> Iterator[Server]:
    """`python -m command` in `examples/folder`, where `{port}` is a free port. Its callback is registered in the sandbox."""
    with reserved_port() as port:
        url, log_file = f"http://127.0.0.1:{port}", into / f"{folder}.log"
        redirect_uri = redirect_uri or f"{url}/callback"
        sandbox.behaviour.redirect_uris = (*sandbox.behaviour.redirect_uris, redirect_uri)
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *(each.format(port=port) for each in command)],
                cwd=EXAMPLES / folder,
                env=environment(sandbox, EZEEP_REDIRECT_URI=redirect_uri, **env),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        server = Server(url, process, log_file)
        try:
            end = time.monotonic() + 60  # worker processes import the application before they listen
            while True:
                assert process.poll() is None, server.log
                assert time.monotonic() < end, server.log
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.02)
            yield server
        finally:
            # The group and not the process: a master that was killed leaves its workers.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
