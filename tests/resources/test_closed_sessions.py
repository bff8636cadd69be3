"""Calls on a session whose connections are closed meanwhile."""

from __future__ import annotations

import asyncio
from uuid import UUID

import aiohttp
import pytest
from helpers.support import QUICK, open_session

from ezeep_async import SessionClosed
from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.usefixtures("debug_mode")


async def test_3_7_a_borrowed_client_session_that_its_owner_closes(sandbox: Sandbox) -> None:
    """3-7, 3-11: `SessionClosed` for reads, writes and a token refresh; no exception of aiohttp."""
    http = aiohttp.ClientSession()
    async with open_session(sandbox, stored=sandbox.tokens(), http=http, settings=QUICK) as session:
        await session.accounts.me()
        await http.close()
        for call in (session.accounts.me(), session.oauth.refresh(), session.groups.create("x", UUID(int=1))):
            with pytest.raises(SessionClosed, match="lent"):
                await call


async def test_a_call_of_a_cancelled_task_ends_with_session_closed_too(sandbox: Sandbox) -> None:
    """Calls in flight end with `SessionClosed`, also in the clean-up of a cancelled task."""
    session = open_session(sandbox, stored=sandbox.tokens())
    await session.accounts.me()
    hold = sandbox.faults.hold("GET /v1/users/me/")
    ended: list[BaseException] = []

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            try:
                await session.accounts.me()
            except BaseException as error:
                ended.append(error)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await hold.arrived()
    await session.aclose()
    await asyncio.wait({task})
    assert [type(error) for error in ended] == [SessionClosed]
