"""`ezeep demo`: log in, read an organization, bring a file of memberships into it, and do it again."""

from __future__ import annotations

import asyncio
from importlib.resources import as_file, files
from pathlib import Path

import attrs

from ezeep_async.auth.stores.file import FileTokenStore
from ezeep_async.auth.tokens import MemoryTokenStore
from ezeep_async.cli.demo.consent import allow
from ezeep_async.cli.demo.sandbox import check_token_file
from ezeep_async.cli.demo.target import Place, open_place
from ezeep_async.cli.options import AtLeastOne
from ezeep_async.cli.signals import cancel_on_signals
from ezeep_async.cli.terminal.screen import Screen, Steps, complain
from ezeep_async.provisioning.inputs.desired import DesiredState
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.runs.apply import Event
from ezeep_async.provisioning.runs.report import Report
from ezeep_async.session import EzeepSession


BUNDLED_USERS = 134
BUNDLED_SEED = 0
"""The organization that the bundled file is made for."""


@attrs.define
class Tally:
    """What the demo did, for its table and its verdict."""

    rows: int
    duplicates: int
    report: Report = attrs.field(factory=Report)
    requests: int | None = None
    """How many requests the first run took; None where they are somebody else's to count."""
    refreshes: int = 0
    seconds: float = 0.0
    writes_again: int = 0
    """How many writes the second run made."""

    def facts(self) -> dict[str, object]:
        """The table after the first run."""
        return {
            "rows read": self.rows,
            "duplicates merged": self.duplicates,
            "groups created": self.report.groups_created,
            "users changed": self.report.users_changed,
            "memberships added": self.report.memberships_added,
            "requests sent": "not counted here" if self.requests is None else self.requests,
            "refreshes": self.refreshes,
            "failures": len(self.report.failures),
            "seconds": f"{self.seconds:.2f}",
        }

    def complaints(self) -> list[str]:
        """What did not go as it must."""
        found: list[str] = []
        if self.report.failures:
            first = self.report.failures[0]
            found.append(
                f"{len(self.report.failures)} changes failed, the first: {first.change}: {first.error}"
            )
        if self.refreshes != 1:
            found.append(f"the login was renewed {_times(self.refreshes)}, and it has to be once")
        if self.writes_again:
            found.append(f"the second run wrote {_times(self.writes_again)}, and had nothing to write")
        return found


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


async def demo(
    *,
    csv: Path | None = None,
    users: AtLeastOne = BUNDLED_USERS,
    seed: int = BUNDLED_SEED,
    token_file: Path | None = None,
    redirect_uri: str | None = None,
    account_url: str | None = None,
    api_url: str | None = None,
    plain: bool = False,
) -> int:
    """Bring a few hundred memberships into a sandbox: the whole SDK at work, in a few seconds.

    Parameters
    ----------
    csv
        Another file, with the columns group and member.
    users
        How many users the sandbox has.
    seed
        Another number is another organization.
    token_file
        Keep the login in this file, not in memory.
    redirect_uri
        Where the browser comes back to. One that is not registered shows how a login is refused.
    account_url
        Use a sandbox that runs already (see ezeep sandbox), instead of an own one.
    api_url
        The other half of its address.
    plain
        Lines instead of tables and a progress bar, as when the output is not a terminal.
    """
    cancel_on_signals()
    screen = Screen(plain=plain)
    # The file first: what is wrong with it is said before anything is opened.
    desired = await asyncio.to_thread(_read, csv)
    bundled = csv is None and (users, seed) != (BUNDLED_USERS, BUNDLED_SEED)
    async with open_place(
        users=users, seed=seed, account_url=account_url, api_url=api_url, redirect_uri=redirect_uri
    ) as place:
        store = MemoryTokenStore() if token_file is None else FileTokenStore(token_file)
        async with EzeepSession(
            place.app, store=store, endpoints=place.endpoints, on_token_rotated=place.rotated
        ) as session:
            if isinstance(store, FileTokenStore):
                await check_token_file(store)
            await _log_in(screen, session, place)
            await _show(screen, session)
            if bundled:
                desired = await laid_over(desired, session)
                screen.say(
                    "The bundled file is made for another organization: its pattern is laid over this one."
                )
            tally = Tally(desired.rows, desired.duplicates)
            await _run(screen, session, place, desired, tally)
            screen.facts(tally.facts())
            await _run_again(screen, session, place, desired, tally)
    complaints = tally.complaints()
    for complaint in complaints:
        complain(complaint)
    return 1 if complaints else 0


def _read(csv: Path | None) -> DesiredState:
    if csv is not None:
        return DesiredState.from_csv(csv)
    with as_file(files("ezeep_async.cli").joinpath("data", "demo.csv")) as path:
        return DesiredState.from_csv(path)


async def _log_in(screen: Screen, session: EzeepSession, place: Place) -> None:
    request = session.oauth.authorization_request()
    place.logged_in(await session.oauth.complete(await allow(request.url), request))
    me = await session.accounts.me()
    screen.say(
        f"1. Logged in at {place.endpoints.account} as {me.email}, with an authorization code and PKCE"
    )


async def _show(screen: Screen, session: EzeepSession) -> None:
    groups = await session.groups.list().collect()
    users = await session.users.list().count()
    screen.say(f"2. The organization has {users} users and {len(groups)} groups")
    screen.table(
        ("group", "members", "origin"),
        [(group.name, group.num_members, group.origin.provider) for group in groups],
    )


async def laid_over(desired: DesiredState, session: EzeepSession) -> DesiredState:
    """The pattern of `desired` on the people that there are: the n-th of them takes the place of the n-th member."""
    known = {user.id for user in await session.users.list(concurrency=4).collect()}
    people = [
        person.email for person in await session.accounts.list(concurrency=4).collect() if person.id in known
    ]
    members = list(dict.fromkeys(member for group in desired.groups.values() for member in group))
    pattern = {name: frozenset(group) for name, group in desired.groups.items()}
    return DesiredState.from_mapping(
        {
            name: [
                person
                for place, person in enumerate(people)
                if members[place % len(members)] in pattern[name]
            ]
            for name in desired.groups
        }
    )


async def _run(
    screen: Screen, session: EzeepSession, place: Place, desired: DesiredState, tally: Tally
) -> None:
    loop = asyncio.get_running_loop()
    before, started = place.requests(), loop.time()
    plan = await session.provisioning.plan(desired)
    screen.say(f"3. {desired.rows} rows read: {plan.summary()}")
    tally.report = await _apply(screen, session, place, plan)
    tally.seconds = loop.time() - started
    after = place.requests()
    tally.requests = None if before is None or after is None else after - before
    tally.refreshes = place.refreshes()


async def _apply(screen: Screen, session: EzeepSession, place: Place, plan: Plan) -> Report:
    total = len(plan.changes)
    if total < 2:  # there is no middle: the expiry comes before
        await place.expire(session)

    def follow(event: Event, steps: Steps) -> None:
        steps.done(event.done)
        if event.done == total // 2:
            place.expire_soon(session)
            steps.note("half-way: all access tokens expire")

    with screen.steps(total) as steps:
        report = await session.provisioning.apply(plan, on_event=lambda event: follow(event, steps))
        await place.settled()
        if (
            place.refreshes() == 0
        ):  # whatever came after the expiry was under way already, or there was nothing to do
            await session.accounts.me()
    if not screen.plain:  # the plain output has it in what follows
        screen.say(
            f"   all access tokens expired half-way; the login was renewed {_times(place.refreshes())}"
        )
    return report


async def _run_again(
    screen: Screen, session: EzeepSession, place: Place, desired: DesiredState, tally: Tally
) -> None:
    before = place.writes()
    plan = await session.provisioning.plan(desired)
    report = await session.provisioning.apply(plan)
    after = place.writes()
    tally.writes_again = len(report.rows) if before is None or after is None else after - before
    tally.refreshes = place.refreshes()
    screen.say(f"4. The same again: {plan.summary()}, {tally.writes_again} writes")
