"""The programs of docs/how-to/sign-in.md and docs/how-to/sign-in-on-a-server.md that need a person or a server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from helpers import documents
from helpers.browser import decide
from helpers.support import reserved_port, sandbox_in_a_thread

from ezeep_async.sandbox import SANDBOX_ADMIN, Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.may_block]


def environment(sandbox: Sandbox) -> dict[str, str]:
    return {
        **os.environ,
        "EZEEP_CLIENT_ID": sandbox.oauth_app.client_id,
        "EZEEP_REDIRECT_URI": str(sandbox.oauth_app.redirect_uri),
        "EZEEP_ACCOUNT_URL": sandbox.endpoints.account,
        "EZEEP_API_URL": sandbox.endpoints.api,
        "EZEEP_PRINT_URL": sandbox.endpoints.print,
    }


@pytest.mark.parametrize(
    "program",
    [
        documents.marked("docs/how-to/sign-in.md", "login"),
        documents.marked("docs/how-to/sign-in.md", "login-blocking"),
    ],
    ids=["async", "blocking"],
)
def test_a_login_with_a_pasted_address(program: str, tmp_path: Path) -> None:
    """A browser approves, the address is pasted, the login is in the file."""
    with (
        sandbox_in_a_thread() as sandbox,
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program],
            cwd=tmp_path, env=environment(sandbox), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process,
    ):  # shorter than one item a line  # fmt: skip
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        _, location = asyncio.run(decide(url))
        out, err = process.communicate(location + "\n", timeout=15)
    assert (process.returncode, err) == (0, "")
    assert f"Welcome, {SANDBOX_ADMIN}" in out
    assert (tmp_path / "login.json").exists()


def test_the_app_starts_as_the_page_says(tmp_path: Path) -> None:
    """The commands under the first recipe serve it: /login redirects to ezeep."""
    (tmp_path / "main.py").write_text(
        documents.marked("docs/how-to/sign-in-on-a-server.md", "encrypted-cookie")
    )
    with sandbox_in_a_thread() as sandbox, reserved_port() as port:
        commands = documents.marked("docs/how-to/sign-in-on-a-server.md", "run-uvicorn")
        commands = commands.replace("uvicorn main", f"exec {sys.executable} -m uvicorn main").replace(
            "8000", str(port)
        )
        env = environment(sandbox) | {"EZEEP_REDIRECT_URI": f"http://127.0.0.1:{port}/callback"}

        async def location() -> str:
            async with aiohttp.ClientSession() as client:
                for _ in range(200):
                    try:
                        url = f"http://127.0.0.1:{port}/login"
                        async with client.get(url, allow_redirects=False) as response:
                            return response.headers["Location"]
                    except aiohttp.ClientConnectionError:
                        await asyncio.sleep(0.05)
            raise AssertionError("uvicorn did not start")

        with subprocess.Popen(
            ["sh", "-eu", "-c", commands], cwd=tmp_path, env=env, stderr=-1, stdout=-1
        ) as process:
            try:
                assert asyncio.run(location()).startswith(sandbox.endpoints.account)
            finally:
                process.terminate()
                process.communicate(timeout=15)
