"""`ezeep refresh`: once, for cron, with exit codes for a login that has ended and for a server that does not respond."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from helpers.command_line import ended, ezeep, running
from helpers.support import TOKEN, expired, put

from ezeep_async import FileTokenStore
from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async.auth import exchange
from ezeep_async.auth.stores import file
from ezeep_async.sandbox import Sandbox


@pytest.fixture
def store(tmp_path: Path) -> FileTokenStore:
    return FileTokenStore(tmp_path / "login.json")


async def test_it_refreshes_and_says_which_login(
    login: dict[str, str], sandbox: Sandbox, store: FileTokenStore
) -> None:
    before = await store.load()
    ran = await ezeep("refresh", env=login)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Refreshed: client '{sandbox.oauth_app.client_id}', {store.path}. ")
    after = await store.load()
    assert before is not None
    assert after is not None
    assert after.refresh_token != before.refresh_token
    assert sandbox.refreshes == 1


@pytest.mark.parametrize(("age", "refreshes"), [("900", 0), ("0", 1), ("1e-6", 1)])
async def test_not_if_the_tokens_are_young(
    login: dict[str, str], sandbox: Sandbox, age: str, refreshes: int
) -> None:
    ran = await ezeep("refresh", "--if-older-than", age, env=login)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("Refreshed" if refreshes else "Not needed yet")
    assert sandbox.refresh_requests == refreshes


async def test_tokens_that_expire_soon_are_refreshed_whatever_their_age(
    login: dict[str, str], sandbox: Sandbox, store: FileTokenStore
) -> None:
    await put(store, expired(sandbox.tokens()))
    assert (await ezeep("refresh", "--if-older-than", "86400", env=login)).code == 0
    assert sandbox.refreshes == 1


@pytest.mark.parametrize(
    "fault",
    [{"status": 400, "body": "<p>a proxy"}, {"status": 401, "body": "<p>a proxy"}],
    ids=str,
)
async def test_a_server_in_trouble_is_5(
    login: dict[str, str], sandbox: Sandbox, store: FileTokenStore, fault: dict
) -> None:
    before = store.path.read_bytes()
    sandbox.faults.add(TOKEN, times=None, **fault)
    ran = await ezeep("refresh", env=login)
    assert (ran.code, ran.out) == (5, "")
    assert "try again later" in ran.err
    assert str(store.path) in ran.err
    assert store.path.read_bytes() == before


async def test_an_ended_login_is_4_and_sent_once(
    login: dict[str, str], sandbox: Sandbox, store: FileTokenStore
) -> None:
    """By this command and every other one. The message names the command, the client and the file."""
    tokens = expired(sandbox.tokens())
    sandbox._grants.revoke(tokens.refresh_token)
    await put(store, tokens)
    await asyncio.to_thread(Path("people.csv").write_text, "group,member\nNight shift,someone@example.com\n")
    for command in ("refresh", "refresh", "whoami", "groups list", "provision apply people.csv --yes"):
        exchange._of_stores.clear()  # as in another process
        ran = await ezeep(*command.split(), env=login)
        assert (ran.code, ran.out) == (4, "")
        assert len(ran.err.splitlines()) == 1
        assert f"run ezeep login for client '{sandbox.oauth_app.client_id}', {store.path}" in ran.err
    assert sandbox.refresh_requests == 1


async def test_not_logged_in_is_4(login: dict[str, str], store: FileTokenStore) -> None:
    for path in store.path.parent.glob("login.json*"):
        path.unlink()
    ran = await ezeep("refresh", env=login)
    assert (ran.code, ran.out) == (4, "")
    assert ran.err.startswith(
        "ezeep: not logged in: run ezeep login, with --device if there is no browser (client "
    )
    assert str(store.path) in ran.err


async def test_other_mistakes_are_1(login: dict[str, str], sandbox: Sandbox, store: FileTokenStore) -> None:
    """Neither a login nor patience helps."""
    assert (await ezeep("refresh", env=login)).code == 0  # from now on the file names its client
    sandbox.faults.add(TOKEN, times=1, status=401, body='{"error": "invalid_client"}')
    assert "invalid_client" in (await ezeep("refresh", env=login)).refused()
    assert "another client" in (await ezeep("refresh", "--client-id", "another", env=login)).refused()
    assert (
        "cannot be refreshed"
        in (
            await ezeep("refresh", env={**login, "EZEEP_TOKEN_FILE": "", "EZEEP_ACCESS_TOKEN": "x" * 20})
        ).refused()
    )
    for wrong in ("-1", "x", "inf"):
        assert (await ezeep("refresh", "--if-older-than", wrong, env=login)).code == 64


async def test_a_token_file_in_use_is_5(
    login: dict[str, str], sandbox: Sandbox, store: FileTokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process holds the lock for too long: a later run finds it free."""
    monkeypatch.setattr(file, "RunningLimit", lambda _: RunningLimit(0.0))
    async with store.lock():
        ran = await ezeep("refresh", env=login)
    assert (ran.code, ran.out) == (5, "")
    assert f"{store.path} is in use by another process for more than " in ran.err
    assert sandbox.refresh_requests == 0


async def test_a_login_that_ends_in_the_middle_is_4(
    login: dict[str, str], sandbox: Sandbox, few: Path
) -> None:
    """Of a run, and of several deletions. The output still has each outcome."""
    hold = sandbox.faults.hold("PATCH /printing/v1/users/{id}/", times=1)
    async with running("provision", "apply", str(few), "--mode", "exact", "--yes", env=login) as run:
        await hold.arrived()
        sandbox.end_logins()
        hold.release()
        ran = await ended(run)
    assert ran.code == 4
    assert "Run the same again to make the missing changes" in ran.err
    await put(FileTokenStore(login["EZEEP_TOKEN_FILE"]), sandbox.tokens())
    assert (await ezeep("provision", "apply", str(few), "--mode", "exact", "--yes", env=login)).code == 0
    people = [sandbox.organization.people[user.id].email for user in sandbox.organization.listed_users()]
    hold = sandbox.faults.hold("DELETE /v1/users/{id}/", times=1)
    async with running("users", "delete", people[5], people[6], "--yes", env=login) as run:
        await hold.arrived()
        sandbox.end_logins()
        hold.release()
        ran = await ended(run)
    assert (ran.code, [line.split("\t")[1] for line in ran.out.splitlines()]) == (
        4,
        ["failed", "not started"],
    )
