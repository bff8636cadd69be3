"""Parameters for an id also take the record."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import attrs
import pytest
from helpers.support import QUICK, open_session, sandbox_in_a_thread

from ezeep_async import DesiredState, EzeepSession, Group, Paginator, Person, run_sync
from ezeep_async.sandbox import Sandbox


@pytest.fixture
async def session(sandbox: Sandbox) -> AsyncIterator[EzeepSession]:
    async with EzeepSession(
        sandbox.oauth_app,
        tokens=sandbox.tokens(scope="printing webhooks reporting"),
        endpoints=sandbox.endpoints,
        settings=QUICK,
    ) as opened:
        yield opened


@pytest.fixture
async def records(session: EzeepSession, sandbox: Sandbox) -> dict[str, Any]:
    """One record of each kind."""
    sandbox.printing.add_printer("P")
    sandbox.printing.web["https://x.example/a.pdf"] = b"%PDF-1.4"
    user = await session.users.list().first()
    printer = await session.printers.find("P")
    assert user is not None
    return {
        "group": await session.groups.list().first(),
        "user": user,
        "account": await session.accounts.get(user.id),
        "person": await session.people.get(user.id),
        "invitation": await session.invitations.create("new@example.com"),
        "printer": printer,
        "assignment": await session.printer_assignments.assign(printer),
        "webhook": await session.webhooks.create("x", "https://hooks.example.com/", ["printjob_failed"]),
        "report": await session.reports.create("2026-10-01", "2026-11-01"),
        "job": await session.printing.print_file(b"x", printer, type="pdf"),
    }


CALLS: dict[str, list[Callable[[EzeepSession, Any], Any]]] = {
    "group": [
        lambda session, group: session.groups.get(group),
        lambda session, group: session.groups.update(group, description="x"),
        lambda session, group: session.groups.members(group),
        lambda session, group: session.users.list(group),
        lambda session, group: session.people.list(group),
        lambda session, group: session.printer_assignments.list(group),
        lambda session, group: session.groups.delete(group),
    ],
    "user account person": [
        lambda session, user: session.people.get(user),
        lambda session, user: session.users.get(user),
        lambda session, user: session.users.set_groups(user, []),
        lambda session, user: session.users.add_to_groups(user),
        lambda session, user: session.users.remove_from_groups(user),
        lambda session, user: session.users.change_groups(user),
        lambda session, user: session.accounts.get(user),
        lambda session, user: session.accounts.update(user, first_name="x"),
        lambda session, user: session.accounts.delete(user),
    ],
    "invitation": [lambda session, invitation: session.invitations.resend(invitation)],
    "printer assignment": [
        lambda session, printer: session.printers.get(printer),
        lambda session, printer: session.printers.properties(printer),
        lambda session, printer: session.printing.print_file(b"x", printer, type="pdf"),
        lambda session, printer: session.printing.print_url("https://x.example/a.pdf", printer),
        lambda session, printer: session.printer_assignments.assign(printer),
        lambda session, printer: session.printer_assignments.remove(printer),
    ],
    "webhook": [
        lambda session, webhook: session.webhooks.get(webhook),
        lambda session, webhook: session.webhooks.update(webhook, disabled=True),
        lambda session, webhook: session.webhooks.delete(webhook),
    ],
    "report": [
        lambda session, report: session.reports.get(report),
        lambda session, report: session.reports.wait(report, interval=0.001),
    ],
    "job": [
        lambda session, job: session.printing.status(job),
        lambda session, job: session.printing.wait(job),
        lambda session, job: anext(session.printing.watch(job)),
    ],
}


async def outcome(sandbox: Sandbox, call: Any) -> object:
    """The requests that a call sends, and its exception."""
    before, failure = len(sandbox.requests), ""
    try:
        await (call.collect() if isinstance(call, Paginator) else call)
    except Exception as error:  # compared
        failure = f"{type(error).__name__} {error}"
    return failure, [(each.method, each.path, each.body) for each in sandbox.requests[before:]]


@pytest.mark.slow
@pytest.mark.parametrize("kinds", CALLS)
async def test_a_record_stands_for_its_id(
    session: EzeepSession, sandbox: Sandbox, records: dict[str, Any], kinds: str
) -> None:
    """The same requests are sent for a record and for its id."""
    sandbox.clock.advance(60)  # jobs have ended
    for call in CALLS[kinds]:
        for record in [records[kind] for kind in kinds.split()]:
            for _ in range(3):  # what is read once is known then, and what is deleted is gone
                by_id = await outcome(sandbox, call(session, record.id))
            by_record = await outcome(sandbox, call(session, record))
            if kinds == "printer assignment" and "print" in str(by_record):
                # Each upload and job has an id of its own.
                assert [each[0] for each in by_record[1]] == [each[0] for each in by_id[1]]
            else:
                assert by_record == by_id
            assert "must be" not in by_record[0]


@pytest.mark.slow
@pytest.mark.parametrize("kinds", CALLS)
async def test_a_record_of_another_kind_is_refused(
    session: EzeepSession, sandbox: Sandbox, records: dict[str, Any], kinds: str
) -> None:
    """The message names both kinds, and the id of the record; nothing is sent."""
    before = len(sandbox.requests)
    right = [type(records[kind]).__name__ for kind in kinds.split()]
    for call in CALLS[kinds]:
        for record in [record for kind, record in records.items() if kind not in kinds.split()]:
            with pytest.raises(ValueError, match="must be") as caught:
                found = call(session, record)
                await (found.collect() if isinstance(found, Paginator) else found)
            assert f"not the {type(record).__name__} {record.id}" in str(caught.value)
            assert all(f" {name}" in str(caught.value) for name in right)
    assert len(sandbox.requests) == before


HOSTILE: dict[str, list[Any]] = {
    "report": ["", ".", "..", None, 5],
    "job": ["", None, 5],
    "any other": ["../users/0050a068-cc7b-4490-951a-06920a610ee5", "x HTTP/1.1", "", None, 5, MagicMock()],
}


def with_id(record: Any, value: Any) -> Any:
    """The record with another id, as a program may make it."""
    if isinstance(record, Person):
        return attrs.evolve(record, user=attrs.evolve(record.user, id=value))
    name = next(
        each
        for each in ("id", "printer_id", "endpoint_id", "report_id")
        if each in attrs.fields_dict(type(record))
    )
    return attrs.evolve(record, **{name: value})


@pytest.mark.slow
@pytest.mark.parametrize("kinds", CALLS)
async def test_the_id_of_a_record_is_checked(
    session: EzeepSession, sandbox: Sandbox, records: dict[str, Any], kinds: str
) -> None:
    """It becomes a part of a path, and may be any value in a record that a program has made. Nothing is sent."""
    before = len(sandbox.requests)
    for call in CALLS[kinds]:
        for record in [records[kind] for kind in kinds.split()]:
            for value in HOSTILE.get(kinds, HOSTILE["any other"]):
                with pytest.raises(ValueError, match=r"_id|group|printer"):
                    found = call(session, with_id(record, value))
                    await (found.collect() if isinstance(found, Paginator) else found)
    for value in HOSTILE["any other"]:
        for wrong in (
            session.users.set_groups(records["user"], [with_id(records["group"], value)]),
            session.users.add_to_groups(records["user"], with_id(records["group"], value)),
            session.printer_assignments.assign(records["printer"], with_id(records["group"], value)),
        ):
            with pytest.raises(ValueError, match=r"\.id must be a UUID, not"):
                await wrong
    assert len(sandbox.requests) == before


async def test_the_id_of_a_record_may_be_text(session: EzeepSession, records: dict[str, Any]) -> None:
    """As in one that was made from JSON."""
    group, user = (with_id(records[kind], str(records[kind].id)) for kind in ("group", "user"))
    assert await session.groups.get(group) == records["group"]
    assert records["group"].id in (await session.users.add_to_groups(user, group)).group_ids


async def test_groups_in_lists_may_be_records(session: EzeepSession, records: dict[str, Any]) -> None:
    """Records and ids, mixed."""
    one, two, three, four = [each async for each in session.groups.list()][:4]
    user = records["user"]
    assert (await session.users.set_groups(user, [one, two.id])).group_ids == {one.id, two.id}
    assert (await session.users.add_to_groups(user, three, str(four.id))).group_ids == {
        each.id for each in (one, two, three, four)
    }
    assert (await session.users.remove_from_groups(user, one, two)).group_ids == {three.id, four.id}
    assert (await session.users.change_groups(user, (one,), remove=[three])).group_ids == {one.id, four.id}
    assert (await session.printer_assignments.assign(records["printer"], one)).group_ids == {one.id}
    for wrong in (
        session.users.set_groups(user, [user]),
        session.users.add_to_groups(user, user),
        session.users.change_groups(user, remove=[user]),
        session.printer_assignments.remove(records["printer"], user),
    ):
        with pytest.raises(ValueError, match=f"must be a UUID or a Group, not the User {user.id}"):
            await wrong


async def test_protected_records(session: EzeepSession, records: dict[str, Any]) -> None:
    """In a plan, records of users and groups protect like their ids."""
    group, user = records["group"], records["user"]
    await session.users.add_to_groups(user, group)
    desired = DesiredState.from_mapping({group.name: []})

    async def removals(**options: Any) -> int:
        plan = await session.provisioning.plan(
            desired, "exact", allow_external=True, max_removals=1000, **options
        )
        return plan.removals

    everyone = await removals()
    assert await removals(protect_groups=[group]) == await removals(protect_groups=[group.id]) == 0
    assert await removals(protect_users=[user]) == await removals(protect_users=[user.id]) == everyone - 1
    assert await removals(protect_users=[records["account"]]) == everyone - 1
    with pytest.raises(ValueError, match="protect_groups must contain"):
        await removals(protect_groups=[user])


async def test_undo_takes_the_report_of_a_run(
    session: EzeepSession, records: dict[str, Any], tmp_path: Path
) -> None:
    log = tmp_path / "audit.jsonl"
    reports = []
    for name in ("One", "Two"):
        plan = await session.provisioning.plan(DesiredState.from_mapping({name: [records["user"].id]}))
        reports.append(await session.provisioning.apply(plan, audit_log=log))
    by_report, by_id = [await session.provisioning.undo(log, run) for run in (reports[0], reports[0].run_id)]
    assert by_report.changes == by_id.changes
    assert by_report.removals == 1


@pytest.mark.may_block
def test_the_blocking_form_of_a_job_stands_for_its_id() -> None:
    with sandbox_in_a_thread(job_seconds=0) as sandbox, run_sync(open_session(sandbox)) as blocking:
        sandbox.printing.add_printer("P")
        job = blocking.printing.print_file(b"x", blocking.printers.find("P"), type="pdf")
        assert blocking.printing.status(job) == blocking.printing.status(job.id)
        assert blocking.printing.wait(job).succeeded
        assert isinstance(group := blocking.groups.list().first(), Group)
        assert blocking.groups.members(group).count() == group.num_members


def test_every_parameter_for_an_id_takes_a_record() -> None:
    """But for organizations, which have no record."""
    records = {"Group", "User", "AccountUser", "Invitation", "Printer", "PrinterAssignment", "Webhook"}
    records |= {"PrintReport", "Report", "AcceptedJob"}
    lacking = {
        parameter.name
        for name in EzeepSession.__annotations__
        if name != "oauth"
        for _, method in inspect.getmembers(type(getattr(EzeepSession, name)), inspect.isfunction)
        if not method.__name__.startswith("_")
        for parameter in inspect.signature(method).parameters.values()
        if "UUID" in str(parameter.annotation) or parameter.name.endswith("_id")
        if not records & {*str(parameter.annotation).replace("[", " ").replace("]", " ").split()}
    }
    assert lacking == {"organization_id"}
