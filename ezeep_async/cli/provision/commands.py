"""`ezeep provision`: plan, apply, undo."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import attrs
from cyclopts import App, Group, Parameter

from ezeep_async.cli.connection import HERE, Connection, open_session
from ezeep_async.cli.options import Json, OutFile
from ezeep_async.cli.provision.apply import CAREFUL, Applying, apply_plan
from ezeep_async.cli.provision.files import check_not_read, read_input
from ezeep_async.cli.provision.screen import show_plan, told_limit
from ezeep_async.cli.terminal.private_files import write_private
from ezeep_async.cli.terminal.prompts import beside
from ezeep_async.cli.terminal.screen import Screen, complain, write_json
from ezeep_async.errors import SafetyLimitExceeded
from ezeep_async.provisioning.inputs.desired import DesiredState
from ezeep_async.provisioning.plans.compare import OnMissing, Rules
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.runs.apply import Verify
from ezeep_async.session import EzeepSession


PENDING = 2
"""The exit code of a plan that changes something."""

EXAMPLE = """Write the file, change it, look at the difference, make it true, and take it back:

    ezeep export --out people.csv
    ezeep provision plan people.csv --mode exact
    ezeep provision apply people.csv --mode exact
    ezeep provision undo AUDIT_LOG

With --sandbox each command tries it in a sandbox of its own."""

provision_app = App(
    name="provision",
    help="Bring the organization into line with a file that says who belongs to which group.",
    help_epilogue=EXAMPLE,
)


def _no_option(_: object, value: Path) -> None:
    # The hyphen alone is a file, and so cyclopts takes everything that begins with one.
    if str(value).startswith("-") and str(value) != "-":
        raise ValueError(f"there is no option {value}")


File = Annotated[Path, Parameter(allow_leading_hyphen=True, validator=_no_option)]


@Parameter(name="*", group=Group("Planning", sort_key=5))
@attrs.frozen(kw_only=True)
class Planning:
    """The options that say what the difference is. None: not given, which is not the same as given as it is by default."""

    mode: Literal["add", "exact"] | None = None
    """add, the default, takes nobody out of anything; exact gives the groups of the file the members of the file, and no
    others. Groups that the file does not name are left alone either way."""
    organization_id: str | None = None
    """Where new groups belong; by default where all the groups belong that there are."""
    no_create_groups: bool | None = None
    """A group that does not exist is an error."""
    on_missing: OnMissing | None = None
    """People whom the organization does not have: stop (error, the default), leave them out, or invite them. Who was
    invited gets the groups when the same is run again after they have joined."""
    allow_external: bool | None = None
    """Change groups too that another directory owns, such as Azure. It may change them back."""
    max_removals: float | None = None
    """How many memberships may be removed: a share of those that the groups of the file have (by default 0.1), of which
    five are always allowed, or a number from 1 up; 0 is none."""
    protect_user: tuple[str, ...] | None = None
    """Somebody to take out of nothing: an id, an e-mail address, or a pattern such as '*@board.example.com'. May be given
    several times. You, and an only administrator, are protected anyway."""
    protect_group: tuple[str, ...] | None = None
    """A group to take nobody out of: an id, a name, or a pattern. May be given several times."""

    def given(self) -> list[str]:
        """The options that were given, whatever their value."""
        return [
            "--" + field.name.replace("_", "-")
            for field in attrs.fields(type(self))
            if getattr(self, field.name) is not None
        ]


DEFAULT = Planning()


@provision_app.command(
    name="plan",
    help_epilogue="Exit codes: 0 nothing to do, 2 changes are pending, 1 an error. Nothing is written to ezeep.",
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
    """Show what has to change for the file to be true: + comes, - goes, ~ whom it is about, ! is not done.

    Parameters
    ----------
    file
        A .csv with the columns group and member (an e-mail address or a user id), a .json, a .yaml; - is CSV from
        standard input. A plan that was kept is shown again.
    out
        Keep the plan in this file, for ezeep provision apply.
    """
    if out is not None:
        await asyncio.to_thread(check_not_read, out, "--out", file)
    given = await beside(lambda: read_input(file))
    _check_options(planning, given, file)
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
    help_epilogue="Exit codes: 0 everything is done, 1 some change failed, did not last, or nothing could be done, 3 a safety limit "
    "refused it and nothing was changed, 130 Ctrl-C. Running the same again does what is left to do.",
)
async def apply_file(
    file: File,
    /,
    *,
    planning: Planning = DEFAULT,
    applying: Applying = CAREFUL,
    verify: Verify = "fresh",
    verify_after: Annotated[bool | None, Parameter(negative="--no-verify-after")] = None,
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Make the changes: show them, ask, and do them. What fails stops nothing else, and is listed at the end.

    Parameters
    ----------
    file
        As for ezeep provision plan: then it is planned now. Or a plan that was kept with --out, or with --json.
    verify
        fresh reads each user before it is written, and keeps what others changed since the plan was made; trust-plan takes
        the plan's word for those who are as it has them, makes half as many requests, and overwrites what others change
        meanwhile.
    verify_after
        List all users after the last change, write again what other writers undid, and report what stays different. The
        default for a plan of mode exact.
    """
    await asyncio.to_thread(applying.check, file)
    given = await beside(lambda: read_input(file))
    _check_options(planning, given, file)
    async with open_session(connection) as session:
        plan = given if isinstance(given, Plan) else await _planned(session, given, planning)
        return await apply_plan(
            session,
            plan,
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
    applying: Applying = CAREFUL,
    as_json: Json = False,
    connection: Connection = HERE,
) -> int:
    """Take back what a run of apply did: show it, ask, and do it. What others changed since then stays.

    Parameters
    ----------
    log
        The audit log of that run. apply says where it is.
    run_id
        Which run, in a log of several; by default the last one.
    delete_groups
        Delete the groups that the run created too, where they have no members and no printers.
    dry_run
        Only show what would be changed.
    """
    if not dry_run:
        await asyncio.to_thread(applying.check, log)
    async with open_session(connection) as session:
        plan = await session.provisioning.undo(log, run_id=run_id, delete_groups=delete_groups)
        if not dry_run:
            return await apply_plan(
                session,
                plan,
                applying,
                as_json=as_json,
                sandbox=connection.sandbox,
                whole="ezeep provision undo --dry-run",
            )
    return _show(plan, as_json)


def _check_options(options: Planning, given: DesiredState | Plan, file: Path) -> None:
    """Raise `ValueError` for options that do not go with what was read."""
    if isinstance(given, Plan):
        if too_late := options.given():  # its rules are in it
            raise ValueError(
                f"{file} is a plan already: {', '.join(too_late)} would come too late. Plan again"
            )
    elif options.mode == "exact" and not given.groups:
        # Somewhere an export has failed: a nightly job must not take this for an organization that is as it should be.
        raise ValueError(f"{file} names no group, so there is nothing that --mode exact could make exact")


async def _planned(session: EzeepSession, desired: DesiredState, options: Planning) -> Plan:
    default = Rules()
    return await session.provisioning.plan(
        desired,
        mode=options.mode or default.mode,
        organization_id=options.organization_id,
        create_groups=not options.no_create_groups,
        on_missing=options.on_missing or default.on_missing,
        allow_external=bool(options.allow_external),
        max_removals=default.max_removals if options.max_removals is None else options.max_removals,
        protect_users=options.protect_user or (),
        protect_groups=options.protect_group or (),
    )


def _show(plan: Plan, as_json: bool) -> int:
    if as_json:
        write_json(plan.to_json())
    else:
        show_plan(Screen(), plan)
    try:
        plan.check_limits()
    except SafetyLimitExceeded as error:
        complain(f"apply would refuse this: {told_limit(error)}")
    return 0 if plan.is_empty else PENDING
