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
from ezeep_async.models.accounts import AccountUser
from ezeep_async.models.groups import Group
from ezeep_async.models.people import Person
from ezeep_async.models.users import User
from ezeep_async.provisioning.inputs.desired import DesiredState
from ezeep_async.provisioning.plans.compare import OnMissing, Protection, Rules, compare
from ezeep_async.provisioning.plans.plan import Plan, checked_max_removals
from ezeep_async.provisioning.plans.snapshot import Resources, read_snapshot
from ezeep_async.provisioning.runs.apply import NOT_COMPARED, OnEvent, Run, Verify, Writer
from ezeep_async.provisioning.runs.audit import AuditLog, read_audit_log
from ezeep_async.provisioning.runs.preflight import preflight, read_for_undo
from ezeep_async.provisioning.runs.report import Report
from ezeep_async.provisioning.runs.undo import LoggedRun
from ezeep_async.resources.accounts import Accounts
from ezeep_async.resources.assignments import PrinterAssignments
from ezeep_async.resources.groups import Groups
from ezeep_async.resources.invitations import Invitations
from ezeep_async.resources.users import PEOPLE, Users


T = TypeVar("T")

logger = logging.getLogger("ezeep_async.provisioning")


class Provisioning:
    """Plan and apply the members and printers of groups from a list, and revert what was applied."""

    def __init__(
        self,
        groups: Groups,
        users: Users,
        accounts: Accounts,
        invitations: Invitations,
        assignments: PrinterAssignments,
    ) -> None:
        self._resources = Resources(groups, users, accounts, invitations, assignments)

    async def plan(
        self,
        desired: DesiredState,
        mode: Literal["add", "exact"] = "add",
        organization_id: UUID | str | None = None,
        create_groups: bool = True,
        on_missing: OnMissing = "error",
        allow_external: bool = False,
        max_removals: float = 0.10,
        protect_users: Iterable[str | UUID | User | AccountUser | Person] = (),
        protect_groups: Iterable[str | UUID | Group] = (),
    ) -> Plan:
        """Compare the organization with a desired state, and return the changes to make. Writes nothing.

        Group names are compared exactly, except for surrounding white space and the composition of accents. A new group
        whose name looks like that of another group (by case, kinds of spaces, or letters of other scripts) is in the
        plan's `notes`, and one that differs from another by a typing error in its `hints`; both are logged too. The session's own user and an only administrator never lose a membership.

        Args:
            desired: The groups with their members, their printers, or both.
            mode: "add" removes nothing. "exact" gives the named groups exactly the named members, and exactly the named
                printers. Other groups are not changed. A group whose members or printers are not given keeps them.
            organization_id: Organization of new groups, and of the groups that are found by name. None: all groups are
                compared, and new groups get the organization that all groups share.
            create_groups: Whether to create groups that do not exist.
            on_missing: What to do with members who are not in the organization: "error", "skip", or "invite". A later plan
                adds the memberships of invited people.
            allow_external: Whether to change the members of groups that another directory owns. Their printers may always be
                changed.
            max_removals: A share below 1 of the memberships of the named groups, and of their printers (five of each are
                always allowed), or a whole number for both together.
            protect_users: Users who are not removed from any group: records, ids, or globs of e-mail addresses.
            protect_groups: Groups that lose no user and no printer: records, ids, or globs of names.

        Returns:
            The plan, for `apply` now or later.

        Raises:
            MissingPeople: Members are not in the organization, and `on_missing` is "error".
            ExternalGroup: Another directory owns a group whose members are given.
            AmbiguousName: Several groups have a named name, or several users have a named address.
            InvalidInput: The name of a new group has invisible characters. Or printers do not exist, or several have a name;
                `problems` lists all of them, with similar names.
            SafetyLimitExceeded: `desired` contains no groups in mode "exact".
            InconsistentListing: In mode "exact", a listing changed during each of three readings. In both modes, if it is
                the list of printers.
            ValueError: An argument is invalid, a group does not exist and may not be created, or several organizations have
                groups and `organization_id` is needed.
        """
        if not isinstance(desired, DesiredState):
            raise ValueError("desired must be a DesiredState: use DesiredState.from_mapping for a mapping")
        rules = Rules(
            mode=_one_of(mode, ("add", "exact"), "mode"),
            organization_id=None if organization_id is None else as_uuid(organization_id, "organization_id"),
            create_groups=checked_flag(create_groups, "create_groups"),
            on_missing=_one_of(on_missing, ("error", "skip", "invite"), "on_missing"),
            allow_external=checked_flag(allow_external, "allow_external"),
            max_removals=checked_max_removals(max_removals),
            protect_users=Protection.of(protect_users, "protect_users", *PEOPLE),
            protect_groups=Protection.of(protect_groups, "protect_groups", Group),
        )
        now = await read_snapshot(
            self._resources, desired, exact=rules.mode == "exact", invitations=rules.on_missing == "invite"
        )
        plan = compare(desired, now, rules)
        _log((*plan.notes, *plan.hints))
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
        """Make the changes of a plan: groups first, then at most one write for each user, then the printers.

        First the plan is checked against the current groups and its limits. Each user is read and merged, so what other
        writers changed since the plan stays. Printers are changed as by `printer_assignments.assign` and `.remove`, each in
        one turn: one write if it only gains groups or only loses groups. A change that fails does not stop the others. Apply again to complete a run
        that was killed.

        If the caller is cancelled, the changes in flight end, no other begins, and the exception carries the report: see
        `report_of`. A second cancellation cancels the changes in flight; their outcome is "unknown". A `TimeoutError` of
        `asyncio.timeout` has the cancellation as its cause. anyio's `fail_after` and `move_on_after` drop it, so catch it
        inside their scope, and raise it again.

        Args:
            plan: The plan, of `plan`, `undo` or `Plan.from_json`.
            concurrency: Changes that are made at once; at least 1.
            on_event: Called in the event loop after each change. Its exception ends the run, and carries the report.
            audit_log: File to which each write is appended before it is sent, and its outcome after the response. `undo`
                reads it. A plan that is refused writes nothing to it.
            verify: "fresh" reads each user and printer before its write. "trust-plan" lists all of them once and reads only
                those that changed since the plan: half as many requests, but what other writers change during the run is
                overwritten.
            verify_after: Whether to list all users and printers after the last write, repeat changes of the plan that other
                writers have undone, and list again, three times at most. What still differs is in `Report.differences` and
                `Report.assignment_differences`.

        Returns:
            The outcome of each change.

        Raises:
            StalePlan: A change since the plan was made contradicts it. Nothing was written.
            SafetyLimitExceeded: The plan removes too many of the current memberships. Nothing was written.
            InvalidInput: The name of a new group has invisible characters. Nothing was written.
            InconsistentListing: The groups changed during each of three readings. Nothing was written.
            AuditLogError: The log cannot be written, or the file is something else. Nothing was written.
            ValueError: An argument is invalid, or `verify` is "trust-plan" for a plan of `undo`.

        Note:
            The API replaces all groups of a user at once and has no versions (docs/ezeep-api.md#users). Runs in processes
            that share a token store take turns. Another writer that read a user before this run wrote it can still undo
            the change. `verify_after` finds that, unless it happens after the last listing.
        """
        if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
            raise ValueError(f"concurrency must be a whole number of at least 1, not {concurrency!r}")
        _one_of(verify, ("fresh", "trust-plan"), "verify")
        if not isinstance(plan, Plan):
            raise ValueError("plan must be a Plan: session.provisioning.plan makes one of a DesiredState")
        checked_flag(verify_after, "verify_after")
        if on_event is not None and (not callable(on_event) or inspect.iscoroutinefunction(on_event)):
            raise ValueError(f"on_event must be a plain function, which is not awaited, not {on_event!r}")
        if verify == "trust-plan" and plan.mode == "undo":
            raise ValueError(
                'verify="trust-plan" would overwrite what other writers changed since the run that is undone'
            )
        plan.check_limits()
        log = None if audit_log is None else AuditLog(audit_log)
        if log is not None:
            await log.check()
        if plan.is_empty:
            if log is None:
                return Report()
            await log.begin((), plan)
            return Report(run_id=log.run_id)
        known = await preflight(self._resources, plan, trust=verify == "trust-plan")
        _log(known.warnings)
        if log is not None:
            await log.begin(known.namesakes, plan, known.organization_id)
        writer = Writer(self._resources, known, log)
        run = Run(writer, plan, concurrency, on_event, unverified=NOT_COMPARED if verify_after else "")
        return await run.to_report()

    async def undo(
        self,
        audit_log: str | os.PathLike[str],
        run_id: str | Report | None = None,
        delete_groups: bool = False,
    ) -> Plan:
        """Return a plan that reverts a run, by its audit log. Writes nothing.

        What may have been written counts as written, also by a run that was killed. What other writers changed since stays.
        What is reverted already is not in the plan. The plan's `notes`, which are logged too, name other runs of the log,
        and groups and users that are gone.

        Args:
            audit_log: The file that `apply` wrote.
            run_id: The report of the run, or its `run_id`. None: the last run that changed something and is no undo.
            delete_groups: Whether to delete the groups that the run created, if they have no members and no printers then.

        Returns:
            The plan, for `apply`. It is empty if the run changed nothing.

        Raises:
            AuditLogError: The file is not an audit log, is damaged, or has no such run.
            InconsistentListing: The groups changed during each of three readings.
            OSError: The file cannot be read.
        """
        path = expanded(cleaned_path(audit_log, "audit_log"))
        wanted = run_id.run_id if isinstance(run_id, Report) else run_id
        run = await asyncio.to_thread(lambda: LoggedRun(read_audit_log(path), wanted))
        groups, memberships, printers = await read_for_undo(
            self._resources, frozenset(run.users), run.printers
        )
        plan = run.undo(groups, memberships, printers, delete_groups=delete_groups)
        _log(plan.notes, f"{os.fspath(audit_log)}: ")
        return plan


def _log(notes: Iterable[str], prefix: str = "") -> None:
    for note in notes:
        logger.warning("%s%s", prefix, note)


def _one_of(value: T, allowed: tuple[T, ...], name: str) -> T:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")
    return value
