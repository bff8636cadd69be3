"""Options of several commands, and the session that they select with the environment and `config.toml`.

The parts of the SDK are imported where they are used, because the help of every command imports this module.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import attrs
from cyclopts import Group, Parameter, validators

from ezeep_async import ReauthorizationRequired
from ezeep_async._text.cleaning import cleaned, refuse_control, variable
from ezeep_async._text.text_files import NotText, text_of
from ezeep_async.auth.stores.paths import expanded
from ezeep_async.cli.configuration import LARGEST_FILE, URLS, Configuration
from ezeep_async.cli.options import options
from ezeep_async.cli.signals import cancel_on_signals
from ezeep_async.cli.terminal.output import complain
from ezeep_async.cli.terminal.prompts import ask_secret
from ezeep_async.cli.terminal.waiting import shown_while_waiting, watch


if TYPE_CHECKING:
    from ezeep_async import Endpoints, EzeepSession, OAuthApp, Settings, TokenSet, TokenStore
    from ezeep_async.sandbox import Sandbox

    TokenHook: TypeAlias = Callable[[TokenSet | None, TokenSet], None]

logger = logging.getLogger("ezeep_async.cli")

LOG_IN_AGAIN = 4
"""The exit code of every command when the login has ended, or there is none: a person has to log in."""
REDIRECT_URI = "http://127.0.0.1:8400/callback"
"""The redirect address, unless another one is registered for the client."""


def _no_control(_: object, path: Path | None) -> None:
    if path is not None:
        refuse_control(str(path), "the path")


OutFile = Annotated[Path | None, Parameter(validator=_no_control)]
"""A file that a command writes. A name that ends with a line break is a mistake."""
AtLeastOne = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Json = Annotated[bool, Parameter(name="--json", help="Print JSON.")]
Yes = Annotated[bool, Parameter(name=("--yes", "-y"), help="Do not ask for confirmation.")]
AllowExternal = Annotated[
    bool,
    Parameter(help="Also change groups of another directory, such as Azure. It may change them back."),
]


@Parameter(name="*", group=Group("Connection", sort_key=10))
@attrs.frozen(kw_only=True)
class Connection:
    """The options that select client, addresses and token store."""

    client_id: str | None = None
    """The client id that is registered with ezeep. Else EZEEP_CLIENT_ID, or client_id in the configuration file."""
    client_secret_file: Path | None = None
    """A file that contains the client secret; - prompts for it. Only for clients that have a secret. Else
    EZEEP_CLIENT_SECRET, or the configuration file."""
    token_file: Path | None = None
    """Store the access token and the refresh token in this file. Else EZEEP_TOKEN_FILE, or a file for each client in
    your state folder."""
    keyring: bool = False
    """Store the tokens in the keyring of the system."""
    account_url: str | None = None
    """The URL of another account service. Else EZEEP_ACCOUNT_URL."""
    api_url: str | None = None
    """The URL of another printing service. Else EZEEP_API_URL."""
    print_url: str | None = None
    """The URL of another service for print jobs. Else EZEEP_PRINT_URL."""
    scope: str | None = None
    """The OAuth scopes that a login asks for, such as "printing webhooks reporting". Else EZEEP_SCOPE, or printing."""
    sandbox: bool = False
    """Use a sandbox that starts and ends with this command."""


HERE = Connection()
"""No options: what the environment and the configuration file say."""


@attrs.frozen
class Account:
    """What a command needs to open a session."""

    app: OAuthApp
    endpoints: Endpoints
    store: TokenStore
    sandbox: Sandbox | None = None
    profile: str = ""
    """The profile of the configuration file; empty for none."""
    read_only: Path | None = None
    """The token file that is only read, because its folder cannot be written."""

    @property
    def login(self) -> str:
        """Which login this is, for people: the client, and where the token set is stored."""
        return f"client {self.app.client_id!r}, {self.place}"

    @property
    def place(self) -> str:
        """Where the token set is stored, for people."""
        from ezeep_async import FileTokenStore, KeyringTokenStore, MemoryTokenStore

        if isinstance(self.store, FileTokenStore):
            return str(self.store.path)
        if isinstance(self.store, KeyringTokenStore):
            return f"the system's keyring, as {_keyring_name(self.app, self.endpoints, self.profile)!r}"
        if isinstance(self.store, MemoryTokenStore):
            return "memory, until the sandbox ends"
        if self.read_only is not None:
            return f"{self.read_only}, which is read-only, and are not refreshed"
        return "the environment, and is not refreshed"

    @property
    def settings(self) -> Settings:
        """The proxies of the environment, but none for a service on this machine, such as a sandbox."""
        from yarl import URL

        from ezeep_async import Settings
        from ezeep_async.settings import is_loopback

        return Settings(trust_env=not is_loopback(URL(self.endpoints.account).host))

    def session(self, on_token_rotated: TokenHook | None = None) -> EzeepSession:
        """Create a session. In a sandbox its admin is logged in."""
        from ezeep_async import EzeepSession

        tokens = None
        if self.sandbox is not None:
            tokens = self.sandbox.tokens(scope=" ".join(self.sandbox.behaviour.scopes))
        session = EzeepSession(
            self.app, self.store, tokens, self.endpoints, self.settings, on_token_rotated=on_token_rotated
        )
        watch(session, self.endpoints)
        return session


@asynccontextmanager
async def open_session(connection: Connection) -> AsyncGenerator[EzeepSession]:
    """Open the session of a command. Raises `ValueError` and `OSError` for settings that cannot be used."""
    async with open_account(connection) as account, account.session() as session:
        yield session


@asynccontextmanager
async def open_account(connection: Connection, *, redirect_uri: str | None = None) -> AsyncGenerator[Account]:
    """Find the account that the options select, with a sandbox around it if they ask for one."""
    _check_together(connection)
    cancel_on_signals()
    async with shown_while_waiting(), _account(connection, redirect_uri) as account:
        yield account


@asynccontextmanager
async def _account(connection: Connection, redirect_uri: str | None) -> AsyncGenerator[Account]:
    if connection.sandbox:
        from ezeep_async.sandbox import Sandbox  # slow to import

        redirect_uri = _text_option("redirect_uri", redirect_uri) or _free_address()
        async with Sandbox(redirect_uris=(redirect_uri,), password_grant=True) as sandbox:
            scope = _text_option("scope", connection.scope) or sandbox.oauth_app.scope
            app, endpoints = attrs.evolve(sandbox.oauth_app, scope=scope), sandbox.endpoints
            yield Account(app, endpoints, _store(connection, None, app, endpoints), sandbox)
        return
    account = await asyncio.to_thread(find_account, connection, redirect_uri, options().profile)
    account = await asyncio.to_thread(_read_only, account)
    if _prompts_for_secret(connection):  # after errors in the other settings
        app = attrs.evolve(account.app, client_secret=await ask_secret("Client secret: "))
        account = attrs.evolve(account, app=app)
    try:
        yield account
    except ReauthorizationRequired as error:
        profile = f" --profile {account.profile}" if options().profile else ""
        if await account.store.load() is not None:
            raise ReauthorizationRequired(
                f"{error}: run ezeep login{profile} for {account.login}, with --device if there is no browser",
                error=error.error,
                status=error.status,
            ) from error
        raise ReauthorizationRequired(
            f"not logged in: run ezeep login{profile}, with --device if there is no browser"
        ) from error


def _check_together(connection: Connection) -> None:
    if connection.keyring and connection.token_file is not None:
        raise ValueError("--keyring and --token-file cannot be used together")
    names = ("client_id", "client_secret_file", *URLS)
    given = [_option(name) for name in names if getattr(connection, name) is not None]
    given += ["--profile"] * (options().profile is not None)
    if connection.sandbox and given:
        raise ValueError(
            f"--sandbox has a client and addresses of its own: remove {' and '.join(given)}, or --sandbox"
        )


def find_account(connection: Connection, redirect_uri: str | None, profile: str | None) -> Account:
    """Find the account of a profile, by default the one that EZEEP_PROFILE names. Blocks.

    Raises `ValueError` and `OSError` for settings that cannot be used.
    """
    from ezeep_async import Endpoints, OAuthApp

    configuration = Configuration(profile=profile)
    if connection == HERE and profile is not None and profile == options().profile and not options().quiet:
        for name in configuration.overridden():
            complain(f"{name} of the environment is used instead of what profile {profile!r} says")

    def setting(name: str, option: str | None) -> str | None:
        return _text_option(name, option) or configuration.get(name)

    client_id = setting("client_id", connection.client_id)
    if not client_id:
        raise ValueError(
            f"no client id: give --client-id, set EZEEP_CLIENT_ID, or write client_id into {configuration.path} "
            "(--sandbox needs none)"
        )
    secret = "" if _prompts_for_secret(connection) else _secret(connection, configuration)
    app = OAuthApp(
        client_id,
        secret,
        setting("redirect_uri", redirect_uri) or REDIRECT_URI,
        setting("scope", connection.scope) or "printing",
    )
    default = Endpoints()
    endpoints = Endpoints(
        setting("account_url", connection.account_url) or default.account,
        setting("api_url", connection.api_url) or default.api,
        setting("print_url", connection.print_url) or default.print,
    )
    store = _store(connection, configuration, app, endpoints)
    account = Account(app, endpoints, store, profile=configuration.profile)
    logger.debug(
        "%s; configuration file %s, profile %r", account.login, configuration.path, configuration.profile
    )
    return account


def _read_only(account: Account) -> Account:
    """Only read a token file that cannot be replaced, as on a read-only mount, and say so."""
    from ezeep_async import ReadOnlyTokens

    path = _read_only_file(account.store)
    if path is None:
        return account
    if not options().quiet:
        complain(
            f"rotation cannot be persisted: the token set from {path} is read-only. Its access token is used until it "
            "expires, and is not refreshed"
        )
    return attrs.evolve(account, store=ReadOnlyTokens(path), read_only=path)


def _read_only_file(store: TokenStore) -> Path | None:
    """Return the path of a token file that can be read and not replaced, as on a read-only mount."""
    from ezeep_async import FileTokenStore

    if not isinstance(store, FileTokenStore) or not store.path.exists():
        return None
    target = store.path.resolve()  # a mounted secret of Kubernetes is a link into another folder
    # Mode bits of the file itself do not matter: a new file replaces it.
    can_write = os.access(target.parent, os.W_OK | os.X_OK) and not _is_on_read_only_mount(target)
    return None if can_write or not os.access(target, os.R_OK) else store.path


def _is_on_read_only_mount(path: Path) -> bool:
    return hasattr(os, "statvfs") and bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _text_option(name: str, value: str | None) -> str:
    return "" if value is None else cleaned(value, _option(name))


def _prompts_for_secret(connection: Connection) -> bool:
    return str(connection.client_secret_file) == "-"


def _secret(connection: Connection, configuration: Configuration) -> str:
    # Never the value of an option: every user of a machine can read its command lines.
    if connection.client_secret_file is not None:
        given = cleaned(str(connection.client_secret_file), "--client-secret-file", is_path=True)
    elif secret := configuration.in_environment("client_secret"):
        return secret
    elif not (given := configuration.get("client_secret_file") or ""):
        return configuration.get("client_secret") or ""
    return secret_in(given, "client secret")


def secret_in(given: str, what: str, *, as_typed: bool = False) -> str:
    """Return the secret in a file; `as_typed` with its spaces and quotes. Raises `ValueError` and `OSError`."""
    path = expanded(given)
    try:
        with path.open("rb") as file:
            text = text_of(file.read(LARGEST_FILE))
        secret = text.rstrip("\r\n") if as_typed else cleaned(text, f"the secret in {path}")
    except NotText as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not secret:
        raise ValueError(f"{path} is empty: write the {what} into it")
    return secret


def _store(
    connection: Connection, configuration: Configuration | None, app: OAuthApp, endpoints: Endpoints
) -> TokenStore:
    """The store that the options name, else the environment, else the file."""
    from ezeep_async import FileTokenStore, KeyringTokenStore, MemoryTokenStore, ReadOnlyTokens

    path = "" if connection.token_file is None else str(connection.token_file)
    kind = "keyring" if connection.keyring else ""
    if configuration is None:
        if not path and not kind:
            return MemoryTokenStore()
    elif not path and not kind:
        kind = configuration.in_environment("token_store") or ""
        path = "" if kind else configuration.in_environment("token_file") or ""
        if not kind and not path:
            if variable(configuration.environ, "EZEEP_ACCESS_TOKEN") is not None:
                return ReadOnlyTokens.from_env(configuration.environ)
            kind = configuration.get("token_store") or ""
        path = path or configuration.get("token_file") or ""
    profile = "" if configuration is None else configuration.profile
    if kind == "keyring":
        return KeyringTokenStore(_keyring_name(app, endpoints, profile))
    if kind not in {"", "file"}:
        raise ValueError(f"token_store must be file or keyring, not {kind!r}")
    if path:
        return FileTokenStore(path)
    store = FileTokenStore.for_app(app, endpoints)
    # Two profiles never share a login, also if client and address are the same.
    return FileTokenStore(store.path.with_name(f"{profile.lower()}-{store.path.name}")) if profile else store


def _keyring_name(app: OAuthApp, endpoints: Endpoints, profile: str) -> str:
    from yarl import URL

    name = f"{app.client_id} at {URL(endpoints.account).authority}"
    return f"{name}, profile {profile.lower()}" if profile else name


def _free_address() -> str:
    """A redirect address with a free port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/callback"
