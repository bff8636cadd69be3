"""`ezeep provision`: plan, apply, undo."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs
from cyclopts import App, Group, Parameter

from ezeep_async import DesiredState, EzeepSession, Plan, SafetyLimitExceeded
from ezeep_async.cli.connection import HERE, Connection, open_session
from ezeep_async.cli.options import Json, OutFile
from ezeep_async.cli.provision.apply import DEFAULTS, Applying, apply_plan
from ezeep_async.cli.provision.files import check_not_read, read_input
from ezeep_async.cli.provision.screen import limit_message, show_plan
from ezeep_async.cli.terminal.output import complain, write_json
from ezeep_async.cli.terminal.private_files import write_private
from ezeep_async.cli.terminal.prompts import in_background
from ezeep_async.cli.terminal.screen import Screen
from ezeep_async.provisioning import OnMissing, Verify


PENDING = 2
"""The exit code of a plan that changes something."""

EXAMPLE = """Export the groups, edit the file, show the difference, apply it, and undo it:

    ezeep export --out people.csv
    ezeep provision plan people.csv --mode exact
    ezeep provision apply people.csv --mode exact
    ezeep provision undo AUDIT_LOG

With --sandbox each command runs in a sandbox of its own."""

provision_app = App(
    name="provision",
    help="Bring the organization into line with a file of groups and members.",
    help_epilogue=EXAMPLE,
)


def _no_option(_: object, value: Path) -> None:
    # The hyphen alone is a file. To allow it, cyclopts allows everything that begins with one.
    if str(value).startswith("-") and str(value) != "-":
        raise ValueError(f"there is no option {value}")


File = Annotated[Path, Parameter(allow_leading_hyphen=True, validator=_no_option)]


@Parameter(name="*", group=Group("Planning", sort_key=5))
@attrs.frozen(kw_only=True)
class Planning:
    """The options of making a plan. None: not given, also for an option whose default is a value."""

    mode: Literal["add", "exact"] | None = None
    """add, the default, removes no memberships; exact gives the groups of the file exactly the members of the file. Groups
    that are not in the file are not changed in either mode."""
    organization_id: str | None = None
    """The organization of new groups; by default the one that all groups belong to."""
    no_create_groups: bool | None = None
    """Report a group that does not exist as an error."""
    on_missing: OnMissing | None = None
    """Members who are not in the organization: stop (error, the default), skip them, or invite them. Invited people get
    their groups when the same command runs again after they have joined."""
    allow_external: bool | None = None
    """Also change groups of another directory, such as Azure. It may change them back."""
    max_removals: float | None = None
    """The maximum of removed memberships: a share of those that the groups of the file have (by default 0.1, and always at
    least five), or a number from 1 up; 0 for none."""
    protect_user: tuple[str, ...] | None = None
    """A user who is removed from no group: an id, an e-mail address, or a pattern such as '*@board.example.com'. May be
    given several times. You, and an only administrator, are always protected."""
    protect_group: tuple[str, ...] | None = None
    """A group from which no member is removed: an id, a name, or a pattern. May be given several times."""

    def given(self) -> dict[str, Any]:
        """The options that were given, whatever their value."""
        return {name: value for name, value in attrs.asdict(self).items() if value is not None}


DEFAULT = Planning()


@provision_app.command(
    name="plan",
    help_epilogue="Exit codes: 0 nothing to change, 1 an error, 2 changes are pending. Nothing is written to ezeep.",
)
async def plan_file(
    file: File,
    /,
    *,
    planning: Planning = DEFAULT,
    out: OutFile = None,
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Show the changes that make the file true: + added, - removed, ~ the user, ! not changed.

    Parameters
    ----------
    file
        A .csv with the columns group and member (an e-mail address or a user id), a .json, a .yaml, or a saved plan; - is
        CSV from standard input.
    out
        Save the plan to this file, for ezeep provision apply.
    """
    if out is not None:
        await asyncio.to_thread(check_not_read, out, "--out", file)
    given = await _read(file, planning)
    if isinstance(given, Plan):
        plan = given
    else:
        async with open_session(connection) as session:
            plan = await _planned(session, given, planning)
    if out is not None:
        await asyncio.to_thread(write_private, out, plan.to_json() + "\n")
    return _show(plan, as_json)


@provision_app.command(
    name="apply",
    help_epilogue="Exit codes: 0 all changes are made, 1 a change failed or did not last, or nothing could be done, 3 a safety "
    "limit refused the plan and nothing was changed, 129 SIGHUP, 130 Ctrl-C, 141 the reader of the output is gone, "
    "143 SIGTERM. Run the same command again to make the missing changes.",
)
async def apply_file(
    file: File,
    /,
    *,
    planning: Planning = DEFAULT,
    applying: Applying = DEFAULTS,
    verify: Verify = "fresh",
    verify_after: Annotated[bool | None, Parameter(negative="--no-verify-after")] = None,
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Make the changes: show them, ask, and apply them. A failed change does not stop the others, and is listed at the end.

    Parameters
    ----------
    file
        As for ezeep provision plan, which is run first. Or a plan that was saved with --out, or with --json.
    verify
        fresh reads each user before writing it, and keeps what others have changed since the plan was made. trust-plan
        relies on the plan for users whose groups are unchanged: half as many requests, but changes that others make
        during the run are overwritten.
    verify_after
        List all users after the last change, repeat changes that other writers undid, and report what stays different. The
        default for a plan in mode exact.
    """
    await asyncio.to_thread(applying.check, file)
    given = await _read(file, planning)
    async with open_session(connection) as session:
        return await apply_plan(
            session,
            given if isinstance(given, Plan) else await _planned(session, given, planning),
            applying,
            verify=verify,
            verify_after=verify_after,
            as_json=as_json,
            sandbox=connection.sandbox,
            whole="ezeep provision plan",
        )


@provision_app.command(
    name="undo",
    help_epilogue="Exit codes: as those of apply; with --dry-run as those of plan.",
)
async def undo_log(
    log: Path,
    /,
    *,
    run_id: str | None = None,
    delete_groups: bool = False,
    dry_run: bool = False,
    applying: Applying = DEFAULTS,
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Undo a run of apply: show the changes, ask, and apply them. What others have changed since the run stays.

    Parameters
    ----------
    log
        The audit log of the run. apply shows its path.
    run_id
        The run, in a log of several; by default the last one.
    delete_groups
        Also delete groups that the run created, if they have no members and no printers.
    dry_run
        Only show the changes.
    """
    if not dry_run:
        await asyncio.to_thread(applying.check, log)
    async with open_session(connection) as session:
        plan = await session.provisioning.undo(log, run_id=run_id, delete_groups=delete_groups)
        if dry_run:
            return _show(plan, as_json)
        return await apply_plan(
            session,
            plan,
            applying,
            as_json=as_json,
            sandbox=connection.sandbox,
            whole="ezeep provision undo --dry-run",
        )


async def _read(file: Path, options: Planning) -> DesiredState | Plan:
    """Read the input. Raises `ValueError` also for options that do not fit it."""
    given = await in_background(lambda: read_input(file))
    if isinstance(given, Plan):
        if names := ["--" + name.replace("_", "-") for name in options.given()]:
            raise ValueError(f"{file} is a saved plan: {', '.join(names)} cannot change it. Plan again")
    elif options.mode == "exact" and not given.groups:
        raise ValueError(
            f"{file} contains no groups. --mode exact refuses it, because an empty export is usually a failed export"
        )
    return given


async def _planned(session: EzeepSession, desired: DesiredState, options: Planning) -> Plan:
    names = {"protect_user": "protect_users", "protect_group": "protect_groups"}
    given = options.given()
    create_groups = not given.pop("no_create_groups", False)
    arguments = {names.get(name, name): value for name, value in given.items()}
    return await session.provisioning.plan(desired, create_groups=create_groups, **arguments)


def _show(plan: Plan, as_json: bool) -> int:
    if as_json:
        write_json(plan.to_json())
    else:
        show_plan(Screen(), plan)
    try:
        plan.check_limits()
    except SafetyLimitExceeded as error:
        complain(f"apply would refuse this: {limit_message(error)}")
    return 0 if plan.is_empty else PENDING
