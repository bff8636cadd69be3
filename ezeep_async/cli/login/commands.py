"""`ezeep login`, `ezeep logout`, `ezeep whoami`."""

from __future__ import annotations

import asyncio
import webbrowser
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from cyclopts import Parameter, validators
from yarl import URL

from ezeep_async.auth.app import AuthorizationRequest, without_entities
from ezeep_async.auth.stores.keyring import KeyringTokenStore
from ezeep_async.auth.stores.readonly import UNKNOWN_EXPIRY
from ezeep_async.cli.connection import HERE, Account, Connection, open_account
from ezeep_async.cli.login.loopback import RedirectListener
from ezeep_async.cli.options import Json
from ezeep_async.cli.terminal.output import Whole
from ezeep_async.cli.terminal.prompts import ask_line, ask_secret, beside
from ezeep_async.cli.terminal.screen import Screen, complain, sentence, to_json, write_json
from ezeep_async.errors import (
    ApiError,
    AuthenticationError,
    EzeepError,
    PermissionDenied,
    TokenStoreError,
    TransientAuthError,
    TransportError,
    UnexpectedResponse,
)
from ezeep_async.models.accounts import AccountUser
from ezeep_async.session import EzeepSession


Seconds = Annotated[float, Parameter(validator=validators.Number(gt=0, lte=86400))]


async def login(
    *,
    no_browser: bool = False,
    device: bool = False,
    password: bool = False,
    username: str | None = None,
    redirect_uri: str | None = None,
    timeout: Seconds = 300.0,  # noqa: ASYNC109  # an option: how long the person may take
    connection: Connection = HERE,
) -> None:
    """Log in, in a browser unless another way is asked for, and keep the login for the other commands.

    Parameters
    ----------
    no_browser
        Show the address to open in any browser, and ask for the one that it comes back to.
    device
        Pair this machine: show a code, and wait until somebody confirms it in a browser elsewhere.
    password
        Ask for user name and password (or read the password from a pipe): for clients that are enabled for it.
    username
        The user name for --password.
    redirect_uri
        The address that is registered for the client to come back to. Else EZEEP_REDIRECT_URI, or the configuration.
    timeout
        Seconds to wait for the browser, or for somebody to confirm the code.
    """
    if no_browser + device + password > 1:
        raise ValueError("--no-browser, --device and --password are three ways to log in: give one of them")
    if username is not None and not password:
        raise ValueError("--username goes with --password")
    screen = Screen()
    async with open_account(connection, redirect_uri=redirect_uri) as account:
        if account.sandbox is not None:
            from ezeep_async.sandbox.state.seeding import SANDBOX_PASSWORD

            screen.say(f"A sandbox: nothing here is real, and everybody's password is {SANDBOX_PASSWORD!r}")
        await _check_store(account)
        async with EzeepSession(account.app, account.store, endpoints=account.endpoints) as session:
            if device:
                await _pair(screen, session, timeout)
            elif password:
                await _with_password(session, username)
            elif no_browser:
                await _with_pasted_address(screen, session)
            else:
                await _in_browser(screen, session, account, timeout)
            person = await _oneself(session)
        name = "somebody" if person is None else person.email
        screen.say(f"Logged in as {name}. The login is kept in", Whole(account.kept))
        if connection.client_id is not None:
            screen.say(
                "The other commands need",
                Whole(f"--client-id {connection.client_id}"),
                "too, or EZEEP_CLIENT_ID, or client_id in the configuration file",
            )


async def _check_store(account: Account) -> None:
    """Before anybody is sent to a browser: whether the login that comes back could be kept (2-11)."""
    store = account.store
    try:
        if isinstance(store, KeyringTokenStore):
            await store.probe()
    except TokenStoreError as error:
        raise TokenStoreError(
            f"{error}. Nothing was begun. Without --keyring the login is kept in a file"
        ) from error
    bind = getattr(store, "bind", None)
    if bind is not None:
        bind(account.app.client_id, account.endpoints.account)
    async with store.lock():
        await store.load()
        await store.check_writable()


async def _in_browser(screen: Screen, session: EzeepSession, account: Account, seconds: float) -> None:
    request = session.oauth.authorization_request()
    async with RedirectListener(account.app.redirect_uri or "", request) as listener:
        screen.say(f"Opening {URL(request.url).host} in the browser. If none opens, go there yourself:")
        screen.say(Whole(request.url))
        opening = asyncio.create_task(_open_browser(screen, request.url))
        try:
            came_back = await listener.redirect(seconds)
        except TimeoutError:
            raise TimeoutError(
                f"nobody came back from the browser within {seconds:g} s{_told(listener.refusal)}"
            ) from None
        except asyncio.CancelledError:
            if listener.refusal:
                complain(f"nobody came back from the browser{_told(listener.refusal)}")
            raise
        finally:
            opening.cancel()
        try:
            await session.oauth.complete(came_back, request)
        except EzeepError as error:
            await listener.show("Not logged in", sentence(error), worked=False)
            raise
        await listener.show("You are logged in", "You can close this page.", worked=True)


async def _open_browser(screen: Screen, url: str) -> None:
    """Beside the waiting: a browser that runs in the foreground is not back before the person has closed it."""
    if not await beside(lambda: _open(url)):
        screen.say("No browser was found. --no-browser and --device log in with one on another machine")


def _open(url: str) -> bool:
    try:
        return webbrowser.open(url)
    except webbrowser.Error:
        return False


async def _with_pasted_address(screen: Screen, session: EzeepSession) -> None:
    request = session.oauth.authorization_request()
    screen.say("Open this address in a browser, anywhere:")
    screen.say(Whole(request.url))
    screen.say(
        "Afterwards the browser is at an address that may not load. Copy it from the address bar, all of it."
    )
    await session.oauth.complete(_completed(await ask_line("The address: "), request), request)


def _completed(pasted: str, request: AuthorizationRequest) -> str:
    """The pasted address. Of one that was copied in part, what matters is the query, or what stands for it."""
    pasted = without_entities(pasted.strip("\"'<> "))
    before, _, fragment = pasted.partition("#")
    for query in (before.partition("?")[2] or before, fragment):
        names = URL(f"?{query}").query.keys()
        if names & {"code", "error"}:
            if "state" not in names:
                raise ValueError("the address has no state, so it is not whole: copy all of it, to its end")
            return f"{request.redirect_uri}?{query}"
    raise ValueError("that is not an address that a login comes back to: it has no code in it")


def _told(refusal: str) -> str:
    return f". What came last was refused: {refusal}" if refusal else ""


async def _pair(screen: Screen, session: EzeepSession, seconds: float) -> None:
    pairing = await session.oauth.pair()
    screen.pairing(pairing.pairing_code, pairing.auth_url)
    screen.say(f"Waiting until somebody confirms it, for at most {seconds:g} s")
    await session.oauth.wait_for_pairing(pairing, timeout=seconds)


async def _with_password(session: EzeepSession, username: str | None) -> None:
    username = username or await ask_line("User name: ")
    await session.oauth.login_with_password(username, await ask_secret("Password: "))


async def logout(*, forget: bool = False, connection: Connection = HERE) -> None:
    """Log out: end the login at the server, and forget it here.

    Parameters
    ----------
    forget
        Forget it here even if the server cannot be told: there it then goes on until it ends by itself.
    """
    screen = Screen()
    async with open_account(connection) as account, account.session() as session:
        if await account.store.load() is None:
            screen.say("Nobody was logged in")
            return
        try:
            await session.oauth.revoke()
        except AuthenticationError as error:
            if not forget:
                raise type(error)(f"{error}. The login is still there: try again, or --forget it") from error
            async with account.store.lock():
                await account.store.clear()
            screen.say("Forgotten here. The server could not be told")
            return
    screen.say("Logged out")


async def whoami(*, as_json: Json = False, connection: Connection = HERE) -> None:
    """Show who is logged in, in which organization, and when the access token ends."""
    screen = Screen()
    async with open_account(connection) as account, account.session() as session:
        person = await session.accounts.me()
        organization_id = await _organization(session)
        tokens = await account.store.load()
    ends = None if tokens is None else tokens.expires_at
    if as_json:
        write_json(
            to_json(
                {
                    "id": person.id,
                    "email": person.email,
                    "display_name": person.display_name,
                    "roles": person.roles,
                    "organization_id": organization_id,
                    "account_url": account.endpoints.account,
                    "client_id": account.app.client_id,
                    "kept_in": account.kept,
                    "access_token_ends": ends,
                }
            )
        )
        return
    screen.facts(
        {
            "e-mail": person.email,
            "name": person.display_name,
            "id": person.id,
            "roles": ", ".join(person.roles),
            "organization": organization_id or "not to be seen: it has no groups, or you may not list them",
            "account": account.endpoints.account,
            "client": account.app.client_id,
            "login kept in": Whole(account.kept),
            "access token ends": "unknown" if ends is None or ends == UNKNOWN_EXPIRY else _when(ends),
        }
    )


async def _oneself(session: EzeepSession) -> AccountUser | None:
    """Who is logged in; None where that cannot be found out, which is no reason for a login to fail."""
    try:
        return await session.accounts.me()
    except (ApiError, TransientAuthError, TransportError, UnexpectedResponse):
        return None


async def _organization(session: EzeepSession) -> UUID | None:
    """Where the groups belong: nothing else tells the organization."""
    try:
        group = await session.groups.list(page_size=1).first()
    except PermissionDenied:
        return None
    return None if group is None else group.organization_id


def _when(end: datetime) -> str:
    minutes = round((end - datetime.now(UTC)).total_seconds() / 60)
    distance = f"in {minutes} minutes" if minutes >= 0 else f"{-minutes} minutes ago"
    return f"{end.astimezone():%Y-%m-%d %H:%M:%S %z} ({distance})"
