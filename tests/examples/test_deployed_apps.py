"""docs/how-to/deploy-a-web-app.md: the applications of `examples/` in several processes, behind nginx with TLS and path prefixes."""

from __future__ import annotations

import asyncio
import base64
import configparser
import contextlib
import io
import os
import re
import shlex
import shutil
import ssl
import subprocess
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import attrs
import pytest
import trustme
from helpers import documents
from helpers.browser import decide
from helpers.example_servers import Server, serving
from helpers.support import put, reserved_port, sandbox_in_a_thread
from yarl import URL

from ezeep_async import FileTokenStore
from ezeep_async.sandbox import SANDBOX_ADMIN, Sandbox


PAGE = "docs/how-to/deploy-a-web-app.md"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PORTS = {"8400": "fastapi_app", "8401": "flask_app", "8402": "aiohttp_app"}


def command(mark: str) -> list[str]:
    """The command of the page that starts an application, on another port."""
    program, *options = shlex.split(re.sub("840[0-2]", "{port}", documents.marked(PAGE, mark)))
    if program == "python":
        return options
    return ["-m", program, *options, *(["--no-control-socket"] if program == "gunicorn" else [])]


COMMANDS = {
    # Fewer worker processes than on the page start sooner: several are needed only where a form is printed once.
    "fastapi_app": ["2" if option == "3" else option for option in command("start-fastapi")],
    "flask_app": ["1" if option == "3" else option for option in command("start-flask")],
    "aiohttp_app": command("start-aiohttp"),
}


def configuration(folder: Path, port: int, plain_port: int, servers: dict[str, Server]) -> str:
    """The configuration of the page: on another port, for the servers of the test, with its files in the folder."""
    text = documents.marked(PAGE, "nginx")
    for page_port, name in PORTS.items():
        text = text.replace(f"http://127.0.0.1:{page_port}", servers[name].url)
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
    text = text.replace("listen 80;", f"listen 127.0.0.1:{plain_port};")
    text = re.sub("/etc/ssl|/etc/nginx|/var/log/nginx", str(folder), text)
    places = "".join(
        f"{name}_temp_path {folder / name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Nginx starts as root in a container, and gives up its rights: its workers could not write into the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""
        {user} daemon off; worker_processes 1; pid {folder / "pid"}; error_log {folder / "error.log"};
        events {{}}
        http {{ {places} {text} }}
    """


@contextlib.contextmanager
def nginx(folder: Path, port: int, plain_port: int, servers: dict[str, Server]) -> Iterator[None]:
    """Run nginx with the configuration of the page. The password of the service is `secret`."""
    assert NGINX is not None
    path = folder / "nginx.conf"
    path.write_text(configuration(folder, port, plain_port, servers))
    (folder / "print.users").write_text("caller:{PLAIN}secret\n")
    options = ["-e", str(folder / "error.log"), "-p", str(folder), "-c", str(path)]
    checked = subprocess.run([NGINX, "-t", *options], check=False, capture_output=True, text=True, timeout=15)
    assert checked.returncode == 0, checked.stderr
    process = subprocess.Popen([NGINX, *options])
    try:
        end = time.monotonic() + 15
        while not (folder / "pid").exists() or not (folder / "pid").stat().st_size:
            assert process.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        assert process.wait(15) == 0


def test_the_unit_starts_what_the_page_starts() -> None:
    """The block `unit` of the page. Its time limits are in the order that the page explains."""
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str
    unit.read_string(documents.marked(PAGE, "unit"))
    service = unit["Service"]
    assert service["ExecStart"].partition("/.venv/bin/")[2] == documents.marked(PAGE, "start-fastapi").strip()
    graceful = int(re.search(r"--timeout-graceful-shutdown (\d+)", service["ExecStart"])[1])
    # 75 s are for a token refresh that is under way.
    assert graceful + 75 < int(service["TimeoutStopSec"])
    assert documents.marked(PAGE, "nginx-load") == "sudo nginx -t && sudo nginx -s reload\n"


@attrs.define
class Site:
    """The host with all applications."""

    url: URL
    plain: URL
    """The address without TLS."""
    trust: ssl.SSLContext
    sandbox: Sandbox
    servers: dict[str, Server]

    @contextlib.asynccontextmanager
    async def browser(self, prefix: str):
        """A browser for one application. Redirects are returned."""
        jar = aiohttp.CookieJar(unsafe=True)  # "unsafe" are cookies of hosts without a name
        connector = aiohttp.TCPConnector(ssl=self.trust)
        async with aiohttp.ClientSession(cookie_jar=jar, connector=connector) as session:

            async def go(method: str, path: str, **options) -> tuple[int, str, str]:
                """The status, the text, and where it redirects to."""
                url = self.url.join(URL(path)) if path.startswith("/") else self.url / prefix / path
                async with session.request(method, url, allow_redirects=False, **options) as response:
                    by_nginx = "WWW-Authenticate" in response.headers
                    assert by_nginx or response.headers.get("Cache-Control") == "no-store", path
                    assert response.headers["Strict-Transport-Security"] == "max-age=31536000", path
                    if prefix != "service":  # it has no pages
                        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"], path
                    return response.status, await response.text(), response.headers.get("Location", "")

            go.cookies = jar
            yield go


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """All applications and nginx, started at the same time."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "print.example.com.key")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(tmp_path / "print.example.com.pem", append=True)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with (
        sandbox_in_a_thread(job_seconds=0.0) as sandbox,
        reserved_port() as port,
        reserved_port() as plain_port,
        contextlib.ExitStack() as stack,
        ThreadPoolExecutor() as threads,
    ):
        url = URL(f"https://127.0.0.1:{port}")
        places = {
            "DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'app.db'}",
            "LOGINS": str(tmp_path / "logins"),
            "EZEEP_TOKEN_FILE": str(tmp_path / "login.json"),
        }
        asyncio.run(put(FileTokenStore(tmp_path / "login.json"), sandbox.tokens()))
        contexts = {
            name: serving(name, COMMANDS[name], sandbox, tmp_path, f"{url}/{prefix}/callback", **places)
            for name, prefix in (
                ("fastapi_app", "printing"),
                ("flask_app", "flask"),
                ("aiohttp_app", "service"),
            )
        }
        servers = dict(zip(contexts, threads.map(stack.enter_context, contexts.values()), strict=True))
        with nginx(tmp_path, port, plain_port, servers):
            yield Site(url, URL(f"http://127.0.0.1:{plain_port}"), trust, sandbox, servers)
            for server in servers.values():
                server.stop()
        log = (tmp_path / "print.log").read_text()
        assert '"GET /printing/callback' in log
        assert "code=" not in log + "".join(server.log for server in servers.values())


async def sign_in(site: Site, go, prefix: str) -> None:
    _, _, location = await go("GET", "login")
    _, location = await decide(location)
    back = URL(location)
    assert back.path == f"/{prefix}/callback"
    # ezeep's example has a slash before the query.
    status, text, location = await go(
        "GET", str(back.with_path(f"/{prefix}/callback/").with_query(back.query).relative())
    )
    assert (status, location) == (303, f"/{prefix}/"), text


def form(**fields: str) -> aiohttp.FormData:
    data = aiohttp.FormData({"printer": "Front desk laser", **fields})
    data.add_field("document", io.BytesIO(b"%PDF-1.4 " + b"x" * 2_000_000), filename="invoice.pdf")
    return data


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.timeout(120)
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: apt-get install nginx)")
async def test_applications_behind_nginx(site: Site) -> None:
    """One start of all servers, which takes seconds: sign in, print, sign out below a prefix."""
    for prefix, folder in (("printing", "fastapi_app"), ("flask", "flask_app")):
        async with site.browser(prefix) as go:
            assert "You are not signed in." in (await go("GET", ""))[1]
            assert (await go("POST", "logout"))[::2] == (303, f"/{prefix}/")
            assert (await go("GET", "groups"))[2] == f"/{prefix}/login"
            key = str(uuid.uuid4())
            status, text, location = await go("POST", "print", data=form(form_key=key))
            assert (status, location, f'href="/{prefix}/login"' in text) == (401, "", True), text
            await sign_in(site, go, prefix)
            assert {(cookie["path"], cookie["secure"]) for cookie in go.cookies} == {(f"/{prefix}", True)}
            text = (await go("GET", ""))[1]
            assert SANDBOX_ADMIN in text
            for path in re.findall('href="(.+?)"', text):
                assert (await go("GET", path))[0] == 200, path
            before = len(site.sandbox.printed)
            responses = [await go("POST", "print", data=form(form_key=key)) for _ in range(4)]
            assert {status for status, _, _ in responses} == {202}, responses
            # Four requests, in several worker processes
            assert len(site.sandbox.printed) - before == (1 if folder == "fastapi_app" else 4)
            status = re.search('"status": ?"(.+?)"', responses[0][1])[1]
            assert status.startswith(f"/{prefix}/jobs?job=")
            assert '"printed"' in (await go("GET", status))[1]
            for is_away in (False, True):  # the login here ends also if ezeep does not respond to that
                if is_away:
                    await sign_in(site, go, prefix)
                    site.sandbox.faults.add("POST /oauth/revoke/", status=403, times=None)
                revoked = site.sandbox.count("POST /oauth/revoke/")
                copied = {cookie.key: cookie.value for cookie in go.cookies}
                assert (await go("POST", "logout"))[::2] == (303, f"/{prefix}/")
                assert site.sandbox.count("POST /oauth/revoke/") > revoked
                assert "You are not signed in." in (await go("GET", ""))[1]
                # One worker process: others could use their access tokens until they expire.
                if folder == "flask_app":
                    assert (await go("GET", "groups", cookies=copied))[2] == f"/{prefix}/login"
            site.sandbox.faults.clear()
    async with site.browser("printing") as go:
        assert (await go("POST", "logout", headers={"Sec-Fetch-Site": "same-site"}))[0] == 403
        plain = site.plain / "printing/groups" % {"a": "1"}
        async with aiohttp.request("GET", plain, allow_redirects=False) as response:
            location = "https://print.example.com/printing/groups?a=1"
            assert (response.status, response.headers["Location"]) == (301, location)
        # A redirect of the framework itself
        assert (await go("GET", "groups/"))[2] == f"{site.url}/printing/groups"
        assert (await go("GET", "docs"))[0] == 404  # it would load scripts of another host
    async with site.browser("service") as go:
        assert (await go("GET", "groups"))[0] == 401
        password = {"Authorization": f"Basic {base64.b64encode(b'caller:secret').decode()}"}
        query = {"printer": "Front desk laser", "name": "invoice.pdf"}
        content = b"%PDF-1.4 " + b"y" * 2_000_000
        status, text, _ = await go("POST", "print", params=query, data=io.BytesIO(content), headers=password)
        assert (status, site.sandbox.printed[-1].content == content) == (202, True), text
