"""Answers that were lost while pairing, odd numbers, odd folders."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import stat
from pathlib import Path

import attrs
import pytest
from helpers.browser import decide
from helpers.support import QUICK, TOKEN, open_session, put

from ezeep_async import (
    AuthorizationDenied,
    FileTokenStore,
    MemoryTokenStore,
    OutcomeUnknown,
    ReadOnlyTokens,
    TransientAuthError,
)
from ezeep_async.sandbox import SANDBOX_ADMIN, SANDBOX_PASSWORD, Sandbox


@pytest.mark.parametrize(
    "fault",
    [
        {"drop": "after"},
        {"status": 502, "processed": True},
        {"status": 200, "body": "<html>", "processed": True},
    ],
)
async def test_1_12_a_pairing_whose_answer_was_lost_says_so(
    sandbox: Sandbox, fault: dict[str, object]
) -> None:
    """1-12: confirmed, and the login was lost on its way: not "the code is not valid", as if nobody had confirmed."""
    async with open_session(sandbox, MemoryTokenStore()) as session:
        pairing = await session.oauth.pair()
        await decide(pairing.auth_url)
        sandbox.faults.add(TOKEN, **fault)
        with pytest.raises(OutcomeUnknown, match="start again"):
            await session.oauth.wait_for_pairing(pairing, interval=0.01, timeout=5)


async def test_1_12_a_pairing_that_was_declined_was_declined(sandbox: Sandbox) -> None:
    """1-12: also after an answer that was lost: the person's word counts."""
    async with open_session(sandbox, MemoryTokenStore()) as session:
        pairing = await session.oauth.pair()
        await decide(pairing.auth_url, "deny")
        sandbox.faults.add(TOKEN, drop="before")
        with pytest.raises(AuthorizationDenied):
            await session.oauth.wait_for_pairing(pairing, interval=0.01, timeout=5)


async def test_an_empty_state_is_refused(sandbox: Sandbox) -> None:
    async with open_session(sandbox, MemoryTokenStore()) as session:
        with pytest.raises(ValueError, match="state"):
            session.oauth.authorization_request(state="")


def test_8_3_the_environment_is_in_no_signature() -> None:
    """8-3: help() and error pages show default values."""
    assert inspect.signature(ReadOnlyTokens.from_env).parameters["environ"].default is None


@pytest.mark.may_block
@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_2_5_every_folder_that_is_made_is_private(sandbox: Sandbox, tmp_path: Path) -> None:
    """2-5: the ones on the way too, under umask 000."""
    umask = os.umask(0)
    try:
        asyncio.run(put(FileTokenStore(tmp_path / "a" / "b" / "login.json"), sandbox.tokens()))
    finally:
        os.umask(umask)
    assert [stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "a", tmp_path / "a" / "b")] == [
        0o700
    ] * 2


async def test_2_6_a_number_that_is_too_large_is_none(sandbox: Sandbox, tmp_path: Path) -> None:
    """2-6: no OverflowError of the arithmetic, and no reason to lose the login either."""
    path = tmp_path / "login.json"
    store = FileTokenStore(path)
    await put(store, sandbox.tokens())
    document = json.loads(path.read_text())
    document["token"]["expires_in"] = 10**400
    path.write_text(json.dumps(document))
    loaded = await store.load()
    assert loaded is not None
    assert loaded.expires_in is None


async def test_2_8_a_folder_with_the_name_of_a_leftover_blocks_nothing(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """2-8: it is none of ours, and stays."""
    folder = tmp_path / ".login.json.0123456789abcdef.tmp"
    folder.mkdir()
    await put(FileTokenStore(tmp_path / "login.json"), sandbox.tokens())
    assert folder.is_dir()


async def test_1_5_a_cancelled_pair_is_released(sandbox: Sandbox) -> None:
    """1-5: nothing is at stake before anybody has a code: whoever cancels, is rid of it."""
    hold = sandbox.faults.hold("POST /oauth/pair/", times=1)
    settings = attrs.evolve(QUICK, refresh_timeout=60.0)
    async with open_session(sandbox, MemoryTokenStore(), settings=settings) as session:
        pairing = asyncio.create_task(session.oauth.pair())
        await hold.arrived()
        pairing.cancel()
        done, _ = await asyncio.wait({pairing}, timeout=20.0)
        hold.release()
        assert done
        assert pairing.cancelled()
        assert (await session.oauth.pair()).pairing_code


LOST = [
    {"status": 502, "processed": True},
    {"status": 200, "body": "<html>", "processed": True},
    {"status": 200, "body": "[]", "processed": True},
    {"status": 200, "body": "", "processed": True},
    {"drop": "after"},
]


@pytest.mark.parametrize("fault", LOST)
async def test_9_4_a_login_by_code_whose_answer_cannot_be_read_is_lost(
    sandbox: Sandbox, fault: dict[str, object]
) -> None:
    """9-4: the code is spent, and there may be a login: as with an answer that never came."""
    async with open_session(sandbox, MemoryTokenStore()) as session:
        request = session.oauth.authorization_request()
        _, came_back = await decide(request.url)
        sandbox.faults.add(TOKEN, **fault)
        with pytest.raises(OutcomeUnknown, match="start again"):
            await session.oauth.complete(came_back, request)
    assert sandbox.count(TOKEN) == 1


async def test_9_4_a_code_that_was_not_used_is_not_lost(sandbox: Sandbox) -> None:
    """9-4: the server says that it did nothing; the same code works."""
    async with open_session(sandbox, MemoryTokenStore()) as session:
        request = session.oauth.authorization_request()
        _, came_back = await decide(request.url)
        sandbox.faults.add(TOKEN, status=503)
        with pytest.raises(TransientAuthError):
            await session.oauth.complete(came_back, request)
        await session.oauth.complete(came_back, request)


@pytest.mark.parametrize("fault", LOST)
async def test_a_password_works_again_whatever_became_of_the_answer(
    sandbox: Sandbox, fault: dict[str, object]
) -> None:
    sandbox.behaviour.password_grant = True
    async with open_session(sandbox, MemoryTokenStore()) as session:
        sandbox.faults.add(TOKEN, **fault)
        with pytest.raises(TransientAuthError):
            await session.oauth.login_with_password(SANDBOX_ADMIN, SANDBOX_PASSWORD)
        await session.oauth.login_with_password(SANDBOX_ADMIN, SANDBOX_PASSWORD)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
async def test_an_answer_in_another_encoding_is_a_login(sandbox: Sandbox, encoding: str) -> None:
    """The refresh token is spent for it."""
    text = '{"access_token": "new-access", "refresh_token": "new-refresh", "expires_in": NaN}'
    sandbox.faults.add(TOKEN, status=200, body=text.encode(encoding))
    store = MemoryTokenStore(sandbox.tokens())
    async with open_session(sandbox, store) as session:
        await session.oauth.refresh()
    kept = await store.load()
    assert kept is not None
    assert (kept.access_token, kept.refresh_token) == ("new-access", "new-refresh")
    assert sandbox.count(TOKEN) == 1


@pytest.mark.parametrize("in_body", [False, True])
async def test_9_5_a_refresh_token_that_only_a_cookie_has_is_told(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture, in_body: bool
) -> None:
    """9-5: cookies are not kept; that the login may end with the access token is said at once, not an hour later."""
    body = {"access_token": "new-access"} | ({"refresh_token": "new-refresh"} if in_body else {})
    headers = {"Set-Cookie": "Refresh_Token=from-a-cookie; Path=/"}
    sandbox.faults.add(TOKEN, status=200, body=json.dumps(body), headers=headers)
    store = MemoryTokenStore(sandbox.tokens())
    async with open_session(sandbox, store) as session:
        await session.oauth.refresh()
    assert ("as a cookie" in caplog.text) is not in_body
    assert "from-a-cookie" not in caplog.text
