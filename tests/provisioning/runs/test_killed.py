"""7-9: a run that is killed with SIGKILL at fifty moments, and run again: same result, no duplicate group, no member missing.

The moments are requests: the process dies when its n-th one arrives, which is then processed or is not. And others are
inside the process: when a line of the audit log is half on the disk, or whole, and its write is not sent yet. Nothing
here waits for a time. Afterwards both runs are undone, and everything is as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

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
from ezeep_async.provisioning import DesiredState, Report, read_audit_log
from ezeep_async.sandbox import Sandbox


pytestmark = [
    pytest.mark.slow,
    pytest.mark.may_block,
    pytest.mark.timeout(60),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork and SIGKILL"),
]

DEATHS = 50
USERS = 12
ROUTES = (LIST_GROUPS, LIST_USERS, LIST_PEOPLE, POST_GROUP, GET_USER, PATCH_USER)
REQUESTS = 3 + 1 + 2 + 2 * 10
"""Requests of a whole run: planning, the check, two groups, and ten users; without the request for the own user."""


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    with mortal_processes() as processes:
        yield processes


def desired_for(sandbox: Sandbox) -> dict[str, list[str]]:
    """Two groups to create, one to change; ten users to write."""
    people = emails(sandbox)
    return {"Team": people[3:7], "New": people[:9], "Newer": people[6:10]}


def expected(sandbox: Sandbox, before: State) -> dict[str, set[str]]:
    wanted = {name: set(people) for name, people in desired_for(sandbox).items()}
    organization = sandbox.organization
    untouched = {
        group.name: {organization.people[user].email for user, groups in before.items() if group.id in groups}
        for group in organization.groups.values()
        if group.name not in wanted
    }
    return wanted | untouched


def reality(sandbox: Sandbox) -> dict[str, set[str]]:
    organization = sandbox.organization
    return {
        group.name: {organization.people[user].email for user in organization.members(group.id)}
        for group in organization.groups.values()
    }


async def run_again(sandbox: Sandbox, log: Path) -> Report:
    async with _session(sandbox) as session:
        plan = await session.provisioning.plan(
            DesiredState.from_mapping(desired_for(sandbox)), mode="exact", max_removals=100
        )
        report = await session.provisioning.apply(plan, audit_log=log)
        report.raise_for_failures()
        again = await session.provisioning.plan(DesiredState.from_mapping(desired_for(sandbox)), mode="exact")
        assert again.is_empty
        return report


async def undo_all(sandbox: Sandbox, log: Path) -> None:
    async with _session(sandbox) as session:
        for run_id in reversed(list(dict.fromkeys(record.run_id for record in read_audit_log(log)))):
            plan = await session.provisioning.undo(log, run_id, delete_groups=True)
            (await session.provisioning.apply(plan)).raise_for_failures()


def _session(sandbox: Sandbox) -> EzeepSession:
    return EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints, settings=QUICK
    )


def start(mortals: Mortals, sandbox: Sandbox, log: Path, verify: str, *at_the_disk: object) -> int:
    tokens, where = sandbox.tokens(), sandbox.endpoints
    return mortals.start(
        at_the_disk,
        [desired_for(sandbox)],
        verify,
        str(log),
        sandbox.oauth_app.client_id,
        where.account,
        where.api,
        tokens.access_token,
        tokens.refresh_token,
    )


@contextlib.contextmanager
def an_organization(chance: random.Random, number: int, log: Path) -> Iterator[Sandbox]:
    """An organization whose run is killed in the block. It is then run again, and both runs are undone."""
    with sandbox_in_a_thread(users=USERS, groups=4, seed=number) as sandbox:
        add_team(sandbox, 5)
        # The admin comes last, and is in no group: its own memberships are never removed.
        for user in sandbox.organization.listed_users()[:-1]:
            user.groups.add(chance.choice(list(sandbox.organization.groups)))
        before, all_names = state(sandbox), names(sandbox)
        goal = expected(sandbox, before)
        yield sandbox
        settle(sandbox)

        asyncio.run(run_again(sandbox, log))
        assert names(sandbox) == sorted([*all_names, "New", "Newer"])
        assert reality(sandbox) == goal

        asyncio.run(undo_all(sandbox, log))
        assert names(sandbox) == all_names
        assert state(sandbox) == before


@pytest.mark.parametrize("number", range(DEATHS))
def test_7_9_killed_and_run_again(mortals: Mortals, tmp_path: Path, number: int) -> None:
    """7-9, 7-10, 7-15: the result is that of one run, and the log has all that undo needs."""
    chance = random.Random(number)
    # Each moment of a run comes at least once, and each half of them.
    moment, processed = number % REQUESTS + 1, number % 2 == (number // REQUESTS) % 2
    log = tmp_path / "audit.jsonl"
    with an_organization(chance, number, log) as sandbox:
        death = Death(sandbox, ROUTES, moment, processed=processed)
        verify = chance.choice(["fresh", "trust-plan"]) if moment < REQUESTS / 2 else "fresh"
        death.pid.put(start(mortals, sandbox, log, verify))
        assert mortals.end() == -signal.SIGKILL


@pytest.mark.parametrize("verify", ["fresh", "trust-plan"])
@pytest.mark.parametrize("how", ["torn", "written", "synced"])
@pytest.mark.parametrize("moment", [1, 2, 3, 5, 7])
def test_7_9_killed_at_the_disk_and_run_again(
    mortals: Mortals, tmp_path: Path, moment: int, how: str, verify: str
) -> None:
    """7-9: during the n-th append to the log: before its write was sent, or before its outcome was logged."""
    log = tmp_path / "audit.jsonl"
    with an_organization(random.Random(moment), moment, log) as sandbox:
        start(mortals, sandbox, log, verify, moment, how)
        assert mortals.end() == -signal.SIGKILL
        assert log.read_bytes().endswith(b"\n") == (how != "torn")
