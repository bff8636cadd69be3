"""`ezeep login`, `logout` and `whoami` as processes, against a sandbox on real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest
from browser import decide
from command_line import ended, ezeep, started
from people import Desk, free_port, visit
from support import TOKEN
from yarl import URL

from ezeep_async import FileTokenStore, TokenSet
from ezeep_async.sandbox import Sandbox


SECRET = "s3cret-of-the-client"


@pytest.fixture
def desk(sandbox: Sandbox, tmp_path: Path) -> Desk:
    return Desk(sandbox, tmp_path)


async def put(path: Path, tokens: TokenSet) -> None:
    store = FileTokenStore(path)
    async with store.lock():
        await store.save(tokens)


async def stored(desk: Desk) -> TokenSet:
    (path,) = desk.token_files
    found = await FileTokenStore(path).load()
    assert found is not None
    return found


# --- in the browser ------------------------------------------------------------------------------------------------


async def test_log_in_look_and_log_out(desk: Desk) -> None:
    """1-1, 2-14, 9-4: state and PKCE, a friendly page, one request; the login is there for the next command."""
    async with started("login", env=desk.environment) as process:
        came_back = await desk.came_back()
        status, page = await visit(came_back)
        ran = await ended(process)
    assert (status, ran.code, ran.err) == (200, 0, "")
    assert "You are logged in" in page
    assert "Logged in as " in ran.out
    opened, redirect = URL(await desk.opened()), URL(came_back)
    assert opened.query["code_challenge_method"] == "S256"
    exchange = desk.sandbox.requests[desk.sandbox.count(TOKEN) - 1]
    tokens = await stored(desk)
    for secret in (redirect.query["code"], tokens.access_token, tokens.refresh_token):
        assert secret not in ran.out + page, exchange
    (path,) = desk.token_files
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert str(path) in ran.out

    who = await ezeep("whoami", "--json", env=desk.environment)
    told = json.loads(who.out)
    person = desk.sandbox.organisation.people[desk.sandbox.organisation.admin_id]
    assert (told["email"], told["id"]) == (person.email, str(person.id))
    assert told["organization_id"] == str(desk.sandbox.organisation.organization_id)
    assert told["access_token_ends"] == tokens.expires_at.isoformat()
    assert tokens.access_token not in who.out

    out = await ezeep("logout", env=desk.environment)
    assert (out.code, out.out) == (0, "Logged out\n")
    assert desk.token_files == []
    assert desk.sandbox.count("POST /oauth/revoke/") == 1
    assert (await ezeep("logout", env=desk.environment)).out == "Nobody was logged in\n"
    assert "nobody is logged in" in (await ezeep("whoami", env=desk.environment)).refused()


async def test_what_does_not_belong_to_the_login_is_turned_away(desk: Desk) -> None:
    """9-4: a forged state, another path, another method, another name for this machine; the real answer still counts."""
    async with started("login", env=desk.environment) as process:
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


async def test_one_request_is_served(desk: Desk) -> None:
    """A second browser with the same answer gets nothing, during the exchange and after it."""
    hold = desk.sandbox.faults.hold(TOKEN)
    async with started("login", env=desk.environment) as process:
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
    async with started("login", env=desk.environment) as process:
        came_back = URL(await desk.came_back())
        assert (await visit(str(came_back.with_path("/callback/", keep_query=True))))[0] == 200
        assert (await ended(process)).code == 0


async def test_declined(desk: Desk) -> None:
    async with started("login", env=desk.environment) as process:
        status, page = await visit(await desk.came_back("deny"))
        ran = await ended(process)
    assert status == 200
    assert "Not logged in" in page
    assert "the login was declined" in ran.refused()
    assert desk.token_files == []


async def test_the_exchange_fails(desk: Desk) -> None:
    """The page says what became of it, not what was hoped for."""
    desk.sandbox.faults.add(
        TOKEN, status=400, body=b'{"error": "invalid_grant", "error_description": "<b>spent</b>"}'
    )
    async with started("login", env=desk.environment) as process:
        _, page = await visit(await desk.came_back())
        ran = await ended(process)
    assert "Not logged in" in page
    assert "&lt;b&gt;spent" in page
    assert "the login was refused" in ran.refused()


async def test_nobody_comes_back(desk: Desk) -> None:
    ran = await ezeep("login", "--timeout", "0.2", env=desk.environment)
    assert ran.refused() == "nobody came back from the browser within 0.2 s"


async def test_a_port_that_is_taken_is_found_out_before_the_browser_opens(desk: Desk) -> None:
    async with started("login", env=desk.environment) as first:
        await desk.opened()
        (desk.home / "opened").unlink()
        ran = await ezeep("login", env=desk.environment)
        first.kill()
    assert "cannot listen there for the browser" in ran.refused()
    assert not desk.browser_was_opened


@pytest.mark.parametrize("address", ["https://127.0.0.1:8400/callback", "http://app.example/callback"])
async def test_an_address_that_nobody_can_listen_at(desk: Desk, address: str) -> None:
    ran = await ezeep("login", "--redirect-uri", address, env=desk.environment)
    assert "--no-browser" in ran.refused()
    assert not desk.browser_was_opened


async def test_without_a_browser_the_way_out_is_told(desk: Desk) -> None:
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
    port = free_port()
    desk.sandbox.behaviour.redirect_uris = (f"http://localhost:{port}/",)
    async with started(
        "login", "--redirect-uri", f"http://localhost:{port}/", env=desk.environment
    ) as process:
        came_back = await desk.came_back()
        assert (await visit(came_back.replace("localhost", "127.0.0.1")))[0] == 200
        assert (await ended(process)).code == 0


# --- the store comes first -------------------------------------------------------------------------------------------


async def test_a_store_that_cannot_be_written_is_found_out_before_the_browser_opens(desk: Desk) -> None:
    """2-11 for files: a login that comes back must have a place."""
    (desk.home / "file").write_text("no folder")
    ran = await ezeep("login", "--token-file", str(desk.home / "file" / "login.json"), env=desk.environment)
    assert "cannot be" in ran.refused()
    assert not desk.browser_was_opened


async def test_somebody_elses_login_is_not_replaced(desk: Desk) -> None:
    """2-12"""
    path = desk.home / "theirs.json"
    store = FileTokenStore(path)
    store.bind("another-client", desk.sandbox.endpoints.account)
    async with store.lock():
        await store.save(desk.sandbox.tokens())
    before = path.read_bytes()
    ran = await ezeep("login", "--token-file", str(path), env=desk.environment)
    assert "another client id" in ran.refused()
    assert path.read_bytes() == before
    assert not desk.browser_was_opened


async def test_a_machine_without_a_keyring(desk: Desk) -> None:
    """2-11: found out before the browser opens; a file only if it is asked for."""
    env = desk.environment | {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    ran = await ezeep("login", "--keyring", env=env)
    assert "Without --keyring the login is kept in a file" in ran.refused()
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
    assert (await ezeep("whoami", env=env)).code == 0
    assert (await ezeep("logout", env=env)).code == 0
    assert json.loads((tmp_path / "keyring.json").read_text()) == {}


# --- the other ways --------------------------------------------------------------------------------------------------


async def test_a_pasted_address(desk: Desk) -> None:
    async with started("login", "--no-browser", env=desk.environment) as process:
        assert process.stdout is not None
        await process.stdout.readline()
        _, came_back = await decide((await process.stdout.readline()).decode().strip())
        ran = await ended(process, f"  {came_back}\r\n")
    assert ran.code == 0, ran
    assert "Logged in as" in ran.out
    assert not desk.browser_was_opened


@pytest.mark.parametrize(
    ("pasted", "sentence"),
    [
        ("", "no answer"),
        ("\n", "no answer"),
        ("hello\n", "no code in it"),
        ("http://127.0.0.1:8400/callback?code=x&state=forged\n", "state"),
        ("code=x\n", "state"),
    ],
)
async def test_what_is_no_answer_to_this_login(desk: Desk, pasted: str, sentence: str) -> None:
    ran = await ezeep("login", "--no-browser", env=desk.environment, stdin=pasted)
    assert ran.code == 1
    assert sentence in ran.err
    assert desk.sandbox.count(TOKEN) == 0


async def test_a_query_alone_is_enough(desk: Desk) -> None:
    """People copy what they can."""
    async with started("login", "--no-browser", env=desk.environment) as process:
        assert process.stdout is not None
        await process.stdout.readline()
        _, came_back = await decide((await process.stdout.readline()).decode().strip())
        ran = await ended(process, came_back.partition("?")[2] + "\n")
    assert ran.code == 0, ran


async def test_pairing(desk: Desk) -> None:
    """The code and the address are shown; the login arrives once somebody has confirmed."""
    async with started("login", "--device", env=desk.environment) as process:
        assert process.stdout is not None
        code = (await process.stdout.readline()).decode().partition("code: ")[2].strip()
        address = (await process.stdout.readline()).decode().partition("address: ")[2].strip()
        assert URL(address).query["pairing_code"] == code
        assert (await decide(address))[0] == 200
        ran = await ended(process)
    assert ran.code == 0, ran
    assert len(desk.token_files) == 1


async def test_pairing_declined_and_forgotten(desk: Desk) -> None:
    async with started("login", "--device", env=desk.environment) as process:
        assert process.stdout is not None
        await process.stdout.readline()
        address = (await process.stdout.readline()).decode().partition("address: ")[2].strip()
        await decide(address, "deny")
        assert "refused" in (await ended(process)).refused()
    ran = await ezeep("login", "--device", "--timeout", "0.1", env=desk.environment)
    assert ran.refused() == "nobody confirmed the pairing within 0.1 s"


async def test_password(desk: Desk) -> None:
    """Read from a pipe; never an argument, never said."""
    desk.sandbox.behaviour.password_grant = True
    person = desk.sandbox.organisation.people[desk.sandbox.organisation.admin_id]
    arguments = ("login", "--password", "--username", person.email)
    async with started(*arguments, env=desk.environment) as process:
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        ran = await ended(process, "sandbox\n")
    assert ran.code == 0, ran
    assert b"sandbox\0" not in words
    wrong = await ezeep(*arguments, env=desk.environment, stdin="wr0ng-one\n")
    assert "refused" in wrong.refused()
    assert "wr0ng-one" not in wrong.err
    assert "no answer" in (await ezeep(*arguments, env=desk.environment)).refused()


async def test_user_name_and_password_from_a_pipe(desk: Desk) -> None:
    desk.sandbox.behaviour.password_grant = True
    person = desk.sandbox.organisation.people[desk.sandbox.organisation.admin_id]
    ran = await ezeep("login", "--password", env=desk.environment, stdin=f"{person.email}\nsandbox\n")
    assert ran.code == 0, ran


async def test_a_client_that_may_not_use_passwords(desk: Desk) -> None:
    ran = await ezeep("login", "--password", "--username", "a@b.c", env=desk.environment, stdin="x\n")
    assert "unauthorized_client" in ran.refused()


@pytest.mark.parametrize("given", ["--password=hunter2", "--password hunter2"])
async def test_a_password_on_the_command_line_is_not_said_again(desk: Desk, given: str) -> None:
    ran = await ezeep("login", *given.split(), env=desk.environment)
    assert ran.code == 64
    assert "hunter2" not in ran.out + ran.err
    assert "takes no value" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--device", "--no-browser"),
        ("--username", "a@b.c"),
        ("--keyring", "--token-file", "x.json"),
        ("--redirect-uri", "nonsense"),
    ],
)
async def test_what_does_not_go_together(desk: Desk, arguments: tuple[str, ...]) -> None:
    (await ezeep("login", *arguments, env=desk.environment)).refused()
    assert not desk.browser_was_opened


# --- the client ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["environment", "option", "asked", "config", "config file", "option first"])
async def test_where_the_clients_secret_may_come_from(desk: Desk, way: str) -> None:
    """From the environment, a file, a pipe, the configuration; never from the command line, and never said."""
    desk.sandbox.behaviour.client_secret = SECRET
    desk.sandbox.behaviour.password_grant = True
    env, options, stdin = dict(desk.environment), ["--username", "nobody@example.com"], ""
    (desk.home / "secret.txt").write_text(SECRET + "\n")
    if way == "environment":
        env["EZEEP_CLIENT_SECRET"] = SECRET
    elif way == "option":
        options += ["--client-secret-file", str(desk.home / "secret.txt")]
    elif way == "asked":
        options += ["--client-secret-file", "-"]
        stdin = SECRET + "\n"
    elif way == "config":
        desk.config.write_text(f'client_secret = "{SECRET}"\n')
    elif way == "config file":
        desk.config.write_text(f'client_secret_file = "{desk.home}/secret.txt"\n')
    else:
        env["EZEEP_CLIENT_SECRET"] = "wrong"
        desk.config.write_text('client_secret = "wrong"\n')
        options += ["--client-secret-file", str(desk.home / "secret.txt")]
    ran = await ezeep("login", "--password", *options, env=env, stdin=stdin + "x\n")
    # The client was let in, and the person was not.
    assert "invalid_grant" in ran.refused()
    assert SECRET not in ran.out + ran.err
    assert (
        "invalid_client"
        in (
            await ezeep(
                "login",
                "--password",
                *options[:2],
                stdin="x\n",
                env=desk.environment | {"EZEEP_CLIENT_SECRET": "wrong", "EZEEP_CONFIG": os.devnull},
            )
        ).refused()
    )


async def test_everything_from_the_configuration_file(desk: Desk) -> None:
    env = {name: value for name, value in desk.environment.items() if not name.startswith("EZEEP_")}
    settings = {
        name.removeprefix("EZEEP_").lower(): value
        for name, value in desk.environment.items()
        if name not in env
    }
    desk.config.write_text(
        "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        + 'token_file = "here.json"\n'
    )
    async with started("login", env=env) as process:
        await visit(await desk.came_back())
        assert (await ended(process)).code == 0
    assert (desk.config.parent / "here.json").exists()
    assert (await ezeep("groups", "list", env=env)).code == 0


# --- looking, leaving, the sandbox -------------------------------------------------------------------------------------


async def test_whoami_for_people(desk: Desk) -> None:
    await put(desk.home / "login.json", desk.sandbox.tokens())
    ran = await ezeep("whoami", "--token-file", str(desk.home / "login.json"), env=desk.environment)
    assert ran.code == 0
    assert "access token ends: " in ran.out
    assert "(in 60 minutes)" in ran.out
    assert str(desk.sandbox.organisation.organization_id) in ran.out


async def test_a_login_from_the_environment(desk: Desk) -> None:
    """2-13: used as it is, and told so."""
    tokens = desk.sandbox.tokens()
    env = desk.environment | {"EZEEP_ACCESS_TOKEN": tokens.access_token}
    ran = await ezeep("whoami", env=env)
    assert "login kept in: the environment, and is not renewed" in ran.out
    assert "access token ends: unknown" in ran.out
    assert "read-only" in (await ezeep("login", env=env)).refused()
    assert not desk.browser_was_opened


async def test_logout_when_the_server_is_away(desk: Desk) -> None:
    path = desk.home / "login.json"
    await put(path, desk.sandbox.tokens())
    desk.sandbox.faults.add("POST /oauth/revoke/", status=503, times=None)
    arguments = ("logout", "--token-file", str(path))
    assert "The login is still there" in (await ezeep(*arguments, env=desk.environment)).refused()
    assert path.exists()
    ran = await ezeep(*arguments, "--forget", env=desk.environment)
    assert (ran.code, ran.out) == (0, "Forgotten here. The server could not be told\n")
    assert not path.exists()


@pytest.mark.parametrize("command", [("whoami",), ("logout",), ("groups", "list"), ("users", "list")])
async def test_in_a_sandbox_of_its_own(desk: Desk, command: tuple[str, ...]) -> None:
    env = {"HOME": str(desk.home), "XDG_STATE_HOME": str(desk.home / "state")}
    ran = await ezeep(*command, "--sandbox", env=env)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out
    assert desk.token_files == []


async def test_login_in_a_sandbox_of_its_own(desk: Desk) -> None:
    """The whole flow with nothing but this command."""
    env = {name: value for name, value in desk.environment.items() if not name.startswith("EZEEP_")}
    async with started("login", "--sandbox", env=env) as process:
        assert (await visit(await desk.came_back()))[0] == 200
        ran = await ended(process)
    assert ran.code == 0, ran
    assert "Logged in as" in ran.out


async def test_which_client(desk: Desk) -> None:
    env = {name: value for name, value in desk.environment.items() if name != "EZEEP_CLIENT_ID"}
    assert "--client-id" in (await ezeep("login", env=env)).refused()
    ran = await ezeep("whoami", "--client-id", "x", env=env)
    assert "nobody is logged in" in ran.refused()
