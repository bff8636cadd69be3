"""Which login a command uses: from its options, the environment, or the configuration file, in this order."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import attrs
from cyclopts import Group, Parameter
from yarl import URL

from ezeep_async._text.cleaning import cleaned, cleaned_path, variable
from ezeep_async._text.text_files import NotText, text_of
from ezeep_async.auth.app import OAuthApp
from ezeep_async.auth.stores.file import FileTokenStore
from ezeep_async.auth.stores.keyring import KeyringTokenStore
from ezeep_async.auth.stores.paths import expanded
from ezeep_async.auth.stores.readonly import ReadOnlyTokens
from ezeep_async.auth.tokens import MemoryTokenStore, TokenStore
from ezeep_async.cli.config import LARGEST_FILE, Configuration
from ezeep_async.cli.signals import cancel_on_signals
from ezeep_async.cli.terminal.prompts import ask_secret
from ezeep_async.errors import ReauthorizationRequired
from ezeep_async.session import EzeepSession
from ezeep_async.settings import Endpoints


if TYPE_CHECKING:
    from ezeep_async.sandbox.server import Sandbox

REDIRECT_URI = "http://127.0.0.1:8400/callback"
"""Where the browser comes back to, unless another address is registered for the client."""


@Parameter(name="*", group=Group("Connection", sort_key=10))
@attrs.frozen(kw_only=True)
class Connection:
    """The options that say whose login a command uses."""

    client_id: str | None = None
    """The client that is registered with ezeep. Else EZEEP_CLIENT_ID, or client_id in the configuration file."""
    # The hyphen alone is a value here.
    client_secret_file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None
    """A file with the client's secret, if it has one; - asks for it. Else EZEEP_CLIENT_SECRET, or the configuration."""
    token_file: Path | None = None
    """Where the login is kept. Else EZEEP_TOKEN_FILE, or a file for each client where the system keeps such things."""
    keyring: bool = False
    """The login is kept in the system's keyring."""
    account_url: str | None = None
    """Another account service. Else EZEEP_ACCOUNT_URL."""
    api_url: str | None = None
    """Another printing service. Else EZEEP_API_URL."""
    sandbox: bool = False
    """Use a sandbox that begins and ends with this command."""


HERE = Connection()
"""No options: what the environment and the configuration file say."""


@attrs.frozen
class Account:
    """Whose login it is, and where it is kept."""

    app: OAuthApp
    endpoints: Endpoints
    store: TokenStore
    kept: str
    """Where, for people."""
    sandbox: Sandbox | None = None

    def session(self) -> EzeepSession:
        """A session on this login. In a sandbox its admin is logged in."""
        tokens = None if self.sandbox is None else self.sandbox.tokens()
        return EzeepSession(self.app, self.store, tokens, self.endpoints)


@asynccontextmanager
async def open_session(connection: Connection) -> AsyncGenerator[EzeepSession]:
    """The session that a command works with.

    Raises `ValueError` and `OSError` for settings that cannot be used.
    """
    async with open_account(connection) as account, account.session() as session:
        yield session


@asynccontextmanager
async def open_account(connection: Connection, *, redirect_uri: str | None = None) -> AsyncGenerator[Account]:
    """Whose login the options mean, with a sandbox around it if they ask for one."""
    _check_together(connection)
    cancel_on_signals()
    if not connection.sandbox:
        secret = None
        if _asks_for_secret(connection):
            # What is wrong with the settings is said before somebody types a secret.
            await asyncio.to_thread(_find, connection, redirect_uri, "")
            secret = await ask_secret("Client secret: ")
        account = await asyncio.to_thread(_find, connection, redirect_uri, secret)
        try:
            yield account
        except ReauthorizationRequired as error:
            if await account.store.load() is not None:
                raise
            raise ReauthorizationRequired("nobody is logged in: ezeep login begins a login") from error
        return
    from ezeep_async.sandbox.server import Sandbox  # listing groups does not wait for a sandbox to load

    redirect_uri = _option(redirect_uri, "--redirect-uri") or _free_address()
    async with Sandbox(redirect_uris=(redirect_uri,), password_grant=True) as sandbox:
        if connection.token_file is not None:
            store, kept = _file(FileTokenStore(_path_option(connection.token_file, "--token-file")))
        elif connection.keyring:
            store, kept = _keyring(sandbox.oauth_app.client_id, sandbox.endpoints)
        else:
            store, kept = MemoryTokenStore(), "memory, and goes with the sandbox"
        yield Account(sandbox.oauth_app, sandbox.endpoints, store, kept, sandbox)


def _check_together(connection: Connection) -> None:
    if connection.keyring and connection.token_file is not None:
        raise ValueError("--keyring and --token-file are two places: give one of them")
    given = {
        "--client-id": connection.client_id,
        "--client-secret-file": connection.client_secret_file,
        "--account-url": connection.account_url,
        "--api-url": connection.api_url,
    }
    if connection.sandbox and (useless := [name for name, value in given.items() if value is not None]):
        raise ValueError(
            f"--sandbox has a client and addresses of its own: leave out {' and '.join(useless)}, or --sandbox"
        )


def _asks_for_secret(connection: Connection) -> bool:
    return str(connection.client_secret_file) == "-"


def _find(connection: Connection, redirect_uri: str | None, secret: str | None) -> Account:
    configuration = Configuration()
    app = OAuthApp(
        _client_id(connection, configuration),
        _secret(connection, configuration) if secret is None else secret,
        _option(redirect_uri, "--redirect-uri") or configuration.get("redirect_uri") or REDIRECT_URI,
    )
    default = Endpoints()
    endpoints = Endpoints(
        _option(connection.account_url, "--account-url")
        or configuration.get("account_url")
        or default.account,
        _option(connection.api_url, "--api-url") or configuration.get("api_url") or default.api,
    )
    store, kept = _store(connection, configuration, app, endpoints)
    return Account(app, endpoints, store, kept)


def _client_id(connection: Connection, configuration: Configuration) -> str:
    client_id = _option(connection.client_id, "--client-id") or configuration.get("client_id")
    if not client_id:
        raise ValueError(
            f"which client? Give --client-id, set EZEEP_CLIENT_ID, or write client_id into {configuration.path} "
            "(--sandbox tries things out without one)"
        )
    return client_id


def _option(value: str | None, name: str) -> str | None:
    return None if value is None else cleaned(value, name) or None


def _path_option(path: Path, name: str) -> Path:
    """As text, which is cleaned as in every other place. Raises `ValueError`."""
    return expanded(cleaned_path(str(path), name))


def _secret(connection: Connection, configuration: Configuration) -> str:
    # Never as an option's value: command lines can be read by everybody on the machine.
    if connection.client_secret_file is None:
        given = configuration.in_environment("client_secret")
        path = None if given else configuration.get("client_secret_file")
        return given or (_secret_in(Path(path)) if path else configuration.get("client_secret") or "")
    return _secret_in(_path_option(connection.client_secret_file, "--client-secret-file"))


def _secret_in(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = text_of(file.read(LARGEST_FILE))
    except NotText as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    return cleaned(text, f"the secret in {path}")


def _store(
    connection: Connection, configuration: Configuration, app: OAuthApp, endpoints: Endpoints
) -> tuple[TokenStore, str]:
    """The first that is named, from the nearest to the farthest: options, environment, file."""
    if connection.token_file is not None:
        return _file(FileTokenStore(_path_option(connection.token_file, "--token-file")))
    kind = "keyring" if connection.keyring else configuration.in_environment("token_store")
    if kind is None:
        if path := configuration.in_environment("token_file"):
            return _file(FileTokenStore(path))
        if variable(configuration.environ, "EZEEP_ACCESS_TOKEN") is not None:
            return ReadOnlyTokens.from_env(configuration.environ), "the environment, and is not renewed"
        kind = configuration.get("token_store")
    if kind == "keyring":
        return _keyring(app.client_id, endpoints)
    if kind not in {None, "", "file"}:
        raise ValueError(f"token_store is file or keyring, not {kind!r}")
    if path := configuration.get("token_file"):
        return _file(FileTokenStore(path))
    return _file(FileTokenStore.for_app(app, endpoints))


def _file(store: FileTokenStore) -> tuple[TokenStore, str]:
    return store, str(store.path)


def _keyring(client_id: str, endpoints: Endpoints) -> tuple[TokenStore, str]:
    name = f"{client_id} at {URL(endpoints.account).authority}"
    return KeyringTokenStore(name), f"the system's keyring, as {name!r}"


def _free_address() -> str:
    """A redirect address that nobody listens on yet."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/callback"
