"""`ezeep sandbox`: a sandbox in the foreground, for the other commands."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from ezeep_async import TokenStoreCorrupt, TokenStoreError
from ezeep_async.cli.connection import AtLeastOne
from ezeep_async.cli.signals import cancel_on_signals
from ezeep_async.cli.terminal.output import complain, write_document, write_error


if TYPE_CHECKING:
    from ezeep_async import FileTokenStore
    from ezeep_async.sandbox import Sandbox


Users = Annotated[AtLeastOne, Parameter(help="Number of users in the organization.")]
Seed = Annotated[
    int,
    Parameter(help="Seed of the generated records. Another number generates another organization."),
]
Port = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=65535 - 3))]
Seconds = Annotated[float, Parameter(validator=validators.Number(gte=0))]


async def sandbox(
    *,
    token_file: Path | None = None,
    port: Port | None = None,
    redirect_uri: Annotated[list[str] | None, Parameter(negative=())] = None,
    users: Users = 134,
    groups: AtLeastOne = 13,
    printers: AtLeastOne = 4,
    seed: Seed = 0,
    expires_in: Seconds = 3600.0,
    job_seconds: Seconds = 1.0,
    latency: Seconds = 0.0,
) -> None:
    """Run a sandbox on loopback until Ctrl-C, and print the environment variables for it.

    A page at EZEEP_ACCOUNT_URL shows groups, printers, printed documents and requests, and has buttons for faults.

    Args:
        token_file: Store tokens of the admin in this file. It is deleted when the sandbox ends.
        port: First of four consecutive ports: accounts, management, printing, uploads. Without it they are free ones.
        redirect_uri: Redirect address of the client; http://127.0.0.1:8400/callback without it. May be repeated.
        groups: Number of groups in the organization.
        printers: Number of printers in the organization.
        expires_in: Lifetime of access tokens, in seconds.
        job_seconds: Seconds that a print job takes.
        latency: Seconds that each request with an access token takes.
    """
    cancel_on_signals()
    from ezeep_async.sandbox import BehaviourOptions, Sandbox  # slow to import

    options = BehaviourOptions(
        page=True, port=port or 0, expires_in=expires_in, job_seconds=job_seconds, latency=latency
    )
    if redirect_uri:
        options["redirect_uris"] = tuple(redirect_uri)
    async with (
        Sandbox(users=users, groups=groups, printers=printers, seed=seed, **options) as server,
        _tokens(server, token_file) as path,
    ):
        environment = {
            "EZEEP_CLIENT_ID": server.oauth_app.client_id,
            "EZEEP_REDIRECT_URI": server.oauth_app.redirect_uri or "",
            "EZEEP_ACCOUNT_URL": server.endpoints.account,
            "EZEEP_API_URL": server.endpoints.api,
            "EZEEP_PRINT_URL": server.endpoints.print,
        }
        if path is not None:
            environment["EZEEP_TOKEN_FILE"] = str(path)
        lines = assignments(environment)
        lines.append(f"# a page for people: {server.endpoints.account}/\n")
        write_document("".join(lines))
        write_error("serving until Ctrl-C\n")
        await asyncio.Event().wait()


def assignments(environment: Mapping[str, str], platform: str = sys.platform) -> list[str]:
    """Return a line for each variable that sets it in a shell of the platform: PowerShell on Windows, else a POSIX shell."""
    if platform == "win32":
        quoted = {name: value.replace("'", "''") for name, value in environment.items()}
        return [f"$env:{name} = '{value}'\n" for name, value in quoted.items()]
    return [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]


@asynccontextmanager
async def _tokens(server: Sandbox, token_file: Path | None) -> AsyncGenerator[Path | None]:
    """Store tokens of the admin in the file while the sandbox runs."""
    if token_file is None:
        yield None
        return
    from ezeep_async import FileTokenStore

    store = await asyncio.to_thread(FileTokenStore, str(token_file))
    store.bind(server.oauth_app.client_id, server.endpoints.account)
    await check_token_file(store)
    async with store.lock():
        await store.save(server.tokens(scope=" ".join(server.behaviour.scopes)))
    try:
        yield store.path
    finally:
        try:
            async with store.lock():
                await store.load()
                await store.clear()
        except TokenStoreError as error:
            # Without a cause, the file contains other tokens, which stay.
            if error.__cause__ is not None:
                complain(f"{store.path} is still there: {error}")


async def check_token_file(store: FileTokenStore) -> None:
    """Raise `TokenStoreError` for a file that contains other tokens, which must not be replaced."""
    try:
        async with store.lock():
            await store.load()
    except TokenStoreError as error:
        # The other cases: a file that is damaged, and one that the system does not let us read.
        if isinstance(error, TokenStoreCorrupt) or error.__cause__ is not None:
            raise
        raise TokenStoreError(
            f"{error} (every sandbox has an address of its own: give --token-file a file that does not exist yet)"
        ) from error
