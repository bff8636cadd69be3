"""7-9: a run with printers that is killed with SIGKILL at thirty random moments, run again, and undone.

As `test_killed`, on both kinds of servers. The moments are requests, which are then processed or are not.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from helpers.killed_runs import Death, Mortals, mortal_processes, settle
from helpers.provisioned import (
    GET_USER,
    LIST_GROUPS,
    LIST_PEOPLE,
    LIST_USERS,
    PATCH_USER,
    POST_GROUP,
    State,
    add_team,
    emails,
    names,
    state,
)
from helpers.support import QUICK, sandbox_in_a_thread

from ezeep_async import EzeepSession
from ezeep_async.provisioning import DesiredState, Plan, read_audit_log
from ezeep_async.sandbox import Sandbox


pytestmark = [
    pytest.mark.slow,
    pytest.mark.may_block,
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork and SIGKILL"),
]

DEATHS = 30
PRINTERS = 8
ROUTES = (
    LIST_GROUPS,
    LIST_USERS,
    LIST_PEOPLE,
    POST_GROUP,
    GET_USER,
    PATCH_USER,
    "GET /printing/v1/assignments/",
    "PUT /printing/v1/assignments/{id}/",
    "DELETE /printing/v1/assignments/{id}/",
)
REQUESTS = 4 + 2 + 2 + 2 * 3 + 2 * PRINTERS
"""Requests of a run, at least: planning, the check, the new group, three users, and a read and a write for each printer."""

Everything = tuple[State, State, list[str]]
Desired = tuple[dict[str, list[str]], dict[str, list[str]]]


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    with mortal_processes() as processes:
        yield processes


def assigned(sandbox: Sandbox) -> State:
    groups = sandbox.organization.groups
    return {each.id: frozenset(each.groups) & groups.keys() for each in sandbox.printing.printers.values()}


def everything(sandbox: Sandbox) -> Everything:
    return state(sandbox), assigned(sandbox), names(sandbox)


def desired_for(sandbox: Sandbox) -> Desired:
    """A new group with members and printers, and two groups that gain and lose printers: all printers change."""
    printers = [each.name for each in sandbox.printing.printers.values()]
    return {"New": emails(sandbox, 3)}, {"New": printers[:5], "Left": printers[4:], "Right": printers[:4]}


async def planned(session: EzeepSession, desired: Desired) -> Plan:
    wish = DesiredState.from_mapping(*desired)
    return await session.provisioning.plan(wish, mode="exact", max_removals=100)


async def run_again_and_undo(sandbox: Sandbox, log: Path, before: Everything) -> None:
    desired = desired_for(sandbox)
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=QUICK
    ) as session:
        report = await session.provisioning.apply(await planned(session, desired), audit_log=log)
        report.raise_for_failures()
        assert (await planned(session, desired)).is_empty
        ids = {group.name: group.id for group in sandbox.organization.groups.values()}
        assert names(sandbox).count("New") == 1
        for each in sandbox.printing.printers.values():
            wanted: set[UUID] = {ids[name] for name, printers in desired[1].items() if each.name in printers}
            assert set(each.groups) & {ids[name] for name in desired[1]} == wanted
            assert len(each.groups) == len(set(each.groups))
        for run_id in reversed(list(dict.fromkeys(record.run_id for record in read_audit_log(log)))):
            undo = await session.provisioning.undo(log, run_id, delete_groups=True)
            (await session.provisioning.apply(undo)).raise_for_failures()
    assert everything(sandbox) == before


@pytest.mark.parametrize("number", range(DEATHS))
def test_7_9_killed_run_again_and_undone(mortals: Mortals, tmp_path: Path, number: int) -> None:
    """7-9, 7-10, 7-15: the result is that of one run, and the log has all that undo needs."""
    chance = random.Random(number)
    log = tmp_path / "audit.jsonl"
    with sandbox_in_a_thread(
        users=5, groups=2, printers=PRINTERS, seed=number, assignments_put=chance.choice(["replace", "add"])
    ) as sandbox:
        left, right = add_team(sandbox, 2, "Left"), add_team(sandbox, 0, "Right")
        others = list(sandbox.organization.groups)
        for place, each in enumerate(sandbox.printing.printers.values()):
            each.groups = [left.id if place < 4 else right.id]
            each.groups += [group for group in others if group not in each.groups and chance.random() < 0.3]
            if place < 4:
                each.groups = [group for group in each.groups if group != right.id]
        before = everything(sandbox)

        death = Death(sandbox, ROUTES, chance.randint(1, REQUESTS), processed=chance.random() < 0.5)
        tokens, where = sandbox.tokens(), sandbox.endpoints
        pid = mortals.start(
            (),
            desired_for(sandbox),
            "fresh",
            str(log),
            sandbox.oauth_app.client_id,
            where.account,
            where.api,
            tokens.access_token,
            tokens.refresh_token,
        )
        death.pid.put(pid)
        assert mortals.end() == -signal.SIGKILL
        settle(sandbox)
        asyncio.run(run_again_and_undo(sandbox, log, before))
