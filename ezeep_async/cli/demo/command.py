"""`ezeep demo`: log in to a sandbox, read it, provision a file of memberships, do it again, and print a page."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from ezeep_async import AuthorizationDenied, DesiredState, __version__
from ezeep_async.cli.demo.sandbox import Seed, Users, check_token_file
from ezeep_async.cli.signals import cancel_on_signals
from ezeep_async.cli.terminal.output import complain
from ezeep_async.cli.terminal.screen import Screen, Steps, Whole


if TYPE_CHECKING:
    from ezeep_async import EzeepSession, Plan, Report
    from ezeep_async.provisioning import Event
    from ezeep_async.sandbox import Sandbox


BUNDLED_USERS = 134
BUNDLED_SEED = 0
"""The organization that the bundled file is made for."""
LATENCY_S = 0.05
"""Seconds that each request takes, as over a network."""
JOB_S = 1.0
"""Seconds that the printer takes for the page."""
STATUS_INTERVAL_S = 0.2
PRINTER = "Front desk laser"


async def demo(
    *,
    csv: Path | None = None,
    users: Users = BUNDLED_USERS,
    seed: Seed = BUNDLED_SEED,
    token_file: Path | None = None,
    redirect_uri: str | None = None,
    plain: bool = False,
) -> int:
    """Provision a few hundred memberships in a sandbox on this machine, and print a page, in a few seconds.

    Args:
        csv: Use this file, with the columns group and member, instead of the built-in one.
        token_file: Store the tokens in this file, not in memory.
        redirect_uri: The redirect address. An address that is not registered shows a refused login.
        plain: Print lines instead of tables and a progress bar, as when the output is not a terminal.
    """
    cancel_on_signals()
    from ezeep_async import EzeepSession, FileTokenStore, MemoryTokenStore
    from ezeep_async.sandbox import Sandbox  # slow to import

    screen = Screen(plain=plain)
    # The file first: its errors are reported before anything starts.
    desired = await asyncio.to_thread(_read, csv)
    async with Sandbox(users=users, seed=seed, latency=LATENCY_S, job_seconds=JOB_S) as sandbox:
        app = attrs.evolve(sandbox.oauth_app, redirect_uri=redirect_uri or sandbox.oauth_app.redirect_uri)
        store = MemoryTokenStore() if token_file is None else FileTokenStore(str(token_file))
        async with EzeepSession(app, store=store, endpoints=sandbox.endpoints) as session:
            if isinstance(store, FileTokenStore):
                await check_token_file(store)
            request = session.oauth.authorization_request()
            await session.oauth.complete(await allow(request.url), request)
            me = await session.accounts.me()
            screen.say(
                f"1. Logged in at {sandbox.endpoints.account} as {me.email}, with an authorization code and PKCE"
            )
            groups = await session.groups.list().collect()
            count = await session.users.list().count()
            screen.say(f"2. The organization has {count} users and {len(groups)} groups")
            screen.table(
                ("group", "members", "origin"),
                [(group.name, group.num_members, group.origin.provider) for group in groups],
            )
            if csv is None and (users, seed) != (BUNDLED_USERS, BUNDLED_SEED):
                desired = await _adapted(desired, session)
                screen.say(
                    "The bundled file is made for another organization: its pattern is applied to this one."
                )
            report = await _run(screen, session, sandbox, desired)
            writes = await _run_again(screen, session, sandbox, desired)
            is_printed = await _print_page(screen, session, sandbox, report)
    problems = problems_of(report, sandbox.refreshes, writes)
    if not is_printed:
        problems.append("the page was not printed, or is another one")
    for problem in problems:
        complain(problem)
    return 1 if problems else 0


def _read(csv: Path | None) -> DesiredState:
    if csv is not None:
        return DesiredState.from_csv(csv)
    with as_file(files("ezeep_async.cli").joinpath("data", "demo.csv")) as path:
        return DesiredState.from_csv(path)


async def _adapted(desired: DesiredState, session: EzeepSession) -> DesiredState:
    """Give the n-th user of the organization the groups of the n-th member of `desired`."""
    known = {user.id for user in await session.users.list(concurrency=4).collect()}
    people = [
        person.email for person in await session.accounts.list(concurrency=4).collect() if person.id in known
    ]
    members = list(dict.fromkeys(member for group in desired.groups.values() for member in group))
    return DesiredState.from_mapping(
        {
            name: [person for n, person in enumerate(people) if members[n % len(members)] in group]
            for name, group in desired.groups.items()
        }
    )


async def _run(screen: Screen, session: EzeepSession, sandbox: Sandbox, desired: DesiredState) -> Report:
    loop = asyncio.get_running_loop()
    before, started = len(sandbox.requests), loop.time()
    plan = await session.provisioning.plan(desired)
    screen.say(f"3. {desired.rows} rows read: {plan.summary()}")
    report = await _apply(screen, session, sandbox, plan)
    screen.facts(
        {
            "rows read": desired.rows,
            "duplicates merged": desired.duplicates,
            "groups created": report.groups_created,
            "users changed": report.users_changed,
            "memberships added": report.memberships_added,
            "requests sent": len(sandbox.requests) - before,
            "refreshes": sandbox.refreshes,
            "failures": len(report.failures),
            "seconds": f"{loop.time() - started:.2f}",
        }
    )
    return report


async def _apply(screen: Screen, session: EzeepSession, sandbox: Sandbox, plan: Plan) -> Report:
    total = len(plan.changes)
    if total < 2:  # there is no middle
        sandbox.expire_access_tokens()

    def follow(event: Event, steps: Steps) -> None:
        steps.done(event.done)
        if event.done == total // 2:
            sandbox.expire_access_tokens()
            steps.note("half-way: all access tokens expire")

    with screen.steps(total) as steps:
        report = await session.provisioning.apply(plan, on_event=lambda event: follow(event, steps))
        if sandbox.refreshes == 0:  # no request was sent after the expiry
            await session.accounts.me()
    if not screen.plain:  # plain output contains the number of refreshes below
        screen.say(f"   all access tokens expired half-way; they were refreshed {_times(sandbox.refreshes)}")
    return report


async def _run_again(screen: Screen, session: EzeepSession, sandbox: Sandbox, desired: DesiredState) -> int:
    before = _writes(sandbox)
    plan = await session.provisioning.plan(desired)
    await session.provisioning.apply(plan)
    writes = _writes(sandbox) - before
    screen.say(f"4. The same again: {plan.summary()}, {writes} writes")
    return writes


async def _print_page(screen: Screen, session: EzeepSession, sandbox: Sandbox, report: Report) -> bool:
    """Print a page about the run. Returns whether the printer has exactly that page."""
    page = (
        "ezeep demo\n\n"
        f"users changed: {report.users_changed}\nmemberships added: {report.memberships_added}\n\n"
        f"Printed by ezeep_async {__version__} on a printer that only exists in the sandbox.\n"
    )
    printer = await session.printers.find(PRINTER)
    job = await session.printing.print_file(page.encode(), printer, name="ezeep demo.txt")
    screen.say(f"5. A page about this was sent to the printer {printer.name!r}, as job", Whole(job.id))
    is_printed = False
    async for status in job.watch(STATUS_INTERVAL_S):
        pages = f", page {status.pages_printed} of {status.pages_total}" if status.pages_total else ""
        screen.say(f"   {status.meaning}{pages}")
        is_printed = status.succeeded
    return is_printed and [each.content for each in sandbox.printed] == [page.encode()]


def _writes(sandbox: Sandbox) -> int:
    return sum(request.host == "api" and request.method != "GET" for request in sandbox.requests)


def problems_of(report: Report, refreshes: int, writes_again: int) -> list[str]:
    """What the demo must not show: failures, more or less than one refresh, writes of the second run."""
    problems: list[str] = []
    if report.failures:
        first = report.failures[0]
        problems.append(f"{len(report.failures)} changes failed, the first: {first.change}: {first.error}")
    if refreshes != 1:
        problems.append(f"the tokens were refreshed {_times(refreshes)} instead of once")
    if writes_again:
        problems.append(f"the second run wrote {_times(writes_again)}, and had nothing to write")
    return problems


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


async def allow(url: str) -> str:
    """Submit the consent page of the sandbox as the person at the browser, and return the address of the redirect.

    Raises `AuthorizationDenied` with the message of the page if it is an error.
    """
    import aiohttp
    from yarl import URL

    async with aiohttp.ClientSession() as browser:
        async with browser.get(url, allow_redirects=False) as response:
            if redirect := response.headers.get("Location"):  # an error that the application receives
                return redirect
            page = await response.text()
        if response.status >= 400:
            message = unescape(" ".join(re.findall(r"<p>(.*?)</p>", page)))
            raise AuthorizationDenied(
                f"the consent page responded with {response.status}: {message}", status=response.status
            )
        inputs = [dict(re.findall(r'(\w+)="([^"]*)"', tag)) for tag in re.findall(r"<input[^>]*>", page)]
        fields = {each["name"]: unescape(each.get("value", "")) for each in inputs}
        async with browser.post(
            URL(url).with_query(None), data={**fields, "decision": "approve"}, allow_redirects=False
        ) as response:
            return response.headers["Location"]
