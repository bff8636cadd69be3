"""`ezeep login` as a process, with a browser, against a sandbox on real sockets."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from helpers.browser import decide
from helpers.command_line import ended, ezeep, ezeep_process, running, started
from helpers.people import Desk, visit
from helpers.support import TOKEN, put, reserved_port
from yarl import URL

from ezeep_async import FileTokenStore, TokenSet
from ezeep_async.auth.app import AuthorizationRequest, code_from_callback
from ezeep_async.cli.login.loopback import RedirectListener


pytestmark = [pytest.mark.timeout(60), pytest.mark.slow]


REQUEST = AuthorizationRequest("https://account.example.com/", "right", "verifier")


async def stored(desk: Desk) -> TokenSet:
    (path,) = desk.token_files
    found = await FileTokenStore(path).load()
    assert found is not None
    return found


# --- in the browser ------------------------------------------------------------------------------------------------


async def test_log_in_whoami_and_log_out(desk: Desk) -> None:
    """1-1, 2-14, 9-4: state and PKCE, a friendly page, one request; the tokens are stored for the next command."""
    async with running("login", env=desk.environment) as process:
        came_back = await desk.came_back()
        status, page = await visit(came_back)
        ran = await ended(process)
    assert (status, ran.code, ran.err) == (200, 0, "")
    assert "You are logged in" in page
    assert "Logged in as " in ran.out
    opened, redirect = URL(await desk.opened()), URL(came_back)
    assert opened.query["code_challenge_method"] == "S256"
    tokens = await stored(desk)
    for secret in (redirect.query["code"], tokens.access_token, tokens.refresh_token):
        assert secret not in ran.out + page
    (path,) = desk.token_files
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert str(path) in ran.out

    who = await ezeep("whoami", "--json", env=desk.environment)
    shown = json.loads(who.out)
    person = desk.sandbox.organization.people[desk.sandbox.organization.admin_id]
    assert (shown["email"], shown["id"]) == (person.email, str(person.id))
    assert shown["organization_id"] == str(desk.sandbox.organization.organization_id)
    assert shown["access_token_ends"] == tokens.expires_at.isoformat()
    assert tokens.access_token not in who.out

    out = await ezeep("logout", env=desk.environment)
    assert (out.code, out.out) == (0, "Logged out\n")
    assert desk.token_files == []
    assert desk.sandbox.count("POST /oauth/revoke/") == 1
    assert (await ezeep("logout", env=desk.environment)).out == "Not logged in\n"
    assert "not logged in" in (await ezeep("whoami", env=desk.environment)).refused()


async def test_what_does_not_belong_to_the_login_is_refused(desk: Desk) -> None:
    """9-4: a forged state, another path, another method, another name for this machine; the real answer still counts."""
    async with running("login", env=desk.environment) as process:
        came_back = URL(await desk.came_back())
        forged = came_back.update_query(state="forged")
        assert (await visit(str(forged)))[0] == 400
        assert (await visit(str(came_back.without_query_params("state"))))[0] == 400
        assert (await visit(str(came_back.with_path("/favicon.ico"))))[0] == 404
        assert (await visit(str(came_back), method="POST"))[0] == 405
        for name in ("evil.example", "evil.example:80", "[", ""):
            assert (await visit(str(came_back), headers={"Host": name}))[0] in {400, 421}
        assert desk.sandbox.count(TOKEN) == 0
        assert (await visit(str(came_back)))[0] == 200
        ran = await ended(process)
    assert ran.code == 0
    assert desk.sandbox.count(TOKEN) == 1


@pytest.mark.parametrize(
    ("method", "path", "query", "says"),
    [
        ("POST", "", "code=x&state=right", "A redirect is a GET, and this was a POST."),
        ("POST", "", "", "A redirect is a GET, and this was a POST."),
        ("GET", "", "code=x", "has no state: it is incomplete"),
        ("GET", "", "error=access_denied", "has no state: it is incomplete"),
        ("GET", "", "code=x&state=", "has no state: it is incomplete"),
        ("GET", "", "code=x&state=forged", "state is not the one of this login"),
        ("GET", "other", "code=x&state=right", "The redirect address is another one: /"),
        ("GET", "favicon.ico", "", ""),
        ("GET", "favicon.ico", "v=1", ""),
    ],
)
async def test_what_was_refused_is_remembered(method: str, path: str, query: str, says: str) -> None:
    """Not what other visitors of the port want, such as an icon."""
    with reserved_port() as port:
        async with RedirectListener(f"http://127.0.0.1:{port}/", REQUEST) as listener:
            assert (await visit(f"http://127.0.0.1:{port}/{path}?{query}", method=method))[0] >= 400
            assert says in listener.refusal
            assert bool(says) == bool(listener.refusal)


@pytest.mark.parametrize("ampersand", ["&amp;", "&AMP;amp;"])
async def test_an_address_that_went_through_a_page(ampersand: str) -> None:
    """A page, a mail or a log wrote its `&` as an entity: it is understood. Nothing else in it is changed."""
    query = f"code=a%2Bb%2520c&copy=%26{ampersand}state=right"
    with reserved_port() as port:
        async with RedirectListener(f"http://127.0.0.1:{port}/", REQUEST) as listener:
            visitor = asyncio.create_task(visit(URL(f"http://127.0.0.1:{port}/?{query}", encoded=True)))
            came_back = await listener.redirect(10)
            await listener.show("Done", "Done", worked=True)
            assert (await visitor)[0] == 200
    assert code_from_callback(came_back, REQUEST) == "a+b%20c"


async def test_the_last_refusal_is_reported_at_the_end(desk: Desk) -> None:
    """However the waiting ends."""
    async with started("login", env=desk.environment) as process:
        came_back = URL(await desk.came_back())
        assert (await visit(str(came_back.without_query_params("state"))))[0] == 400
        process.send_signal(2)
        ran = await ended(process)
    complaint, end = ran.err.splitlines()
    assert complaint == (
        "ezeep: no login in the browser. The last request was refused: the redirect has no state: it is incomplete, or "
        "does not belong to this login. Use the complete address, or start again."
    )
    assert (ran.code, end) == (130, "ezeep: interrupted")


async def test_the_address_is_shown_at_once_in_a_pipe(desk: Desk) -> None:
    """The program that reads the pipe opens it."""
    async with started("login", env=desk.environment) as process:
        assert process.stdout is not None
        await process.stdout.readline()
        _, came_back = await decide((await process.stdout.readline()).decode().strip())
        assert (await visit(came_back))[0] == 200
        assert (await ended(process)).code == 0


async def test_one_request_is_served(desk: Desk) -> None:
    """A second browser with the same answer gets nothing, during the exchange and after it."""
    hold = desk.sandbox.faults.hold(TOKEN)
    async with running("login", env=desk.environment) as process:
        came_back = await desk.came_back()
        first = asyncio.create_task(visit(came_back))
        await hold.arrived()
        assert (await visit(came_back))[0] == 409
        hold.release()
        assert (await first)[0] == 200
        assert (await ended(process)).code == 0
    with pytest.raises(OSError):
        await visit(came_back)
    assert desk.sandbox.count(TOKEN) == 1


async def test_with_the_slash_that_the_documents_have(desk: Desk) -> None:
    """API document, "OAuth2": the browser comes back to `<redirect_uri>/?code=...`."""
    async with running("login", env=desk.environment) as process:
        came_back = URL(await desk.came_back())
        assert (await visit(str(came_back.with_path("/callback/", keep_query=True))))[0] == 200
        assert (await ended(process)).code == 0


async def test_declined(desk: Desk) -> None:
    async with running("login", env=desk.environment) as process:
        status, page = await visit(await desk.came_back("deny"))
        ran = await ended(process)
    assert status == 200
    assert "Not logged in" in page
    assert "the login was declined" in ran.refused()
    assert desk.token_files == []


async def test_the_exchange_fails(desk: Desk) -> None:
    """The page shows the outcome of the exchange."""
    desk.sandbox.faults.add(
        TOKEN, status=400, body=b'{"error": "invalid_grant", "error_description": "<b>spent</b>"}'
    )
    async with running("login", env=desk.environment) as process:
        _, page = await visit(await desk.came_back())
        ran = await ended(process)
    assert "Not logged in" in page
    assert "&lt;b&gt;spent" in page
    assert "the login was refused" in ran.refused()


async def test_the_time_for_the_browser_ends(desk: Desk) -> None:
    ran = await ezeep("login", "--timeout", "0.2", env=desk.environment)
    assert ran.refused() == "no login in the browser within 0.2 s"


async def test_a_port_that_is_taken_is_found_out_before_the_browser_opens(desk: Desk) -> None:
    async with started("login", env=desk.environment) as first:
        await desk.opened()
        (desk.home / "opened").unlink()
        ran = await ezeep("login", env=desk.environment)
        first.kill()
    assert "cannot listen there for the browser" in ran.refused()
    assert not desk.browser_was_opened


@pytest.mark.parametrize("address", ["https://127.0.0.1:8400/callback", "http://app.example/callback"])
async def test_an_address_at_which_nothing_can_listen(desk: Desk, address: str) -> None:
    ran = await ezeep("login", "--redirect-uri", address, env=desk.environment)
    assert "--no-browser" in ran.refused()
    assert not desk.browser_was_opened


async def test_without_a_browser_other_ways_are_named(desk: Desk) -> None:
    env = desk.environment | {"BROWSER": "/absent/browser %s", "PATH": "/absent"}
    async with started("login", env=env) as process:
        assert process.stdout is not None
        while not (line := (await process.stdout.readline()).decode()).startswith("http"):
            assert line
        assert "--device" in (await process.stdout.readline()).decode()
        _, came_back = await decide(line.strip())
        assert (await visit(came_back))[0] == 200
        assert (await ended(process)).code == 0


async def test_ctrl_c_while_the_browser_is_waited_for(desk: Desk) -> None:
    async with started("login", env=desk.environment) as process:
        await desk.opened()
        process.send_signal(2)
        ran = await ended(process)
    assert (ran.code, ran.err) == (130, "ezeep: interrupted\n")


async def test_localhost_on_both_families(desk: Desk) -> None:
    """RFC 8252 section 7.3: a browser may take either address for the name."""
    with reserved_port() as port:
        address = f"http://localhost:{port}/"
        desk.sandbox.behaviour.redirect_uris = (address,)
        async with running("login", "--redirect-uri", address, env=desk.environment) as process:
            came_back = URL(await desk.came_back())
            forged = came_back.update_query(state="forged")
            if has_ipv6():
                status, page = await visit(
                    str(forged.with_host("::1")), headers={"Host": f"localhost:{port}"}
                )
                assert (status, "not the one of this login" in page) == (400, True)
            assert (await visit(str(came_back.with_host("127.0.0.1"))))[0] == 200
            assert (await ended(process)).code == 0


@pytest.mark.parametrize("taken", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("name", ["localhost", "app.localhost"])
async def test_a_port_of_localhost_that_another_program_has(taken: str, name: str) -> None:
    """At one address only: a browser may take that one, and give it the code."""
    if not has_ipv6():
        pytest.skip("needs IPv6 on loopback")
    family = socket.AF_INET6 if ":" in taken else socket.AF_INET
    with socket.create_server((taken, 0), family=family) as other:
        address = f"http://{name}:{other.getsockname()[1]}/"
        with pytest.raises(OSError, match=f"Address already in use: {taken} port") as refused:
            async with RedirectListener(address, REQUEST):
                raise AssertionError
        assert refused.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
async def test_a_machine_without_one_of_the_families(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    create = socket.create_server
    absent = {"::1"}

    def create_server(address: tuple[str, int], **options: Any) -> socket.socket:
        if address[0] in absent:
            raise OSError(number, "not here")
        return create(address, **options)

    with reserved_port() as port:
        monkeypatch.setattr(socket, "create_server", create_server)
        async with RedirectListener(f"http://localhost:{port}/", REQUEST):
            assert (await visit(f"http://127.0.0.1:{port}/?state=x"))[0] == 400
        absent.add("127.0.0.1")
        with pytest.raises(OSError, match="cannot listen there for the browser") as refused:
            async with RedirectListener(f"http://localhost:{port}/", REQUEST):
                raise AssertionError
        assert refused.value.errno == number


def has_ipv6() -> bool:
    """Whether this machine has a loopback address of that family."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


# --- the store comes first -------------------------------------------------------------------------------------------


async def test_a_store_that_cannot_be_written_is_found_out_before_the_browser_opens(desk: Desk) -> None:
    """2-11 for files: a login that comes back must have a place."""
    (desk.home / "file").write_text("no folder")
    ran = await ezeep("login", "--token-file", str(desk.home / "file" / "login.json"), env=desk.environment)
    assert "cannot be" in ran.refused()
    assert not desk.browser_was_opened


async def test_tokens_of_another_client_are_not_replaced(desk: Desk) -> None:
    """2-12"""
    path = desk.home / "theirs.json"
    store = FileTokenStore(path)
    store.bind("another-client", desk.sandbox.endpoints.account)
    await put(store, desk.sandbox.tokens())
    before = path.read_bytes()
    ran = await ezeep("login", "--token-file", str(path), env=desk.environment)
    assert "another client id" in ran.refused()
    assert path.read_bytes() == before
    assert not desk.browser_was_opened


async def test_a_machine_without_a_keyring(desk: Desk) -> None:
    """2-11: found out before the browser opens; a file only if it is asked for."""
    env = desk.environment | {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    ran = await ezeep_process("login", "--keyring", env=env)
    assert "Without --keyring the tokens are stored in a file" in ran.refused()
    assert not desk.browser_was_opened
    assert desk.token_files == []


async def test_the_keyring(desk: Desk, tmp_path: Path) -> None:
    """The login in the system's keyring, with a backend that keeps it in a file."""
    (tmp_path / "filed.py").write_text(
        "import json, pathlib\n"
        "from keyring.backend import KeyringBackend\n"
        f"PATH = pathlib.Path({str(tmp_path / 'keyring.json')!r})\n"
        "class Keyring(KeyringBackend):\n"
        "    priority = 1\n"
        "    def _all(self): return json.loads(PATH.read_text()) if PATH.exists() else {}\n"
        "    def get_password(self, s, u): return self._all().get(s + '/' + u)\n"
        "    def set_password(self, s, u, p): PATH.write_text(json.dumps(self._all() | {s + '/' + u: p}))\n"
        "    def delete_password(self, s, u):\n"
        "        found = self._all(); del found[s + '/' + u]; PATH.write_text(json.dumps(found))\n"
    )
    env = desk.environment | {
        "PYTHON_KEYRING_BACKEND": "filed.Keyring",
        "PYTHONPATH": str(tmp_path),
        "EZEEP_TOKEN_STORE": "keyring",
    }
    async with started("login", env=env) as process:
        await visit(await desk.came_back())
        ran = await ended(process)
    assert ran.code == 0, ran
    assert "the system's keyring" in ran.out
    assert desk.token_files == []
    assert (await ezeep_process("whoami", env=env)).code == 0
    assert (await ezeep_process("logout", env=env)).code == 0
    assert json.loads((tmp_path / "keyring.json").read_text()) == {}
