"""`ezeep login` without a browser of its own, with a client's secret, and where all that comes from."""

from __future__ import annotations

import json

import pytest
from helpers.browser import decide
from helpers.command_line import ended, ezeep, running, started
from helpers.people import Desk, visit
from helpers.support import TOKEN
from yarl import URL

from ezeep_async.auth.app import AuthorizationRequest, code_from_callback
from ezeep_async.cli.login.commands import _completed
from ezeep_async.sandbox import SANDBOX_PASSWORD


pytestmark = pytest.mark.timeout(60)

SECRET = "s3cret-of-the-client"


# --- the other ways --------------------------------------------------------------------------------------------------


@pytest.mark.slow
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
        ("hello\n", "contains no code"),
        ("http://127.0.0.1:8400/callback?code=x\n", "no state: it is incomplete"),
        ("http://127.0.0.1:8400/callback?code=x&state=forged\n", "state"),
        ("code=x\n", "state"),
    ],
)
async def test_an_address_that_does_not_belong_to_this_login(desk: Desk, pasted: str, sentence: str) -> None:
    ran = await ezeep("login", "--no-browser", env=desk.environment, stdin=pasted)
    assert ran.code == 1
    assert sentence in ran.err
    assert desk.sandbox.count(TOKEN) == 0


@pytest.mark.parametrize(
    "pasted",
    [
        "http://127.0.0.1:1/?code=x%2By&state=right",
        "code=x%2By&state=right",
        "?state=right&code=x%2By#",
        "http://127.0.0.1:1/#code=x%2By&state=right",
        "http://127.0.0.1:1/?code=x%2By&amp;state=right",
        "http://127.0.0.1:1/?code=x%2By&#38;state=right#_=_",
        "  'https://elsewhere/?code=x%2By&amp;amp;state=right'> ",
        "Location: http://127.0.0.1:1/?code=x%2By&state=right",
    ],
)
def test_an_address_as_people_paste_it(pasted: str) -> None:
    request = AuthorizationRequest("https://account.example.com/", "right", "verifier", "http://127.0.0.1:1/")
    assert code_from_callback(_completed(pasted, request), request) == "x+y"


@pytest.mark.slow
async def test_a_query_alone_is_enough(desk: Desk) -> None:
    """People copy what they can."""
    async with started("login", "--no-browser", env=desk.environment) as process:
        assert process.stdout is not None
        await process.stdout.readline()
        _, came_back = await decide((await process.stdout.readline()).decode().strip())
        ran = await ended(process, came_back.partition("?")[2] + "\n")
    assert ran.code == 0, ran


@pytest.mark.slow
async def test_pairing(desk: Desk) -> None:
    """The code and the address are shown; the tokens arrive after the confirmation."""
    first = desk.sandbox.faults.hold(TOKEN, times=1)  # so that no second request is waited for
    async with started("login", "--device", env=desk.environment) as process:
        assert process.stdout is not None
        code = (await process.stdout.readline()).decode().partition("code: ")[2].strip()
        address = (await process.stdout.readline()).decode().partition("address: ")[2].strip()
        assert URL(address).query["pairing_code"] == code
        assert (await decide(address))[0] == 200
        first.release()
        ran = await ended(process)
    assert ran.code == 0, ran
    assert len(desk.token_files) == 1


@pytest.mark.slow
async def test_pairing_declined_and_forgotten(desk: Desk) -> None:
    first = desk.sandbox.faults.hold(TOKEN, times=1)
    async with started("login", "--device", env=desk.environment) as process:
        assert process.stdout is not None
        await process.stdout.readline()
        address = (await process.stdout.readline()).decode().partition("address: ")[2].strip()
        await decide(address, "deny")
        first.release()
        assert "refused" in (await ended(process)).refused()
    ran = await ezeep("login", "--device", "--timeout", "0.1", env=desk.environment)
    assert ran.refused() == "the pairing was not confirmed within 0.1 s. Start a new one"


async def test_password(desk: Desk) -> None:
    """Read from a pipe, and never said."""
    desk.sandbox.behaviour.password_grant = True
    person = desk.sandbox.organization.people[desk.sandbox.organization.admin_id]
    arguments = ("login", "--password", "--username", person.email)
    ran = await ezeep(*arguments, env=desk.environment, stdin=f"{SANDBOX_PASSWORD}\n")
    assert ran.code == 0, ran
    wrong = await ezeep(*arguments, env=desk.environment, stdin="wr0ng-one\n")
    assert "refused" in wrong.refused()
    assert "wr0ng-one" not in wrong.err
    assert "no answer" in (await ezeep(*arguments, env=desk.environment)).refused()


async def test_user_name_and_password_from_a_pipe(desk: Desk) -> None:
    desk.sandbox.behaviour.password_grant = True
    person = desk.sandbox.organization.people[desk.sandbox.organization.admin_id]
    ran = await ezeep(
        "login", "--password", env=desk.environment, stdin=f"{person.email}\n{SANDBOX_PASSWORD}\n"
    )
    assert ran.code == 0, ran


async def test_a_client_that_may_not_use_passwords(desk: Desk) -> None:
    ran = await ezeep("login", "--password", "--username", "a@b.c", env=desk.environment, stdin="x\n")
    assert "unauthorized_client" in ran.refused()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--device", "--no-browser"),
        ("--username", "a@b.c"),
        ("--keyring", "--token-file", "x.json"),
        ("--redirect-uri", "nonsense"),
        ("--redirect-uri", "http://127.0.0.1:0/callback"),
        ("--redirect-uri", "http://127.0.0.1:99999/callback"),
        ("--redirect-uri", "http://[::1"),
        ("--sandbox", "--keyring", "--token-file", "x.json"),
        ("--sandbox", "--client-id", "x"),
        ("--sandbox", "--client-secret-file", "-"),
        ("--sandbox", "--account-url", "https://account.example.com", "--api-url", "https://api.example.com"),
    ],
)
async def test_what_does_not_go_together(desk: Desk, arguments: tuple[str, ...]) -> None:
    said = (await ezeep("login", *arguments, env=desk.environment)).refused()
    assert arguments[-2] in said or arguments[-1] in said
    assert not desk.browser_was_opened


# --- the client ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["environment", "option", "asked", "config", "config file", "option first"])
async def test_where_the_clients_secret_may_come_from(desk: Desk, way: str) -> None:
    """From the environment, a file, a pipe, the configuration; never from the command line, and never said."""
    desk.sandbox.behaviour.client_secret = SECRET
    desk.sandbox.behaviour.password_grant = True
    env, options, stdin = dict(desk.environment), ["--username", "absent@example.com"], ""
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


@pytest.mark.parametrize("content", ["", "\ufeff \r\n"])
@pytest.mark.parametrize("way", ["option", "config"])
async def test_an_empty_file_is_not_a_client_without_a_secret(desk: Desk, way: str, content: str) -> None:
    path = desk.home / "secret.txt"
    path.write_text(content, "utf-8")
    options = ["--client-secret-file", str(path)] if way == "option" else []
    if way == "config":
        desk.config.write_text(f'client_secret_file = "{path}"\n')
    ran = await ezeep("whoami", *options, env=desk.environment)
    assert ran.refused() == f"{path} is empty: write the client secret into it"
    assert not desk.sandbox.requests


async def test_a_wrong_secret_of_the_client(desk: Desk) -> None:
    desk.sandbox.behaviour.client_secret = SECRET
    desk.sandbox.behaviour.password_grant = True
    env = desk.environment | {"EZEEP_CLIENT_SECRET": "wr0ng-one"}
    ran = await ezeep("login", "--password", "--username", "a@b.c", env=env, stdin="x\n")
    assert "invalid_client" in ran.refused()
    assert "wr0ng-one" not in ran.out + ran.err


@pytest.mark.slow
async def test_everything_from_the_configuration_file(desk: Desk) -> None:
    env = desk.alone
    settings = {
        name.removeprefix("EZEEP_").lower(): value
        for name, value in desk.environment.items()
        if name not in env
    }
    desk.config.write_text(
        "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items())
        + 'token_file = "here.json"\n'
    )
    async with running("login", env=env) as process:
        await visit(await desk.came_back())
        assert (await ended(process)).code == 0
    assert (desk.config.parent / "here.json").exists()
    assert (await ezeep("groups", "list", env=env)).code == 0
