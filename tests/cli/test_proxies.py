"""The command line behind a proxy, and with a private certificate authority: docs/how-to/proxies.md."""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path

import pytest
import trustme
from helpers import documents
from helpers.command_line import environment, ezeep
from helpers.proxy_process import proxy_process
from helpers.raw_server import PlayServer
from helpers.stub_servers import login as tokens_of_a_login
from helpers.support import put

from ezeep_async import FileTokenStore


ONE_CALL = """
import asyncio
from ezeep_async import ConnectFailed, EzeepSession, Settings

async def main():
    async with EzeepSession.from_env(settings=Settings(trust_env=True, retries=0)) as session:
        try:
            await session.accounts.me()
        except ConnectFailed as error:
            print(error)

asyncio.run(main())
"""


@pytest.mark.slow
async def test_commands_use_the_proxy_and_the_authority_of_the_environment(tmp_path: Path) -> None:
    """3-13: the commands of the page, with a proxy and a TLS server whose certificate is of a private authority."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("account.example.test").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "company-ca.pem"))
    await put(FileTokenStore(tmp_path / "login.json"), tokens_of_a_login())
    text = documents.marked("docs/how-to/proxies.md", "command-line").replace("ezeep whoami", "ezeep refresh")
    async with PlayServer(tls=context) as server:
        async with proxy_process(tunnels_to=int(server.url.rpartition(":")[2])) as proxy:
            text = text.replace("http://proxy.example:3128", proxy.url).replace("/etc/ssl/", f"{tmp_path}/")
            text = text.replace("ezeep refresh", 'exec "$PYTHON" -m ezeep_async refresh')
            env = environment(
                {
                    "PYTHON": sys.executable,
                    "EZEEP_CLIENT_ID": "client",
                    "EZEEP_TOKEN_FILE": str(tmp_path / "login.json"),
                    "EZEEP_ACCOUNT_URL": "https://account.example.test",
                }
            )
            process = await asyncio.create_subprocess_exec("sh", "-euc", text, env=env, stdout=-1, stderr=-1)
            _, err = await process.communicate()
            assert (process.returncode, err) == (0, b"")
            # A path that does not exist is no error of its own.
            env |= {"SSL_CERT_FILE": str(tmp_path / "typo.pem"), "HTTPS_PROXY": proxy.url}
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", ONE_CALL, env=env, stdout=-1, stderr=-1
            )
            out, err = await process.communicate()
            assert b"certificate verify failed" in out, err
        assert server.lines == ["POST /oauth/access_token/"]
    assert set(proxy.seen) == {"CONNECT account.example.test:443 through"}


async def test_a_service_on_this_machine_needs_no_proxy(
    login: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox works although a proxy is configured that cannot reach it."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    ran = await ezeep("whoami", "--json")
    assert (ran.code, ran.err) == (0, "")
