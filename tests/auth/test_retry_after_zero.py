"""A token endpoint that asks for no pause gets one all the same."""

from __future__ import annotations

import attrs
import pytest
from helpers.support import QUICK, TOKEN, open_session

from ezeep_async import TransientAuthError
from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async.auth.exchange import ATTEMPTS
from ezeep_async.sandbox import Sandbox


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retry_after", ["0", "Mon, 01 Jan 2001 00:00:00 GMT"])
async def test_1_15_no_pause_asked_for_is_no_hammering(
    sandbox: Sandbox, status: int, retry_after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1-15: `Retry-After: 0` or a date that has passed: paused as if nothing had been said, and not for ever."""
    pauses: list[float] = []

    async def sleep(_: RunningLimit, seconds: float) -> None:
        pauses.append(seconds)

    sandbox.faults.add(TOKEN, times=None, status=status, headers={"Retry-After": retry_after})
    async with open_session(
        sandbox, settings=attrs.evolve(QUICK, refresh_timeout=60.0, deadline=90.0)
    ) as session:
        session._core.refresher.exchanger._random = lambda: 1.0
        monkeypatch.setattr(RunningLimit, "sleep", sleep)
        with pytest.raises(TransientAuthError):
            await session.oauth.refresh()
        monkeypatch.undo()
    assert sandbox.count(TOKEN) == ATTEMPTS
    assert pauses[:5] == [0.5, 1.0, 2.0, 4.0, 8.0]
