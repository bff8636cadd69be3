"""`ezeep logout` with a client that the server refuses."""

from __future__ import annotations

import pytest
from helpers.command_line import ezeep
from helpers.people import Desk
from helpers.support import put

from ezeep_async import FileTokenStore


@pytest.mark.timeout(60)
async def test_tokens_of_a_refused_client_can_be_deleted(desk: Desk) -> None:
    """With `--forget`, and not without it: the server revoked nothing."""
    path = desk.home / "login.json"
    await put(FileTokenStore(path), desk.sandbox.tokens())
    desk.sandbox.faults.add("POST /oauth/revoke/", status=401, times=None, body='{"error": "invalid_client"}')
    arguments = ("logout", "--token-file", str(path))
    assert "The tokens are still stored" in (await ezeep(*arguments, env=desk.environment)).refused()
    assert path.exists()
    ran = await ezeep(*arguments, "--forget", env=desk.environment)
    assert (ran.code, ran.out) == (0, "Deleted here. The server did not revoke the tokens\n")
    assert not path.exists()
