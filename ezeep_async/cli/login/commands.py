"""`ezeep login`, `ezeep logout`, `ezeep whoami`."""

from __future__ import annotations

import asyncio
import os
import re
import webbrowser
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from cyclopts import Parameter, validators

from ezeep_async import (
    AccountUser,
    ApiError,
    AuthenticationError,
    EzeepError,
    PermissionDenied,
    TokenStoreError,
    TransientAuthError,
    TransportError,
    UnexpectedResponse,
)
from ezeep_async._text.cleaning import variable
from ezeep_async._text.redaction import Secret
from ezeep_async.cli.connection import HERE, Account, Connection, Json, open_account, secret_in
from ezeep_async.cli.options import options
from ezeep_async.cli.terminal.output import complain, sentence, write_json
from ezeep_async.cli.terminal.prompts import ask_line, ask_secret, in_background
from ezeep_async.cli.terminal.screen import Screen, Whole, to_json


if TYPE_CHECKING:
    from ezeep_async import AuthorizationRequest, EzeepSession
    from ezeep_async.cli.login.loopback import RedirectListener


Seconds = Annotated[float, Parameter(validator=validators.Number(gt=0, lte=86400))]


async def login(
    *,
    no_browser: bool = False,
    device: bool = False,
    password: bool = False,
    client_credentials: bool = False,
    username: str | None = None,
    password_file: Path | None = None,
    redirect_uri: str | None = None,
    timeout: Seconds = 300.0,  # noqa: ASYNC109  # an option: how long the person may take
    connection: Connection = HERE,
) -> None:
    """Log in, by default in a browser, and store the access token and the refresh token for the other commands.

    Args:
        no_browser: Show an address to open in any browser, and ask for the address to which the browser is redirected.
        device: Pair this machine: show a code, and wait until it is confirmed in a browser on another machine.
        password: Ask for user name and password, or read the password from a pipe, EZEEP_PASSWORD or a file. Only for
            clients that may use passwords.
        client_credentials: Log in the client itself, without a person, with its secret. Only for partner apps.
        username: The user name for --password. Else EZEEP_USERNAME.
        password_file: A file that contains the password for --password. Else EZEEP_PASSWORD_FILE.
        redirect_uri: The redirect address that is registered for the client. Else EZEEP_REDIRECT_URI, or the
            configuration file.
        timeout: Seconds to wait for the browser, or for the confirmation of the code.
    """
    if no_browser + device + password + client_credentials > 1:
        raise ValueError(
            "--no-browser, --device, --password and --client-credentials cannot be used together"
        )
    if (username is not None or password_file is not None) and not password:
        raise ValueError(
            f"--{'username' if password_file is None else 'password-file'} is only for --password"
        )
    screen = Screen()
    async with open_account(connection, redirect_uri=redirect_uri) as account:
        if account.sandbox is not None:
            from ezeep_async.sandbox import SANDBOX_PASSWORD

            screen.note(f"A sandbox: no real data. The password of every user is {SANDBOX_PASSWORD!r}")
        await _check_store(account)
        from ezeep_async import EzeepSession

        async with EzeepSession(
            account.app, account.store, endpoints=account.endpoints, settings=account.settings
        ) as session:
            if device:
                await _pair(screen, session, timeout)
            elif password:
                await _with_password(session, username, password_file)
            elif client_credentials:
                await _as_client(session, account)
            elif no_browser:
                await _with_pasted_address(screen, session)
            else:
                await _in_browser(screen, session, account, timeout)
            person = await _own_user(session)
        unknown = "the client itself" if client_credentials else "an unknown user"
        name = unknown if person is None else person.email
        screen.note(f"Logged in as {name}. The tokens are stored in", Whole(account.place))
        _note_options(screen, connection)


def _note_options(screen: Screen, connection: Connection) -> None:
    """Name the options that the other commands need to find the login."""
    if profile := options().profile:
        screen.note("The other commands need", Whole(f"--profile {profile}"), "too, or EZEEP_PROFILE")
    if connection.client_id is not None:
        screen.note(
            "The other commands need",
            Whole(f"--client-id {connection.client_id}"),
            "too, or EZEEP_CLIENT_ID, or client_id in the configuration file",
        )


async def _with_password(session: EzeepSession, username: str | None, path: Path | None) -> None:
    username = username or variable(os.environ, "EZEEP_USERNAME") or await ask_line("User name: ")
    await session.oauth.login_with_password(username, await _password(path) or await ask_secret("Password: "))


async def _as_client(session: EzeepSession, account: Account) -> None:
    if not account.app.client_secret:
        raise ValueError(
            "--client-credentials needs the secret of the client: --client-secret-file, or EZEEP_CLIENT_SECRET"
        )
    await session.oauth.login_with_client_credentials()


async def _password(path: Path | None) -> str:
    """The password from a file or from the environment, "" for none. Never from an argument: other users can read those."""
    if path is None and (given := os.environ.get("EZEEP_PASSWORD")):
        return Secret(given)
    given = str(path or "") or variable(os.environ, "EZEEP_PASSWORD_FILE", is_path=True)
    return await asyncio.to_thread(secret_in, given, "password", as_typed=True) if given else ""


async def _check_store(account: Account) -> None:
    """Before the browser opens: check that the new token set can be stored (2-11)."""
    from ezeep_async import KeyringTokenStore

    store = account.store
    try:
        if isinstance(store, KeyringTokenStore):
            await store.probe()
    except TokenStoreError as error:
        raise TokenStoreError(
            f"{error}. The login was not started. Without --keyring the tokens are stored in a file"
        ) from error
    bind = getattr(store, "bind", None)
    if bind is not None:
        bind(account.app.client_id, account.endpoints.account)
    async with store.lock():
        await store.load()
        await store.check_writable()


async def _in_browser(screen: Screen, session: EzeepSession, account: Account, seconds: float) -> None:
    from yarl import URL

    from ezeep_async.cli.login.loopback import RedirectListener

    request = session.oauth.authorization_request()
    async with RedirectListener(account.app.redirect_uri or "", request) as listener:
        screen.say(f"Opening {URL(request.url).host} in the browser. If none opens, open this address:")
        screen.say(Whole(request.url))
        # In a task: a browser that runs in the foreground returns when the person closes it.
        opening = asyncio.create_task(_open_browser(screen, request.url))
        try:
            redirect = await listener.redirect(seconds)
        except TimeoutError:
            raise TimeoutError(f"no login in the browser within {seconds:g} s{_last(listener)}") from None
        except asyncio.CancelledError:
            if listener.refusal:
                complain(f"no login in the browser{_last(listener)}")
            raise
        finally:
            opening.cancel()
        try:
            await session.oauth.complete(redirect, request)
        except EzeepError as error:
            await listener.show("Not logged in", sentence(error), worked=False)
            raise
        await listener.show("You are logged in", "You can close this page.", worked=True)


async def _open_browser(screen: Screen, url: str) -> None:
    def is_open() -> bool:
        try:
            return webbrowser.open(url)
        except webbrowser.Error:
            return False

    if not await in_background(is_open):
        screen.say("No browser was found. Use --no-browser or --device to log in with one on another machine")


def _last(listener: RedirectListener) -> str:
    return f". The last request was refused: {listener.refusal}" if listener.refusal else ""


async def _with_pasted_address(screen: Screen, session: EzeepSession) -> None:
    request = session.oauth.authorization_request()
    screen.say("Open this address in any browser:")
    screen.say(Whole(request.url))
    screen.say(
        "After the login the browser shows an address that may not load. Copy all of it from the address bar."
    )
    await session.oauth.complete(_completed(await ask_line("The address: "), request), request)


def _completed(pasted: str, request: AuthorizationRequest) -> str:
    """Return the redirect address for a pasted one, of which only the query matters. Raises `ValueError`."""
    found = re.search(r"(?:^|[?#&;\s])((?:code|error|state)=\S*)", pasted.strip("\"'<> "))
    if found is None or not re.search(r"\b(?:code|error)=", found[1]):
        raise ValueError(
            "this is not the address after a login: it contains no code. Paste the complete address"
        )
    return f"{request.redirect_uri}?{found[1]}"


async def _pair(screen: Screen, session: EzeepSession, seconds: float) -> None:
    pairing = await session.oauth.pair()
    screen.pairing(pairing.pairing_code, pairing.auth_url)
    screen.note(f"Waiting at most {seconds:g} s for the confirmation")
    await session.oauth.wait_for_pairing(pairing, timeout=seconds)


async def logout(*, forget: bool = False, connection: Connection = HERE) -> None:
    """Log out: revoke the tokens at the server, and delete them here.

    Args:
        forget: Delete the tokens here even if the server cannot revoke them. There they stay valid until they expire.
    """
    screen = Screen()
    async with open_account(connection) as account, account.session() as session:
        if await account.store.load() is None:
            screen.note("Not logged in")
            return
        try:
            await session.oauth.revoke()
        except AuthenticationError as error:
            if not forget:
                raise type(error)(
                    f"{error}. The tokens are still stored: try again, or use --forget"
                ) from error
            async with account.store.lock():
                await account.store.clear()
            screen.say("Deleted here. The server did not revoke the tokens")
            return
    screen.note("Logged out")


async def whoami(*, as_json: Json = False, connection: Connection = HERE) -> None:
    """Show the user who is logged in, the organization, and when the access token expires."""
    screen = Screen()
    async with open_account(connection) as account, account.session() as session:
        person = await session.accounts.me()
        organization_id = await _organization(session)
        tokens = await account.store.load()
    expires_at = None if tokens is None else tokens.expires_at
    if as_json:
        record = {
            "id": person.id,
            "email": person.email,
            "display_name": person.display_name,
            "roles": person.roles,
            "organization_id": organization_id,
            "account_url": account.endpoints.account,
            "client_id": account.app.client_id,
            "profile": account.profile or None,
            "kept_in": account.place,
            "access_token_ends": expires_at,
        }
        write_json(to_json(record))
        return
    screen.facts(
        {
            "e-mail": person.email,
            "name": person.display_name,
            "id": person.id,
            "roles": ", ".join(person.roles),
            "organization": organization_id or "unknown: it has no groups, or you may not list them",
            "account": account.endpoints.account,
            "client": account.app.client_id,
            **({"profile": account.profile} if account.profile else {}),
            "tokens stored in": Whole(account.place),
            "access token expires": _when(expires_at),
        }
    )


async def _own_user(session: EzeepSession) -> AccountUser | None:
    """The user who is logged in; None if that cannot be read, which must not fail a login."""
    try:
        return await session.accounts.me()
    except (ApiError, TransientAuthError, TransportError, UnexpectedResponse):
        return None


async def _organization(session: EzeepSession) -> UUID | None:
    """The organization of the groups: no other record names it."""
    try:
        group = await session.groups.list(page_size=1).first()
    except PermissionDenied:
        return None
    return None if group is None else group.organization_id


def _when(end: datetime | None) -> str:
    if end is None or end.year == 9999:  # tokens from the environment may have no expiry
        return "unknown"
    minutes = round((end - datetime.now(UTC)).total_seconds() / 60)
    distance = f"in {minutes} minutes" if minutes >= 0 else f"{-minutes} minutes ago"
    return f"{end.astimezone():%Y-%m-%d %H:%M:%S %z} ({distance})"
