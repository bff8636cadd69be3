"""7-13: a run that is cancelled again and again still has a report."""

from __future__ import annotations

import asyncio

import pytest
from helpers.provisioned import PATCH_USER, new_team
from helpers.support import settle

from ezeep_async import EzeepSession
from ezeep_async.provisioning import report_of
from ezeep_async.sandbox import Sandbox


@pytest.mark.parametrize("times", [2, 3, 4, 7])
@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_7_13_any_number_of_cancellations_leaves_a_report(
    sandbox: Sandbox, session: EzeepSession, times: int, turns: int
) -> None:
    """7-13: at once, or some turns of the loop apart. The second one cancels the changes in flight."""
    plan = await session.provisioning.plan(new_team(sandbox, 20))
    hold = sandbox.faults.hold(PATCH_USER)
    task = asyncio.ensure_future(session.provisioning.apply(plan, concurrency=3))
    await hold.arrived(3)
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
    # Those that came before the task had its turn were one to it.
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    hold.release()
    report = report_of(caught.value)
    assert report is not None
    assert report.counts == {"created": 1, "unknown": 3, "not_started": 17}
