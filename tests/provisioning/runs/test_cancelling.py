"""7-13: a cancelled run. Changes in flight end, no other begins, and the exception carries the report."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from helpers.provisioned import PATCH_USER, POST_GROUP, add_team, emails, new_team, state
from helpers.support import sandbox_in_a_thread, settle

from ezeep_async import EzeepSession, Plan, run_sync
from ezeep_async.provisioning import DesiredState, Report, read_audit_log, report_of
from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.faults import Hold


WORKERS = 3
TURNS = 20
"""Turns of the loop after which a cancellation has reached every task."""
Start = Callable[[Hold, Callable[[], Awaitable[Report]]], Awaitable[BaseException]]


async def by_task(hold: Hold, apply: Callable[[], Awaitable[Report]]) -> BaseException:
    task = asyncio.ensure_future(apply())
    await hold.arrived(WORKERS)
    task.cancel()
    await settle(TURNS)
    assert not task.done()
    hold.release()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return caught.value


async def by_timeout(hold: Hold, apply: Callable[[], Awaitable[Report]]) -> BaseException:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(None) as limit:
            asyncio.ensure_future(expire(hold, limit))
            await apply()
    return caught.value


async def expire(hold: Hold, limit: asyncio.Timeout) -> None:
    await hold.arrived(WORKERS)
    limit.reschedule(asyncio.get_running_loop().time())
    await settle(TURNS)
    hold.release()


async def by_wait_for(hold: Hold, apply: Callable[[], Awaitable[Report]]) -> BaseException:
    task = asyncio.ensure_future(apply())
    await hold.arrived(WORKERS)
    waiting = asyncio.ensure_future(asyncio.wait_for(task, 0))
    await settle()
    hold.release()
    with pytest.raises(TimeoutError) as caught:
        await waiting
    return caught.value


async def by_anyio(hold: Hold, apply: Callable[[], Awaitable[Report]]) -> BaseException:
    """anyio drops the exception, so the report is read inside the scope."""
    caught: list[BaseException] = []
    with anyio.CancelScope() as scope:

        async def cancel() -> None:
            await hold.arrived(WORKERS)
            scope.cancel()
            await settle(TURNS)
            hold.release()

        asyncio.ensure_future(cancel())
        try:
            await apply()
        except asyncio.CancelledError as error:
            caught.append(error)
            raise
    assert scope.cancelled_caught
    return caught[0]


@pytest.mark.parametrize("start", [by_task, by_timeout, by_wait_for, by_anyio])
async def test_7_13_changes_in_flight_end_and_no_other_begins(
    sandbox: Sandbox, session: EzeepSession, tmp_path: Path, start: Start
) -> None:
    plan = await session.provisioning.plan(new_team(sandbox, 20))
    hold = sandbox.faults.hold(PATCH_USER)
    log = tmp_path / "audit.jsonl"
    error = await start(hold, lambda: session.provisioning.apply(plan, concurrency=WORKERS, audit_log=log))
    report = report_of(error)
    assert report is not None
    assert report.counts == {"created": 1, "updated": WORKERS, "not_started": 20 - WORKERS}
    assert sandbox.count(PATCH_USER) == WORKERS
    assert not report.ok
    assert [row.change for row in report.rows] == list(plan.changes)
    # The log is complete: what was begun has its outcome.
    outcomes = [record.outcome for record in read_audit_log(log) if record.operation != "run"]
    assert sorted(outcomes) == sorted(["started"] * 4 + ["created"] + ["updated"] * WORKERS)
    # And the rest is done by running it again.
    again = await session.provisioning.plan(new_team(sandbox, 20))
    assert len(again.changes) == 20 - WORKERS
    (await session.provisioning.apply(again)).raise_for_failures()


async def test_7_13_a_run_that_is_cancelled_during_its_creations_changes_no_user(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    plan = await session.provisioning.plan(new_team(sandbox, 5))
    hold = sandbox.faults.hold(POST_GROUP)
    task = asyncio.ensure_future(session.provisioning.apply(plan))
    await hold.arrived()
    task.cancel()
    await settle(TURNS)
    hold.release()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    report = report_of(caught.value)
    assert report is not None
    assert report.counts == {"created": 1, "not_started": 5}


async def test_7_13_a_second_cancellation_cancels_the_changes_in_flight(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-13: each may have been made, so its outcome is unknown."""
    plan = await session.provisioning.plan(new_team(sandbox, 20))
    hold = sandbox.faults.hold(PATCH_USER)
    task = asyncio.ensure_future(session.provisioning.apply(plan, concurrency=WORKERS))
    await hold.arrived(WORKERS)
    for _ in range(2):
        task.cancel()
        await settle(TURNS)
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    report = report_of(caught.value)
    assert report is not None
    assert report.counts == {"created": 1, "unknown": WORKERS, "not_started": 20 - WORKERS}
    assert sandbox.count(PATCH_USER) == WORKERS
    hold.release()
    await session.aclose()


async def test_7_13_a_cancellation_before_the_first_write_writes_nothing(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    plan = await session.provisioning.plan(new_team(sandbox))
    before = state(sandbox)
    hold = sandbox.faults.hold("GET /printing/v1/groups/")
    task = asyncio.ensure_future(session.provisioning.apply(plan))
    await hold.arrived()
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    hold.release()
    assert report_of(caught.value) is None
    assert (sandbox.count(POST_GROUP), state(sandbox)) == (0, before)


async def test_7_13_a_cancellation_at_the_start_of_the_run(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-13: in each of the first turns of the loop after the checks. No change begins after it."""
    add_team(sandbox, 6)
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Team": emails(sandbox, 30)}))
    for turns in range(6):
        sandbox.reset_counts()
        hold = sandbox.faults.hold("GET /printing/v1/users/{id}/")
        task = asyncio.ensure_future(session.provisioning.apply(plan, concurrency=WORKERS))
        while not sandbox.count("GET /printing/v1/groups/"):
            await asyncio.sleep(0)
        for _ in range(200 + turns):
            await asyncio.sleep(0)
        task.cancel()
        hold.release()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sandbox.count(PATCH_USER) <= WORKERS


def test_a_report_is_found_on_causes_and_contexts() -> None:
    report = Report()
    cause = asyncio.CancelledError()
    cause.report = report
    try:
        try:
            raise cause
        except asyncio.CancelledError:
            raise KeyboardInterrupt  # noqa: B904  # as `asyncio.run` does
    except KeyboardInterrupt as error:
        assert report_of(error) is report
    assert report_of(None) is None
    assert report_of(ValueError()) is None
    loop = ValueError()
    loop.__context__ = loop
    assert report_of(loop) is None


# --- Ctrl-C --------------------------------------------------------------------------------------------------------


SCRIPT = """
    import asyncio, sys
    from datetime import datetime, timedelta, UTC
    from ezeep_async import Endpoints, EzeepSession, OAuthApp, Plan, TokenSet, run_sync
    from ezeep_async.provisioning import report_of
    from ezeep_async.provisioning.runs.apply import Run

    real_stop = Run.stop

    def stop(run):
        real_stop(run)
        print("stopped", flush=True)

    Run.stop = stop
    mode, app, account, api, access, refresh, log = sys.argv[1:]
    plan = Plan.from_json(sys.stdin.read())
    tokens = TokenSet(access, refresh, datetime.now(UTC) + timedelta(hours=1))
    session = EzeepSession(OAuthApp(app), tokens=tokens, endpoints=Endpoints(account, api))

    async def main():
        async with session:
            await session.provisioning.apply(plan, concurrency=3, audit_log=log)

    try:
        if mode == "asyncio":
            asyncio.run(main())
        else:
            with run_sync(session) as blocking:
                blocking.provisioning.apply(plan, concurrency=3, audit_log=log)
    except KeyboardInterrupt as error:
        print(sorted(report_of(error).counts.items()))
"""


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.timeout(60)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send SIGINT to a single process")
@pytest.mark.parametrize("mode", ["asyncio", "run_sync"])
def test_7_13_ctrl_c_leaves_a_report_and_a_complete_log(mode: str, tmp_path: Path) -> None:
    """7-13: a real SIGINT to a real process. What it has begun is completed and reported."""
    log = tmp_path / "audit.jsonl"
    with sandbox_in_a_thread(users=30) as sandbox:
        tokens, where = sandbox.tokens(), sandbox.endpoints

        async def planned() -> Plan:
            async with EzeepSession(sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=where) as session:
                return await session.provisioning.plan(new_team(sandbox, 20))

        plan = asyncio.run(planned())
        hold = sandbox.faults.hold(PATCH_USER, when=lambda _: sandbox.count(PATCH_USER) > 5)
        arguments = [mode, sandbox.oauth_app.client_id, where.account, where.api]
        arguments += [tokens.access_token, tokens.refresh_token, str(log)]
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(plan.to_json())
        process.stdin.close()
        process.stdin = None
        asyncio.run(hold.arrived(3))
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "stopped\n"
        hold.release()
        out, err = process.communicate(timeout=40)
        assert err == ""
        updated = sandbox.count(PATCH_USER)
        reported = [("created", 1), ("not_started", 20 - updated), ("updated", updated)]
        assert out.strip() == str(reported)
        assert 8 <= updated <= 10
        records = list(read_audit_log(log))
    assert len(records) == 2 * (updated + 1) + 1
    assert sum(record.outcome == "updated" for record in records) == updated


@pytest.mark.may_block
def test_the_blocking_twin_plans_applies_and_undoes(tmp_path: Path) -> None:
    """5-1: without an await."""
    with sandbox_in_a_thread() as sandbox:
        before = state(sandbox)
        with run_sync(
            EzeepSession(sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints)
        ) as session:
            plan = session.provisioning.plan(new_team(sandbox))
            log = tmp_path / "audit.jsonl"
            report = session.provisioning.apply(plan, audit_log=log)
            assert report.counts == {"created": 1, "updated": 8}
            back = session.provisioning.undo(log, delete_groups=True)
            assert session.provisioning.apply(back).counts == {"updated": 8, "deleted": 1}
        assert state(sandbox) == before
