"""The programs of docs/how-to/proxies.md, with a real proxy and real TLS."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from helpers import documents
from helpers.proxy_process import proxy_process
from helpers.raw_server import ID, PlayServer
from helpers.stub_servers import session_on
from helpers.support import put
from helpers.tls import behind_tls

from ezeep_async import Endpoints, EzeepError, FileTokenStore, Settings
from ezeep_async.sandbox import SANDBOX_ADMIN, Sandbox


pytestmark = pytest.mark.may_block


@pytest.fixture
async def _environment(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a program, in a folder with a login."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EZEEP_CLIENT_ID", sandbox.oauth_app.client_id)
    monkeypatch.setenv("EZEEP_TOKEN_FILE", str(tmp_path / "login.json"))
    point_to(sandbox.endpoints, monkeypatch)
    await put(FileTokenStore(tmp_path / "login.json"), sandbox.tokens())


def point_to(endpoints: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("account", "api", "print"):
        monkeypatch.setenv(f"EZEEP_{host.upper()}_URL", getattr(endpoints, host))


async def run(program: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The output of a program of the page, in this event loop."""
    scope: dict[str, Any] = {}
    exec(compile(program.replace("asyncio.run(main())", ""), "docs/how-to/proxies.md", "exec"), scope)
    await scope["main"]()
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("_environment")
async def test_a_proxy_of_the_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """3-13: the request goes to the proxy, with the password for it."""
    monkeypatch.setenv("PROXY_PASSWORD", "s3cret")
    program = documents.marked("docs/how-to/proxies.md", "own-proxy")
    async with proxy_process("print-service:s3cret") as proxy:
        out = await run(program.replace("http://proxy.example:3128", proxy.url), capsys)
    assert SANDBOX_ADMIN in out
    assert [line.rpartition(" ")[2] for line in proxy.seen] == ["through"]


@pytest.mark.usefixtures("_environment")
async def test_a_private_authority(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """3-13: a server with a certificate of the authority in the file."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "company-ca.pem"))
    async with behind_tls(sandbox, authority) as endpoints:
        point_to(endpoints, monkeypatch)
        (tmp_path / "login.json").unlink()
        await put(FileTokenStore(tmp_path / "login.json"), sandbox.tokens())
        out = await run(documents.marked("docs/how-to/proxies.md", "private-ca"), capsys)
    assert SANDBOX_ADMIN in out


async def test_a_client_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """3-13: a server that demands one gets it."""
    monkeypatch.chdir(tmp_path)
    authority = trustme.CA()
    authority.cert_pem.write_to_path("company-ca.pem")
    certificate = authority.issue_cert("client@example.com")
    certificate.private_key_pem.write_to_path("client.key")
    certificate.cert_chain_pems[0].write_to_path("client.pem")
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    authority.configure_trust(server_tls)
    server_tls.verify_mode = ssl.CERT_REQUIRED
    scope: dict[str, Any] = {"ssl": ssl, "Settings": Settings}
    exec(documents.marked("docs/how-to/proxies.md", "client-certificate"), scope)
    async with PlayServer(tls=server_tls) as server:
        async with session_on(server.url, ssl_context=scope["settings"].ssl_context) as session:
            assert (await session.groups.get(ID)).name == "g"


async def test_a_borrowed_connector_has_the_context_of_the_settings() -> None:
    """What the page says of `http=`: its proxy and its headers are not used."""
    async with PlayServer() as server:
        async with aiohttp.ClientSession(proxy="http://127.0.0.1:9", headers={"X-Mine": "1"}) as http:
            async with session_on(server.url, http=http) as session:
                await session.groups.get(ID)
    assert "X-Mine" not in server.requests[0].head


@pytest.mark.slow
async def test_the_messages(caplog: pytest.LogCaptureFixture) -> None:
    """The table at the end of the page has the words of the errors."""
    found = []
    stranger = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(stranger)
    async with proxy_process("who:password") as proxy, PlayServer(tls=stranger) as server:
        for settings in ({"proxy": proxy.url}, {"proxy": "http://127.0.0.1:9"}, {}):
            async with session_on(server.url, retries=0, **settings) as session:
                with pytest.raises(EzeepError) as caught:
                    await session.groups.get(ID)
                found.append(str(caught.value))
    with pytest.raises(ValueError, match="proxy must be an http:// or https:// URL"):
        Settings(proxy="proxy.example:3128")
    text = (documents.ROOT / "docs/how-to/proxies.md").read_text()
    for message, words in zip(
        found,
        ("the proxy responded with 407", "cannot connect to 127.0.0.1:9", "certificate verify failed"),
        strict=True,
    ):
        assert words in message
        assert words.replace("127.0.0.1:9", "proxy.example:3128") in text
