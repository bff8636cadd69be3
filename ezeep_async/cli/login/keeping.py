"""`ezeep keep-alive`, `ezeep refresh`: a login that lasts without a person.

The command does not use `session.keep_alive()`, which waits for another login when this one has ended. The command ends then, so
that a supervisor sees the exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from ezeep_async import (
    EzeepError,
    ReadOnlyTokens,
    ReauthorizationRequired,
    TokenSet,
)
from ezeep_async.cli.connection import HERE, LOG_IN_AGAIN, Account, Connection, open_account
from ezeep_async.cli.login.supervisor import Supervisor
from ezeep_async.cli.options import options
from ezeep_async.cli.signals import stop_on_signals
from ezeep_async.cli.terminal.output import complain, sentence
from ezeep_async.cli.terminal.screen import Screen


if TYPE_CHECKING:
    from ezeep_async import EzeepSession


TRY_LATER = 5
"""The exit code when the token set could not be refreshed now, and is not lost."""
LONGEST_INTERVAL_S = 1200.0
"""Seconds between two refreshes by default, at most. A refresh token lives about an hour, which leaves 40 minutes for an
outage."""
SHARE_OF_LIFETIME = 1 / 3
"""The default interval as a share of the lifetime of the access token."""
LONGEST_STEP_S = 15.0
"""Seconds between two checks of the clock, at most. Timers of an event loop stop while the machine is suspended."""
SHORTEST_STEP_S = 0.5
"""Seconds between two checks of the clock, at least."""
FIRST_PAUSE_S = 5.0
"""Seconds after the first failure. Each further failure doubles it."""
LONGEST_PAUSE_S = 60.0
"""Limit of that doubling, in seconds."""
USER_TIMEOUT_S = 10.0
"""Seconds for reading the name of the user, which only the log needs."""
LONGEST_NAME = 254
"""Characters of that name: more than any e-mail address has (RFC 5321)."""

Seconds = Annotated[float, Parameter(validator=validators.Number(gte=1, lte=86400))]
Age = Annotated[float, Parameter(validator=validators.Number(gte=0, lte=86400))]


async def refresh(*, if_older_than: Age = 0.0, connection: Connection = HERE) -> int:
    """Refresh the tokens once: for cron, every 20 minutes.

    Exit codes: 0 done, 4 a person has to log in again, 5 try later: the server does not respond, or another process is
    using the tokens.

    Args:
        if_older_than: Do nothing if the tokens were issued less than this many seconds ago, and do not expire soon.
    """
    screen, login = Screen(), ""
    try:
        async with open_account(connection) as account:
            login = account.login
            _check_is_refreshed(account)
            refreshed: list[TokenSet] = []
            async with account.session(lambda _, new: refreshed.append(new)) as session:
                tokens = await session.oauth.refresh(if_older_than)
            what = "Refreshed" if refreshed else "Not needed yet"
            screen.note(f"{what}: {account.login}. The access token expires at {_time(tokens.expires_at)}")
    except ReauthorizationRequired as error:
        complain(_with_login(error, login))
        return LOG_IN_AGAIN
    except EzeepError as error:
        if not error.retryable:
            raise
        complain(_with_login(error, login))
        return TRY_LATER
    return 0


async def keep_alive(
    *, interval: Seconds | None = None, install: bool = False, connection: Connection = HERE
) -> int:
    """Keep the login alive, in the foreground, until SIGTERM or Ctrl-C.

    Refreshes the tokens every 20 minutes, or every third of the lifetime of a shorter access token. Other commands use
    the same tokens meanwhile. An outage of the server ends nothing. Standard error gets a line for each refresh.

    Exit codes: 0 stopped by a signal, 4 a person has to log in again.

    Args:
        interval: Seconds after which the tokens are refreshed. They are always refreshed before the access token expires.
        install: Print a systemd unit and a line for crontab that run this with the same options, and end.
    """
    if install:
        from ezeep_async.cli.login.units import print_units

        async with open_account(connection) as account:
            await asyncio.to_thread(print_units, account, connection, interval)
        return 0
    supervisor, login = Supervisor(), ""
    try:
        async with open_account(connection) as account:
            login = account.login
            _check_is_refreshed(account)
            stopping = asyncio.Event()
            with stop_on_signals(stopping.set) as ending:
                keeper = _Keeper(account, supervisor, stopping, interval)
                try:
                    async with supervisor.signs_of_life(), account.session(keeper.refreshed) as session:
                        await keeper.run(session)
                finally:
                    if not ending.timed_out:
                        ending.number = (
                            0  # a signal is the ordinary end of this command; an error keeps its exit code
                        )
    except ReauthorizationRequired as error:
        complain(_with_login(error, login))
        supervisor.notify(f"STATUS={sentence(error)}")
        return LOG_IN_AGAIN
    return 0


class _Keeper:
    """Keeps one login alive."""

    def __init__(
        self, account: Account, supervisor: Supervisor, stopping: asyncio.Event, interval: float | None
    ) -> None:
        self._login = account.login
        self._store = account.store
        self._supervisor = supervisor
        self._stopping = stopping
        self._given_interval = interval
        self._interval = interval or LONGEST_INTERVAL_S
        self._tokens: TokenSet | None = None
        self._user = ""
        self._failures = 0
        self._failing_with: type[EzeepError] | None = None

    def refreshed(self, _: TokenSet | None, new: TokenSet) -> None:
        """Log a refresh of this process. A refresh that a signal interrupts is logged too."""
        self._log(f"refreshed, the access token expires at {_time(new.expires_at)}")

    async def run(self, session: EzeepSession) -> None:
        """Return when the command has to stop. Raises `ReauthorizationRequired` when the login has ended."""
        try:
            pause: float | None = await self._unless_stopping(self._step(session))
            self._supervisor.notify("READY=1")
            while pause is not None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause)
                pause = await self._unless_stopping(self._step(session))
        finally:
            self._supervisor.notify("STOPPING=1")

    async def _unless_stopping(self, step: Coroutine[object, object, float]) -> float | None:
        """Return the result of a step, None for a signal. A refresh that has begun ends when the session closes."""
        task, stopping = asyncio.ensure_future(step), asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return None if self._stopping.is_set() else task.result()
        finally:
            for each in (task, stopping):
                each.cancel()
            await asyncio.wait({task, stopping})
            if not task.cancelled():
                task.exception()  # retrieved: a signal comes first

    async def _step(self, session: EzeepSession) -> float:
        """Refresh if it is time. Return the seconds until the next step."""
        try:
            tokens = await session.oauth.refresh(self._interval)
            if self._tokens is None:
                async with self._store.lock():
                    await self._store.load()
                    await self._store.check_writable()
        except ReauthorizationRequired:
            raise
        except EzeepError as error:
            # Before the first success a store or a client that cannot be used is a mistake, which waiting does not correct.
            if self._tokens is None and not error.retryable:
                raise
            return self._failed(error)
        if self._failing_with is not None:
            self._log("kept alive again")
        self._failures, self._failing_with = 0, None
        await self._follow(session, tokens)
        return min(max(self._interval / 10, SHORTEST_STEP_S), LONGEST_STEP_S)

    def _failed(self, error: EzeepError) -> float:
        self._failures += 1
        if self._failing_with is not type(error):
            self._failing_with = type(error)
            self._log(f"not refreshed, and tried again until it works: {sentence(error)}", is_note=False)
        self._supervisor.notify(f"STATUS=Trying again: {sentence(error)}")
        return min(FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE_S)

    async def _follow(self, session: EzeepSession, tokens: TokenSet) -> None:
        """Adopt the token set that is in use now. Another command may have refreshed it, or logged in again."""
        before, self._tokens = self._tokens, tokens
        if before == tokens:
            return
        if self._given_interval is None:
            lifetime = tokens.expires_in or 3 * LONGEST_INTERVAL_S
            self._interval = min(LONGEST_INTERVAL_S, SHARE_OF_LIFETIME * lifetime)
        is_other = before is None or before.mark not in (tokens.mark, *tokens.lineage)
        problem = ""
        if is_other or not self._user:
            self._user, problem = await _name_of_user(session)
        if is_other and problem:
            self._log(
                f"kept alive with a refresh every {self._interval:g} s. The name of the user could not be read: {problem}"
            )
        elif is_other:
            self._log(f"kept alive with a refresh every {self._interval:g} s")
        self._supervisor.notify(f"STATUS=Access token expires at {_time(tokens.expires_at)}: {self._named}")

    @property
    def _named(self) -> str:
        return f"{self._login}, user {self._user}" if self._user else self._login

    def _log(self, text: str, *, is_note: bool = True) -> None:
        if is_note and options().quiet:
            return
        complain(f"{_time(datetime.now(UTC))} {text} ({self._named})")


def _check_is_refreshed(account: Account) -> None:
    if isinstance(account.store, ReadOnlyTokens):
        raise ValueError(
            f"these tokens cannot be refreshed, they are in {account.place}. Use a token file in a folder that can be written"
        )


async def _name_of_user(session: EzeepSession) -> tuple[str, str]:
    """The e-mail address of the user, or else why it cannot be read, which must not end anything."""
    try:
        async with asyncio.timeout(USER_TIMEOUT_S):
            return (await session.accounts.me()).email[:LONGEST_NAME], ""
    except TimeoutError:
        return "", f"ezeep did not respond within {USER_TIMEOUT_S:g} s"
    except EzeepError as error:  # also one of the store, which a refused access token reads
        return "", sentence(error)


def _with_login(error: EzeepError, login: str) -> str:
    text = sentence(error)
    return text if login in text else f"{text} ({login})"


def _time(moment: datetime) -> str:
    return "an unknown time" if moment.year == 9999 else f"{moment.astimezone():%Y-%m-%d %H:%M:%S %z}"
