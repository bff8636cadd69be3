"""`ezeep login` without a person: a password or the client's secret, from a file or the environment."""

from __future__ import annotations

from urllib.parse import parse_qs

import pytest
from helpers.command_line import ezeep
from helpers.people import Desk
from helpers.support import TOKEN

from ezeep_async.sandbox import SANDBOX_ADMIN, SANDBOX_PASSWORD


pytestmark = pytest.mark.timeout(60)

SECRET = "s3cret-of-the-client"


@pytest.mark.parametrize("way", ["option", "file", "environment", "option first"])
async def test_where_the_password_may_come_from(desk: Desk, way: str) -> None:
    """Nothing is asked. The user name comes from the environment or an option."""
    desk.sandbox.behaviour.password_grant = True
    path = desk.home / "password.txt"
    path.write_text(SANDBOX_PASSWORD + "\r\n")
    env, arguments = desk.environment | {"EZEEP_USERNAME": SANDBOX_ADMIN}, ["login", "--password"]
    if way == "file":
        env["EZEEP_PASSWORD_FILE"] = str(path)
    elif way == "environment":
        env["EZEEP_PASSWORD"] = SANDBOX_PASSWORD
    else:
        arguments += ["--password-file", str(path)]
    if way == "option first":
        env |= {"EZEEP_USERNAME": "absent@example.com", "EZEEP_PASSWORD": "wrong-password"}
        arguments += ["--username", SANDBOX_ADMIN]
    ran = await ezeep(*arguments, env=env)
    assert (ran.code, ran.err) == (0, "")
    assert f"Logged in as {SANDBOX_ADMIN}" in ran.out
    assert (await ezeep("whoami", env=desk.environment)).code == 0


async def test_a_password_is_used_as_it_was_typed(desk: Desk) -> None:
    """Spaces and quotes belong to it. Only the line break at the end does not."""
    desk.sandbox.behaviour.password_grant = True
    path = desk.home / "password.txt"
    path.write_text(' "a b" \n')
    arguments = ("login", "--password", "--username", SANDBOX_ADMIN, "--password-file", str(path))
    assert "invalid_grant" in (await ezeep(*arguments, env=desk.environment)).refused()
    (body,) = [seen.body for seen in desk.sandbox.requests if seen.key == TOKEN]
    assert parse_qs(body.decode())["password"] == [' "a b" ']


@pytest.mark.parametrize("content", ["", "\n"])
async def test_an_empty_password_file(desk: Desk, content: str) -> None:
    path = desk.home / "password.txt"
    path.write_text(content)
    ran = await ezeep(
        "login", "--password", "--username", "a@b.c", "--password-file", str(path), env=desk.environment
    )
    assert ran.refused() == f"{path} is empty: write the password into it"
    assert not desk.sandbox.requests


async def test_a_password_is_no_argument(desk: Desk) -> None:
    """A file that is not there is named, and a password in place of it is not sent."""
    ran = await ezeep(
        "login", "--password", "--username", "a@b.c", "--password-file", "none.txt", env=desk.environment
    )
    assert ran.refused() == f"{desk.home / 'none.txt'}: No such file or directory"
    ran = await ezeep("login", "--password-file", "none.txt", env=desk.environment)
    assert "--password-file is only for --password" in ran.refused()


async def test_client_credentials(desk: Desk) -> None:
    """Once; the other commands then request tokens with the secret when they need them."""
    behaviour = desk.sandbox.behaviour
    behaviour.client_credentials_grant, behaviour.client_secret = True, SECRET
    (desk.home / "secret.txt").write_text(SECRET)
    env = desk.environment | {"EZEEP_CLIENT_SECRET_FILE": str(desk.home / "secret.txt")}
    ran = await ezeep("login", "--client-credentials", env=env)
    assert (ran.code, ran.err) == (0, "")
    desk.sandbox.expire_access_tokens()
    assert (await ezeep("groups", "list", env=env)).code == 0
    assert (await ezeep("refresh", env=env)).code == 0
    assert desk.sandbox.refresh_requests == 0
    wrong = await ezeep("refresh", env=desk.environment | {"EZEEP_CLIENT_SECRET": "wr0ng-one"})
    assert "invalid_client" in wrong.refused()


async def test_client_credentials_of_a_client_without_a_secret(desk: Desk) -> None:
    ran = await ezeep("login", "--client-credentials", env=desk.environment)
    assert "--client-secret-file" in ran.refused()
    ran = await ezeep("login", "--client-credentials", "--device", env=desk.environment)
    assert "cannot be used together" in ran.refused()
