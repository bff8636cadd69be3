"""`session.provisioning`: plan, apply, undo."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import Iterable
from typing import Literal, TypeVar
from uuid import UUID

from ezeep_async._text.cleaning import cleaned_path
from ezeep_async._wire.requests import as_uuid, checked_flag
from ezeep_async.auth.stores.paths import expanded
from ezeep_async.models.groups import Group
from ezeep_async.provisioning.inputs.desired import DesiredState
from ezeep_async.provisioning.names import normalize_group_name
from ezeep_async.provisioning.plans.changes import CreateGroup
from ezeep_async.provisioning.plans.compare import (
    OnMissing,
    Protection,
    Rules,
    check_new_group_names,
    compare,
)
from ezeep_async.provisioning.plans.plan import Plan, checked_max_removals
from ezeep_async.provisioning.plans.snapshot import READERS, Resources, read_snapshot
from ezeep_async.provisioning.runs.apply import OnEvent, Run, Verify, run_to_report
from ezeep_async.provisioning.runs.audit import AuditLog, read_audit_log
from ezeep_async.provisioning.runs.drift import check_plan
from ezeep_async.provisioning.runs.preflight import as_planned, groups_now, invited_by_now
from ezeep_async.provisioning.runs.report import Report
from ezeep_async.provisioning.runs.undo import plan_undo, users_of
from ezeep_async.provisioning.runs.verify import Verifier
from ezeep_async.resources._base import listed
from ezeep_async.resources.accounts import Accounts
from ezeep_async.resources.groups import Groups
from ezeep_async.resources.invitations import Invitations
from ezeep_async.resources.users import Users


T = TypeVar("T")

logger = logging.getLogger("ezeep_async.provisioning")


class Provisioning:
    """Bring the organization into line with a list of groups and members: first a plan, then for real."""

    def __init__(self, groups: Groups, users: Users, accounts: Accounts, invitations: Invitations) -> None:
        self._resources = Resources(groups, users, accounts, invitations)

    async def plan(
        self,
        desired: DesiredState,
        mode: Literal["add", "exact"] = "add",
        organization_id: UUID | str | None = None,
        create_groups: bool = True,
        on_missing: OnMissing = "error",
        allow_external: bool = False,
        max_removals: float = 0.10,
        protect_users: Iterable[str | UUID] = (),
        protect_groups: Iterable[str | UUID] = (),
    ) -> Plan:
        """What has to change for `desired` to be true. Reads the organization once, everything at the same time; writes nothing.

        `mode` "add" takes nobody out of anything; "exact" gives the groups named the members named and no others, and
        touches no other group. `organization_id` is for new groups, by default the one that all groups share. `on_missing`:
        people whom the organization does not have are an error, passed over ("skip"), or invited ("invite"; their
        memberships come with a run after they have joined). Groups that another directory owns are read-only unless
        `allow_external`. `max_removals` is a share below 1 of the memberships that the groups named have (five are always
        allowed), or a number from 1 up; `apply` refuses a plan that removes more. `protect_users` (ids, or globs of e-mail
        addresses) are taken out of nothing, and nobody out of `protect_groups` (ids, or globs of names); the user that the
        session is logged in as and an only administrator are always protected.

        Group names are compared exactly, except for white space around them and the composition of accents. A new group
        whose name people cannot tell from that of another (by case, kinds of spaces, full-width letters, letters of other
        scripts) is in the plan's `notes`, which are logged as well. A new group whose name has invisible characters is
        refused; a joiner or a selector that the writing needs, as in an emoji or in Persian, is allowed. An existing
        group is found by its exact name, whatever characters that has.

        Raises `MissingPeople`, `ExternalGroup`, `AmbiguousName`, `InvalidInput` for new groups whose names have invisible
        characters, `ValueError` for arguments that make no sense, for groups
        that are missing with `create_groups=False` and where the organization cannot be told, in mode "exact"
        `SafetyLimitExceeded` for an input that names nothing and `InconsistentListing` where the organization does not
        hold still, and what reading raises.
        """
        if not isinstance(desired, DesiredState):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise ValueError("desired is a DesiredState: DesiredState.from_mapping makes one of a mapping")  # noqa: TRY004  # one class for bad arguments
        rules = Rules(
            mode=_one_of(mode, ("add", "exact"), "mode"),
            organization_id=None if organization_id is None else as_uuid(organization_id, "organization_id"),
            create_groups=checked_flag(create_groups, "create_groups"),
            on_missing=_one_of(on_missing, ("error", "skip", "invite"), "on_missing"),
            allow_external=checked_flag(allow_external, "allow_external"),
            max_removals=checked_max_removals(max_removals),
            protect_users=Protection.of(protect_users, "protect_users"),
            protect_groups=Protection.of(protect_groups, "protect_groups"),
        )
        now = await read_snapshot(
            self._resources, desired, exact=rules.mode == "exact", invitations=rules.on_missing == "invite"
        )
        plan = compare(desired, now, rules)
        for note in plan.notes:
            logger.warning(note)
        return plan

    async def apply(
        self,
        plan: Plan,
        concurrency: int = 16,
        on_event: OnEvent | None = None,
        audit_log: str | os.PathLike[str] | None = None,
        verify: Verify = "fresh",
        verify_after: bool = False,
    ) -> Report:
        """Make the changes of `plan`, at most `concurrency` at once: groups first, then one write for each user at most.

        Before the first write it is checked that the plan still fits: groups are where they were, nobody is taken out who
        is protected, and not more is removed than `max_removals` allows of what there is now. Then each user is read
        afresh and merged, so that what others changed stays, and nobody is invited who has been invited, or has an account,
        by then. Running it again finishes what a run that was killed has left.
        `verify="trust-plan"` lists all users once instead, and takes the plan's word for those whose groups are what they
        were: half as many requests, and what others change about such a user during the run is overwritten. No plan of
        `undo` is applied so.

        The API replaces all groups of a user at once and has no versions. So another writer that read a user before this
        run wrote it, and writes it afterwards, undoes the run's change. `verify_after=True` lists all users once after the
        last write, writes again what of the plan's own changes was undone, and lists again (three listings at most). What
        is different in the last listing is in the report's `differences`, and the report is not `ok`: memberships of the
        plan that did not last, members of the plan's groups who are missing and, in mode "exact", members who should not
        be there. Only the plan's own changes are written again. These limits remain: a writer that is still running may
        undo something after the last listing; what this run overwrote of the changes of writers that do not use this SDK
        is not in the plan, and not found; and a plan with no changes is not compared.

        Runs in one process, and in processes that share a `FileTokenStore`, a `KeyringTokenStore` or a `RedisTokenStore`,
        take turns at each user and at creating groups, so that with `verify="fresh"` none undoes what another adds.
        Other writers can still create a group of the same name at the same time. The report's `warnings` (they are logged
        as well) name those that are there twice afterwards, and groups that came into being since the plan was made and look
        like one that it creates.

        A change that fails is in the report and stops nobody. `on_event` is called in the event loop after each change;
        what it raises ends the run, with its report on it as below. `audit_log` is a file to which every write is noted,
        before it is sent and after its answer; where the checks refuse the plan, nothing is noted. A caller that is
        cancelled ends the run: what is in flight is waited for, and the report of what was done is on the exception (see
        `report_of`). `asyncio.timeout` has that exception as the cause of its own; anyio's `move_on_after` and
        `fail_after` drop it: catch the `CancelledError` inside of them, take its report, and raise it again.

        Raises `StalePlan`, `SafetyLimitExceeded` and, for new groups whose names have invisible characters, `InvalidInput`
        before anything is written, `AuditLogError` for a log that cannot be
        written or a file that holds something else, `ValueError` for arguments that make no sense and for trusting a plan
        of `undo`, and what reading the groups raises.
        """
        if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise ValueError(f"concurrency is a whole number of at least 1, not {concurrency!r}")
        _one_of(verify, ("fresh", "trust-plan"), "verify")
        if not isinstance(plan, Plan):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
            raise ValueError("plan is a Plan: session.provisioning.plan makes one of a DesiredState")  # noqa: TRY004  # one class for bad arguments
        checked_flag(verify_after, "verify_after")
        if on_event is not None and not callable(on_event):
            raise ValueError(
                f"on_event is a function, not {type(on_event).__name__}"
            )  # one class for bad arguments
        if inspect.iscoroutinefunction(on_event):
            raise ValueError("on_event is called and not awaited: a plain function, which may start a task")
        if verify == "trust-plan" and plan.mode == "undo":
            raise ValueError(
                'verify="trust-plan" would overwrite what others changed since the run that is undone'
            )
        plan.check_limits()
        if plan.is_empty:
            return Report()
        log = None if audit_log is None else AuditLog(audit_log)
        if log is not None:
            await log.check()
        invited = await invited_by_now(self._resources, plan)
        trusted = await as_planned(self._resources, plan) if verify == "trust-plan" else set[UUID]()
        me = (await self._resources.accounts.me()).id if plan.removals else None
        # Last of all: the less time between this and the creations, the fewer groups that another run creates as well.
        groups = await listed(self._resources.groups.list(concurrency=READERS))
        appeared = check_plan(plan, groups, me)
        creations = [change for change in plan.changes if isinstance(change, CreateGroup)]
        look_alikes = check_new_group_names(
            [change for change in creations if change.name not in appeared], groups
        )
        if log is not None:
            await log.begin(_namesakes(plan, groups))
        return await run_to_report(
            Run(
                self._resources,
                plan,
                {name: group.id for name, group in appeared.items()},
                invited,
                trusted,
                concurrency=concurrency,
                on_event=on_event,
                log=log,
                warnings=[note for note in look_alikes if note not in plan.notes],
                verifier=Verifier(
                    self._resources, plan, {group.id: group.name for group in groups}, wanted=verify_after
                ),
            )
        )

    async def undo(
        self, audit_log: str | os.PathLike[str], run_id: str | None = None, delete_groups: bool = False
    ) -> Plan:
        """The plan that takes back what a run did, by its audit log: the last run of it, or `run_id`. Apply it with `apply`.

        What may have been written counts as written, also by a run that was killed. Memberships that others changed since
        stay, and what has been taken back already is not in the plan. With `delete_groups`, groups that the run created are deleted where nobody uses them; one whose creation had no
        answer is the group of that name and organization that was not there before the run. The plan's `notes` (they are
        logged as well) name the other runs of the log, where `run_id` is not given, and groups and users that are gone.
        Raises `AuditLogError` and `OSError` for a file that is no audit log or is damaged, and what reading the groups and
        the users raises.
        """
        log = expanded(cleaned_path(audit_log, "audit_log"))
        records = await asyncio.to_thread(lambda: list(read_audit_log(log)))
        groups = await listed(self._resources.groups.list(concurrency=READERS))
        now = await groups_now(self._resources, users_of(records, run_id))
        plan = plan_undo(records, groups, now, run_id=run_id, delete_groups=delete_groups)
        for note in plan.notes:
            logger.warning("%s: %s", os.fspath(audit_log), note)
        return plan


def _namesakes(plan: Plan, groups: Iterable[Group]) -> list[UUID]:
    """The groups that have a name that the plan creates one of, in whichever organization."""
    created = {change.name for change in plan.changes if isinstance(change, CreateGroup)}
    return [group.id for group in groups if normalize_group_name(group.name) in created]


def _one_of(value: T, allowed: tuple[T, ...], name: str) -> T:
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(map(repr, allowed))}, not {value!r}")
    return value
