"""One record of each class, with a value in each field that may be empty."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

from ezeep_async import (
    AccountUser,
    AssignedGroup,
    Connector,
    Driver,
    Group,
    GroupRef,
    Invitation,
    JobStatus,
    Origin,
    PaperFormat,
    Person,
    Printer,
    PrinterAssignment,
    PrinterProperties,
    PrintJob,
    PrintOptions,
    PrintReport,
    QueuedJob,
    Reconciled,
    Record,
    Stats,
    Tray,
    User,
    Webhook,
    WebhookEvent,
    WebhookPrintJob,
)
from ezeep_async.models.assignments import Assignment


A = UUID("3f2504e0-4f89-41d3-9a0c-0305e82c3301")
B = UUID("3f2504e0-4f89-41d3-9a0c-0305e82c3302")
IN_UTC = datetime(2026, 7, 22, 15, 15, 33, 5, tzinfo=UTC)
IN_BERLIN = datetime(2026, 7, 22, 17, 15, tzinfo=timezone(timedelta(hours=2)))
WITHOUT_ZONE = datetime(2026, 7, 22, 15, 15)  # noqa: DTZ001  # the server may send it so

RAW = {"a": [1, None, {"b": 0.5}], "c": True}
GROUP = Group(id=A, name="Sales", organization_id=B, origin=Origin("Azure", str(B)), num_members=3)
INVITATION = Invitation(A, "a@example.com", IN_UTC, WITHOUT_ZONE, "SENT", "OPEN")
JOB = WebhookPrintJob(printjob_id="1", created=IN_BERLIN, color=True, co2_impact=0.25, raw=RAW)

SAMPLES: list[Record] = [
    GROUP,
    GROUP.origin,
    User(id=A, groups=(GroupRef(A), GroupRef(B))),
    GroupRef(A),
    INVITATION,
    AccountUser(
        A,
        "a@example.com",
        date_joined=IN_UTC,
        azure_profile=RAW,
        user_invitations=(INVITATION,),
        roles=("admin",),
    ),
    AssignedGroup(A, "Sales", str(B), force_chosen=True),
    Assignment((AssignedGroup(A),), settings=RAW),
    PrinterAssignment(printer_id=B, assignments=(Assignment((AssignedGroup(A),)),)),
    Connector(A, "Hub", supported_formats=("RAW", "PDF")),
    Driver(A, "Driver", printers_using_driver=2),
    Person(User(id=A, groups=()), AccountUser(A, "a@example.com")),
    Person(User(id=A, groups=()), None),
    Printer(A, "P", is_queue=True),
    PaperFormat(9, None, 210.0, 297.0, is_default=True),
    Tray(1, "Upper"),
    PrinterProperties(
        A,
        "P",
        "",
        "D",
        True,
        False,
        True,
        ("portrait",),
        (PaperFormat(9, "A4", 210, 297),),
        ("600",),
        (),
        RAW,
    ),
    PrintOptions(copies=2, duplex="long-edge", paper=(210.0, 297.5), tray=1, pages="1-2"),
    JobStatus(129, "PRINTING|"),
    QueuedJob(A, RAW),
    Reconciled("created", (GROUP,)),
    Reconciled("several", (INVITATION, INVITATION)),
    PrintReport(report_id="r", status="pending", created=IN_BERLIN),
    Webhook(endpoint_id=A, topics=("printjob_failed",), basic_username="a"),
    JOB,
    WebhookEvent(topic="printjob_failed", printjob=JOB, raw=RAW),
    Stats(calls=1),
    PrintJob("7", A, printing=None),  # type: ignore[arg-type]  # what makes it callable is not a field of its
]
