"""gunicorn with `--preload`: the session of the master, and the workers that are forked from it and end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path

import pytest
from helpers.evidence import note
from helpers.support import put, sandbox_in_a_thread
from web.servers import listening

from ezeep_async import FileTokenStore
from ezeep_async.sandbox import SANDBOX_ADMIN


pytestmark = [
    pytest.mark.slow,
    pytest.mark.may_block,
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
]

APP = """
    import os
    from ezeep_async import EzeepSession, Settings, run_sync

    session = run_sync(EzeepSession.from_env(settings=Settings(read_timeout=5.0, refresh_timeout=5.0)))
    session.accounts.me()

    def app(environ, start_response):
        start_response("200 OK", [("Connection", "close")])
        return [session.accounts.me().email.encode()]
"""
CONFIG = """
    preload_app = True
    workers = 1
    max_requests = 1
    control_socket_disable = True

    def post_worker_init(worker):
        print("worker", worker.pid, flush=True)

    def child_exit(server, worker):
        from preloaded import session
        try:
            session.oauth.refresh()
            print("refreshed by", session.accounts.me().email, flush=True)
        except Exception as error:
            print(repr(error), flush=True)
"""


def test_the_master_keeps_its_token_set(tmp_path: Path) -> None:
    """5-3: a worker ends by `sys.exit`, after its last request and on SIGTERM. Then the master refreshes."""
    path = tmp_path / "login.json"
    (tmp_path / "preloaded.py").write_text(textwrap.dedent(APP))
    (tmp_path / "settings.py").write_text(textwrap.dedent(CONFIG))
    sock, url = listening()
    with sock, sandbox_in_a_thread(users=3, groups=1) as sandbox, (tmp_path / "log").open("w") as log:
        asyncio.run(put(FileTokenStore(path), sandbox.tokens()))
        master = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "gunicorn",
                "--config",
                "settings.py",
                "--bind",
                f"fd://{sock.fileno()}",
                "preloaded:app",
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "EZEEP_CLIENT_ID": sandbox.oauth_app.client_id,
                "EZEEP_TOKEN_FILE": str(path),
                "EZEEP_ACCOUNT_URL": sandbox.endpoints.account,
                "EZEEP_API_URL": sandbox.endpoints.api,
            },
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            pass_fds=[sock.fileno()],
            start_new_session=True,
        )
        try:
            assert master.stdout is not None
            for number, end in enumerate(("its last request", "SIGTERM"), start=1):
                worker = int(master.stdout.readline().split()[1])
                if end == "SIGTERM":
                    os.kill(worker, signal.SIGTERM)
                else:
                    with urllib.request.urlopen(url, timeout=20) as response:
                        assert response.read() == SANDBOX_ADMIN.encode()
                said = master.stdout.readline()
                note(
                    f"child of a fork: gunicorn --preload, {end}", sandbox, 1, lost="Reauthorization" in said
                )
                assert said == f"refreshed by {SANDBOX_ADMIN}\n"
                assert sandbox.refresh_requests == number
            master.terminate()
            assert master.wait(20) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(master.pid, signal.SIGKILL)
            master.communicate()
        assert "Traceback" not in (tmp_path / "log").read_text()
