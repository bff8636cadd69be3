"""Options of several commands, and the session that they select with the environment and `config.toml`.

The parts of the SDK are imported where they are used, because the help of every command imports this module.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tomllib
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, cast

import attrs
from cyclopts import Group, Parameter, validators

from ezeep_async import ReauthorizationRequired
from ezeep_async._text.cleaning import cleaned, refuse_control, variable
from ezeep_async._text.text_files import NotText, text_of
from ezeep_async.auth.stores.paths import expanded, folder_for
from ezeep_async.cli.signals import cancel_on_signals
from ezeep_async.cli.terminal.output import complain
from ezeep_async.cli.terminal.prompts import ask_secret


if TYPE_CHECKING:
    from ezeep_async import Endpoints, EzeepSession, OAuthApp, TokenSet, TokenStore
    from ezeep_async.sandbox import Sandbox

    TokenHook: TypeAlias = Callable[[TokenSet | None, TokenSet], None]

REDIRECT_URI = "http://127.0.0.1:8400/callback"
"""The redirect address, unless another one is registered for the client."""
PATHS = frozenset({"client_secret_file", "token_file"})
URLS = ("account_url", "api_url", "print_url")
SETTINGS = PATHS | {"client_id", "client_secret", "redirect_uri", "scope", "token_store", *URLS}
LARGEST_FILE = 1024 * 1024
"""Bytes that are read of a file."""
_BACKSLASHES = (
    "In double quotes TOML takes a backslash for the beginning of an escape (\\t is a tab): write a Windows path in single "
    "quotes, as in 'C:\\temp\\login.json'"
)


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
    # The hyphen alone is a value here.
    client_secret_file: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None
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
            return f"the system's keyring, as {_keyring_name(self.app, self.endpoints)!r}"
        if isinstance(self.store, MemoryTokenStore):
            return "memory, until the sandbox ends"
        if self.read_only is not None:
            return f"{self.read_only}, which is read-only, and are not refreshed"
        return "the environment, and is not refreshed"

    def session(self, on_token_rotated: TokenHook | None = None) -> EzeepSession:
        """Create a session. In a sandbox its admin is logged in."""
        from ezeep_async import EzeepSession

        tokens = None
        if self.sandbox is not None:
            tokens = self.sandbox.tokens(scope=" ".join(self.sandbox.behaviour.scopes))
        return EzeepSession(self.app, self.store, tokens, self.endpoints, on_token_rotated=on_token_rotated)


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
    if connection.sandbox:
        from ezeep_async.sandbox import Sandbox  # slow to import

        redirect_uri = _text_option("redirect_uri", redirect_uri) or _free_address()
        async with Sandbox(redirect_uris=(redirect_uri,), password_grant=True) as sandbox:
            scope = _text_option("scope", connection.scope) or sandbox.oauth_app.scope
            app, endpoints = attrs.evolve(sandbox.oauth_app, scope=scope), sandbox.endpoints
            yield Account(app, endpoints, _store(connection, None, app, endpoints), sandbox)
        return
    account = await asyncio.to_thread(_find, connection, redirect_uri)
    if _prompts_for_secret(connection):  # after errors in the other settings
        app = attrs.evolve(account.app, client_secret=await ask_secret("Client secret: "))
        account = attrs.evolve(account, app=app)
    try:
        yield account
    except ReauthorizationRequired as error:
        if await account.store.load() is not None:
            raise ReauthorizationRequired(
                f"{error}: run ezeep login for {account.login}", error=error.error, status=error.status
            ) from error
        raise ReauthorizationRequired("not logged in: run ezeep login") from error


def _check_together(connection: Connection) -> None:
    if connection.keyring and connection.token_file is not None:
        raise ValueError("--keyring and --token-file cannot be used together")
    names = ("client_id", "client_secret_file", *URLS)
    given = [_option(name) for name in names if getattr(connection, name) is not None]
    if connection.sandbox and given:
        raise ValueError(
            f"--sandbox has a client and addresses of its own: remove {' and '.join(given)}, or --sandbox"
        )


def _find(connection: Connection, redirect_uri: str | None) -> Account:
    from ezeep_async import Endpoints, OAuthApp, ReadOnlyTokens

    configuration = Configuration()

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
    read_only = _read_only_file(store)
    if read_only is not None:
        store = ReadOnlyTokens(read_only)
        complain(
            f"rotation cannot be persisted: the token set from {read_only} is read-only. Its access token is used until it "
            "expires, and is not refreshed"
        )
    return Account(app, endpoints, store, read_only=read_only)


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
    if kind == "keyring":
        return KeyringTokenStore(_keyring_name(app, endpoints))
    if kind not in {"", "file"}:
        raise ValueError(f"token_store must be file or keyring, not {kind!r}")
    return FileTokenStore(path) if path else FileTokenStore.for_app(app, endpoints)


def _keyring_name(app: OAuthApp, endpoints: Endpoints) -> str:
    from yarl import URL

    return f"{app.client_id} at {URL(endpoints.account).authority}"


def _free_address() -> str:
    """A redirect address with a free port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}/callback"


# --- settings ------------------------------------------------------------------------------------------------------


class Configuration:
    """Settings by name: from the environment as `EZEEP_<NAME>`, else from the file. Raises `ValueError` for a bad file.

    Messages do not show values from the file: they may be secrets. The configuration sources of cyclopts do, and they
    do not report which source a value has.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.environ = dict(os.environ if environ is None else environ)
        given = variable(self.environ, "EZEEP_CONFIG", is_path=True)
        self.path = expanded(given) if given else folder_for("config") / "config.toml"
        self._file = _read(self.path, required=given is not None)

    def get(self, name: str) -> str | None:
        """Return the value, None if it is not set."""
        return self.in_environment(name) or self._file.get(name)

    def in_environment(self, name: str) -> str | None:
        """Return the value of the environment variable, None if it is not set or empty. Raises `ValueError`."""
        return variable(self.environ, f"EZEEP_{name.upper()}", is_path=name in PATHS)


def _read(path: Path, *, required: bool) -> Mapping[str, str]:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE)
    except FileNotFoundError:
        if required:
            raise
        return {}
    try:
        values: dict[str, object] = tomllib.loads(text_of(content))
    except (ValueError, RecursionError) as error:
        # The parser's message, like that of `NotText`, contains a line number and nothing of the text.
        problem = "too many brackets" if isinstance(error, RecursionError) else str(error)
        hint = f". {_BACKSLASHES}" if isinstance(error, tomllib.TOMLDecodeError) and b"\\" in content else ""
        raise ValueError(f"{path} cannot be read: {problem}{hint}") from None
    if unknown := sorted(values.keys() - SETTINGS):
        raise ValueError(f"{path} has settings that are not known: {', '.join(unknown)}")
    if wrong := sorted(name for name, value in values.items() if not isinstance(value, str)):
        raise ValueError(f"{path}: {', '.join(wrong)} must be text, in quotes")
    return {name: _cleaned(value, name, path) for name, value in cast("dict[str, str]", values).items()}


def _cleaned(value: str, name: str, path: Path) -> str:
    if name not in PATHS:
        return cleaned(value, f"{path}: {name}")
    try:
        if value.strip():
            # Before it is cleaned: the tab at the end of "C:\t" is not white space around a path.
            refuse_control(value, f"{path}: {name}")
        clean = cleaned(value, f"{path}: {name}", is_path=True)
    except ValueError as error:
        raise ValueError(f"{error}. {_BACKSLASHES}") from None
    return str(expanded(clean, path.parent)) if clean else ""
