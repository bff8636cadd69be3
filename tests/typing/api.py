"""Types of the public names. Checked by mypy and pyright in strict mode, never run."""

from __future__ import annotations

import asyncio
import io
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, assert_type
from uuid import UUID

from ezeep_async import (
    AccountUser,
    ApiError,
    AssignedGroup,
    AuthorizationRequest,
    BlockingGroups,
    BlockingOAuth,
    BlockingPaginator,
    BlockingPrinterAssignments,
    BlockingPrinting,
    BlockingPrintJob,
    BlockingProvisioning,
    BlockingSession,
    BlockingSessionPool,
    BlockingUsers,
    Connector,
    DesiredState,
    Driver,
    EzeepSession,
    FileTokenStore,
    Group,
    Groups,
    Invitation,
    JobStatus,
    MemoryTokenStore,
    OAuth,
    OAuthApp,
    OutcomeUnknown,
    Page,
    Paginator,
    Pairing,
    PaperFormat,
    PermissionDenied,
    Person,
    Plan,
    PoolStats,
    Printer,
    PrinterAssignment,
    PrinterAssignments,
    PrinterProperties,
    Printing,
    PrintJob,
    PrintOptions,
    PrintReport,
    Provisioning,
    QueuedJob,
    RateLimited,
    Reconciled,
    Report,
    ReportFailed,
    SessionPool,
    Settings,
    Sought,
    TokenSet,
    TokenStore,
    Tray,
    User,
    Users,
    Webhook,
    WebhookPrintJob,
    finish_refresh_on,
    is_retryable,
    run_sync,
)
from ezeep_async.auth.keep_alive import KeepAlive
from ezeep_async.provisioning import (
    AssignmentDifference,
    ChangeAssignments,
    ChangeMemberships,
    CreateGroup,
    DeleteGroup,
    Event,
    InvitePerson,
    Row,
    read_audit_log,
    report_of,
)
from ezeep_async.sandbox import Sandbox
from ezeep_async.webhooks import parse_event, verify_basic


def stores(path: str) -> list[TokenStore]:
    assert_type(FileTokenStore.for_app(OAuthApp("client")), FileTokenStore)
    return [FileTokenStore(path), MemoryTokenStore()]


async def asynchronous(identifier: UUID) -> None:
    app = OAuthApp("client", "", None, scope="printing")
    settings = Settings(retries=0, shared_locks=False, proxy_auth=("user", "password"))
    async with EzeepSession(app, store=MemoryTokenStore(), settings=settings) as session:
        assert_type(session, EzeepSession)
        assert_type(session.groups.list(), Paginator[Group])
        assert_type(session.groups.members(identifier), Paginator[User])
        assert_type(await session.groups.list(), list[Group])
        both = await asyncio.gather(session.groups.list(), session.users.list())
        assert_type(both, tuple[list[Group], list[User]])
        async for group in session.groups.list(page_size=10, concurrency=4):
            assert_type(group, Group)
        async for page in session.users.list(group=str(identifier)).pages():
            assert_type(page, Page[User])
            assert_type(page.items, list[User])
        assert_type(await session.users.list().collect(consistent=True), list[User])
        assert_type(await session.users.list().first(), User | None)
        assert_type(await session.users.list().count(), int)
        assert_type(await session.groups.get(identifier), Group)
        assert_type(await session.groups.find("x"), list[Group])
        assert_type(
            await session.groups.ensure("x", identifier, description="", local_printing_enabled=True),
            tuple[Group, bool],
        )
        assert_type(await session.groups.update(identifier, description="", myprinters_enabled=False), Group)
        await session.groups.delete(identifier)
        user = await session.users.set_groups(identifier, [identifier, "text"])
        assert_type(user, User)
        assert_type(user.group_ids, frozenset[UUID])
        assert_type(await session.users.add_to_groups(identifier, identifier, "text"), User)
        assert_type(await session.users.change_groups(identifier, ["text"], remove={identifier}), User)
        assert_type(await session.accounts.me(), AccountUser)
        assert_type(session.people.list(group=identifier), Paginator[Person])
        assert_type(Paginator.of([user]), Paginator[User])
        assert_type(BlockingPaginator.of([user]), BlockingPaginator[User])
        assert_type((await session.people.get(identifier)).account, AccountUser | None)
        assert_type(user.to_dict(), dict[str, object])
        assert_type(await session.accounts.update(identifier, roles=["user"]), AccountUser)
        assert_type(await session.invitations.create("a@example.com"), Invitation)
        assert_type(await session.oauth.pair(), Pairing)
        assert_type(await session.oauth.login_with_client_credentials(), TokenSet)
        assert_type(await session.oauth.refresh(), TokenSet)
        assert_type(await session.oauth.refresh(if_older_than=900), TokenSet)
        assert_type(await session.request("GET", "/x/", params={"limit": 1}), Any)
        assert_type(session.keep_alive(), KeepAlive)
        assert_type(session.keep_alive(interval=1200), KeepAlive)
        async with session.keep_alive() as handle:
            assert_type(handle, KeepAlive)


async def pools(app: OAuthApp, request: AuthorizationRequest) -> None:
    def hook(key: str, old: TokenSet | None, new: TokenSet) -> None:
        assert_type(key, str)

    async with SessionPool(app, store=FileTokenStore, max_open=5, on_token_rotated=hook) as pool:
        async with pool.session("a") as session:
            assert_type(session, EzeepSession)
        assert_type(pool.oauth.authorization_request(), AuthorizationRequest)
        tokens = await pool.oauth.complete("https://app.example/callback?code=x", request)
        assert_type(tokens, TokenSet)
        assert_type(await pool.adopt("a", tokens), None)
        assert_type(pool.keep_alive("a"), KeepAlive)
        assert_type(pool.stats, PoolStats)
        assert_type(pool.stats.open, int)
    assert_type(request.to_cookie("secret"), str)
    assert_type(AuthorizationRequest.from_cookie(None, b"secret", max_age=60), AuthorizationRequest)


async def returned(pool: SessionPool) -> str:
    """Type checkers know that the block swallows no exception: nothing has to be returned after it."""
    async with pool.session("a") as session:
        return (await session.accounts.me()).email


def blocking_pools(app: OAuthApp, request: AuthorizationRequest) -> None:
    logins = run_sync(SessionPool(app, lambda key: MemoryTokenStore()))
    assert_type(logins, BlockingSessionPool)
    with logins, logins.session("a") as session:
        assert_type(session, BlockingSession)
    assert_type(logins.oauth.complete("https://app.example/callback?code=x", request), TokenSet)
    assert_type(logins.keep_alive("a"), KeepAlive)
    assert_type(logins.stats, PoolStats)


async def printing(session: EzeepSession, identifier: UUID, chunks: AsyncIterator[bytes]) -> None:
    assert_type(session.printers.list(), Paginator[Printer])
    printer = await session.printers.find("Laser")
    assert_type(printer, Printer)
    assert_type(await session.printers.get(str(identifier)), Printer)
    properties = await session.printers.properties(printer)
    assert_type(properties, PrinterProperties)
    assert_type(properties.papers, tuple[PaperFormat, ...])
    assert_type(properties.trays, tuple[Tray, ...])
    options = PrintOptions(copies=2, duplex="long-edge", paper=(101.6, 152), tray=259, pages="1-2,5")

    def report(sent: int, total: int | None) -> None:
        assert_type(total, int | None)

    for source in ("a.pdf", Path("a.pdf"), b"", bytearray(), memoryview(b""), [b""], io.BytesIO(), chunks):
        job = await session.printing.print_file(source, printer, options, name="a", on_progress=report)
        assert_type(job, PrintJob)
    job = await session.printing.print_url("https://x.example/a.pdf", identifier, type="pdf", check=False)
    assert_type(job.id, str)
    assert_type(await job.wait(), JobStatus)
    assert_type(await session.printing.wait(job.id, 1.0, None), JobStatus)
    async for status in job.watch():
        assert_type(status.is_final, bool)
    assert_type(session.printing.watch(job.id), AsyncIterator[JobStatus])
    assert_type(await session.printing.supported_types(), frozenset[str])
    assert_type(session.printing.queued(), Paginator[QueuedJob])


def blocking_printing(session: BlockingSession, identifier: UUID) -> None:
    assert_type(session.printers.list(), BlockingPaginator[Printer])
    printer = session.printers.find("Laser")
    assert_type(printer, Printer)
    job = session.printing.print_file([b"a", b"b"], printer, PrintOptions(copies=2), type="pdf")
    assert_type(job, BlockingPrintJob)
    assert_type(session.printing.print_url("https://x.example/a.pdf", identifier), BlockingPrintJob)
    assert_type(job.wait(timeout=10), JobStatus)
    assert_type(job.watch(), Iterator[JobStatus])
    assert_type(session.printing.status(job.id), JobStatus)
    for status in session.printing.watch(job.id):
        assert_type(status, JobStatus)
    assert_type(session.printing.queued(), BlockingPaginator[QueuedJob])


async def administration(session: EzeepSession, identifier: UUID, group: Group) -> None:
    assert_type(OAuthApp("client", scope=["printing", "webhooks"]), OAuthApp)
    assignments = session.printer_assignments
    assert_type(assignments.list(group=group), Paginator[PrinterAssignment])
    assignment = await assignments.assign(identifier, "text", group)
    assert_type(assignment, PrinterAssignment)
    assert_type(assignment.groups, tuple[AssignedGroup, ...])
    assert_type(assignment.group_ids, frozenset[UUID])
    assert_type(await assignments.remove(assignment, identifier), PrinterAssignment)
    assert_type(session.connectors.list(type="TPHub"), Paginator[Connector])
    assert_type(await session.drivers.vendors(), list[str])
    assert_type(session.drivers.list("vendor"), Paginator[Driver])
    assert_type(session.webhooks.list(), Paginator[Webhook])
    webhook = await session.webhooks.create(
        "x", "https://x", ["y"], username="a", password="b", disabled=True
    )
    assert_type(webhook.id, UUID)
    assert_type(await session.webhooks.update(webhook.id, topics=("x",), disabled=False), Webhook)
    report = await session.reports.create(date(2026, 10, 1), "2026-11-01", delimiter=";", blank_names=False)
    assert_type(report, PrintReport)
    assert_type(report.id, str)
    assert_type(await session.reports.wait(report.id, interval=1, timeout=5), PrintReport)
    assert_type(await session.reports.download(report.id, Path("report.csv")), int)
    event = parse_event(b"{}")
    assert_type(event.printjob, WebhookPrintJob)
    assert_type(event.topic, str | None)
    assert_type(verify_basic({"Authorization": "x"}, "a", "b"), bool)


def blocking_administration(session: BlockingSession, identifier: UUID, error: Exception) -> None:
    assert_type(session.printer_assignments.list(), BlockingPaginator[PrinterAssignment])
    assert_type(session.printer_assignments.assign(identifier, "text"), PrinterAssignment)
    assert_type(session.connectors.list(), BlockingPaginator[Connector])
    assert_type(session.drivers.list("vendor"), BlockingPaginator[Driver])
    assert_type(session.webhooks.get("id"), Webhook)
    assert_type(session.reports.download("id", "report.csv"), int)
    if isinstance(error, ReportFailed):
        assert_type(error.report, PrintReport | None)
    if isinstance(error, PermissionDenied):
        assert_type(error.scope, str | None)


async def provisioning(session: EzeepSession, identifier: UUID) -> None:
    desired = DesiredState.from_mapping({"Sales": ["a@example.com", identifier]})
    DesiredState.from_mapping({"Sales": await session.users.list()})
    DesiredState.from_mapping(
        {"Sales": await session.people.list()}, {"Sales": await session.printers.list()}
    )
    printers = DesiredState.from_mapping({}, printers={"Sales": ["Laser", identifier]})
    assert_type(desired.combined(printers), DesiredState)
    plan = await session.provisioning.plan(
        desired,
        mode="exact",
        organization_id=identifier,
        create_groups=False,
        on_missing="invite",
        allow_external=True,
        max_removals=0.2,
        protect_users=["*@example.com", identifier],
        protect_groups=("Sales",),
    )
    assert_type(plan, Plan)
    assert_type(plan.removals, int)
    assert_type(plan.assignment_removals, int)
    assert_type(plan.to_json(), str)
    assert_type(plan.to_html(), str)
    assert_type(Plan.from_json(b"{}"), Plan)
    for change in plan.changes:
        assert_type(change, CreateGroup | InvitePerson | ChangeMemberships | ChangeAssignments | DeleteGroup)

    def follow(event: Event) -> None:
        assert_type(event.done, int)

    report = await session.provisioning.apply(
        plan, concurrency=4, on_event=follow, audit_log="audit.jsonl", verify="trust-plan", verify_after=True
    )
    assert_type(report, Report)
    assert_type(report.rows, tuple[Row, ...])
    assert_type(report.assignment_differences, tuple[AssignmentDifference, ...])
    assert_type(report.counts, Counter[str])
    for line in report.lines(desired, plan):
        assert_type(line.member, str)
    assert_type(await session.provisioning.undo(Path("audit.jsonl"), delete_groups=True), Plan)
    assert_type(report_of(ValueError()), Report | None)
    for record in read_audit_log("audit.jsonl"):
        assert_type(record.before, tuple[UUID, ...] | None)


def blocking_provisioning(session: BlockingSession, desired: DesiredState) -> None:
    plan = session.provisioning.plan(desired, mode="exact")
    assert_type(plan, Plan)
    assert_type(session.provisioning.apply(plan, 4, audit_log="audit.jsonl"), Report)
    assert_type(session.provisioning.undo("audit.jsonl", "run"), Plan)


async def records(
    session: EzeepSession, group: Group, user: User, account: AccountUser, job: PrintJob
) -> None:
    assert_type(await session.groups.get(group), Group)
    assert_type(session.groups.members(group), Paginator[User])
    assert_type(session.users.list(group), Paginator[User])
    for each in (user, account):
        assert_type(await session.users.get(each), User)
        assert_type(await session.accounts.get(each), AccountUser)
    assert_type(await session.users.set_groups(user, [group, "text"]), User)
    assert_type(await session.users.add_to_groups(user, group, group.id), User)
    assert_type(await session.users.change_groups(user, add=[group], remove={group}), User)
    assert_type(await session.printing.status(job), JobStatus)
    assignment = await session.printer_assignments.list(group).first()
    if assignment is not None:
        assert_type(await session.printers.get(assignment), Printer)


def blocking_records(session: BlockingSession, group: Group, user: User, job: BlockingPrintJob) -> None:
    assert_type(session.groups.get(group), Group)
    assert_type(session.groups.members(group), BlockingPaginator[User])
    assert_type(session.users.set_groups(user, (each for each in session.groups.list())), User)
    assert_type(session.users.set_groups(user, session.groups.list()), User)
    assert_type(session.printing.status(job), JobStatus)


async def annotated(session: EzeepSession, groups: Groups, printing: Printing) -> Users:
    assert_type(session.groups, Groups)
    assert_type(session.oauth, OAuth)
    assert_type(session.printing, Printing)
    assert_type(session.provisioning, Provisioning)
    assert_type(session.printer_assignments, PrinterAssignments)
    assert_type(await groups.get("id"), Group)
    assert_type(await printing.supported_types(), frozenset[str])
    view = session.with_options(deadline=10, read_timeout=5.0, retries=0, max_retry_after=1.0)
    assert_type(view, EzeepSession)
    async with view.with_options() as same:
        assert_type(same, EzeepSession)
    return session.users


def annotated_blocking(session: BlockingSession, groups: BlockingGroups) -> BlockingUsers:
    assert_type(session.groups, BlockingGroups)
    assert_type(session.oauth, BlockingOAuth)
    assert_type(session.printing, BlockingPrinting)
    assert_type(session.provisioning, BlockingProvisioning)
    assert_type(session.printer_assignments, BlockingPrinterAssignments)
    assert_type(groups.get("id"), Group)
    view = session.with_options(deadline=10, retries=0)
    assert_type(view, BlockingSession)
    with view as same:
        assert_type(same.users, BlockingUsers)
    return session.users


def blocking(app: OAuthApp, identifier: UUID) -> None:
    with run_sync(EzeepSession(app)) as session:
        assert_type(session, BlockingSession)
        assert_type(session.groups.list(), BlockingPaginator[Group])
        for user in session.users.list(page_size=5):
            assert_type(user, User)
        assert_type(session.users.list().collect(), list[User])
        assert_type(session.groups.get(identifier), Group)
        assert_type(session.groups.ensure("x", identifier, description=""), tuple[Group, bool])
        assert_type(session.users.add_to_groups(identifier, "a", "b"), User)
        assert_type(session.users.change_groups(identifier, add=["a"], remove=["b"]), User)
        assert_type(session.oauth.refresh(), TokenSet)
        with session.keep_alive() as handle:
            assert_type(handle, KeepAlive)
        get: Callable[[UUID], Group] = session.groups.get
        assert_type(get(identifier), Group)


async def lost(error: OutcomeUnknown, session: EzeepSession, twin: BlockingSession) -> None:
    assert_type(await error.reconcile(session), Reconciled)
    assert_type(error.reconcile(twin), Reconciled)
    assert_type(error.sought, Sought | None)
    assert_type(error.retry_after, float | None)
    assert_type(is_retryable(error), bool)
    finish_refresh_on()
    finish_refresh_on(signal.SIGTERM, signal.SIGINT)


def errors(error: Exception) -> float | None:
    if isinstance(error, RateLimited):
        return error.retry_after
    if isinstance(error, ApiError):
        assert_type(error.field_errors, dict[str, list[str]])
        return float(error.status)
    return None


async def sandbox() -> None:
    async with Sandbox(users=134, groups=13, seed=0) as server:
        assert_type(server, Sandbox)
        assert_type(server.tokens(), TokenSet)
        assert_type(server.oauth_app, OAuthApp)
