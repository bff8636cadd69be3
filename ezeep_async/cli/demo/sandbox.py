"""`ezeep sandbox`: the sandbox in the foreground, for the other commands to be tried against."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from ezeep_async._text.cleaning import cleaned_path
from ezeep_async.auth.stores.file import FileTokenStore
from ezeep_async.auth.stores.paths import expanded
from ezeep_async.cli.options import AtLeastOne
from ezeep_async.cli.signals import cancel_on_signals
from ezeep_async.cli.terminal.output import complain, write_document, write_error
from ezeep_async.errors import TokenStoreCorrupt, TokenStoreError
from ezeep_async.sandbox.server import Sandbox


async def sandbox(
    *, token_file: Path | None = None, users: AtLeastOne = 134, groups: AtLeastOne = 13, seed: int = 0
) -> None:
    """Serve a sandbox on loopback until Ctrl-C, and print the environment with which to use it.

    Parameters
    ----------
    token_file
        Keep a login in this file. It ends with the sandbox, and then the file goes.
    users
        How many users the organization has.
    groups
        How many groups the organization has.
    seed
        Another number is another organization.
    """
    cancel_on_signals()
    async with (
        Sandbox(users=users, groups=groups, seed=seed) as server,
        _login(server, token_file) as path,
    ):
        lines = (
            f"export {name}={shlex.quote(value)}\n" for name, value in _environment(server, path).items()
        )
        write_document("".join(lines))
        write_error("serving until Ctrl-C\n")
        await asyncio.Event().wait()


def _environment(server: Sandbox, token_file: Path | None) -> Mapping[str, str]:
    environment = {
        "EZEEP_CLIENT_ID": server.oauth_app.client_id,
        "EZEEP_REDIRECT_URI": server.oauth_app.redirect_uri or "",
        "EZEEP_ACCOUNT_URL": server.endpoints.account,
        "EZEEP_API_URL": server.endpoints.api,
    }
    if token_file is not None:
        environment["EZEEP_TOKEN_FILE"] = str(token_file)
    return environment


@asynccontextmanager
async def _login(server: Sandbox, token_file: Path | None) -> AsyncGenerator[Path | None]:
    """A login of the admin in the file, for as long as the sandbox is there."""
    if token_file is None:
        yield None
        return
    path = await asyncio.to_thread(_absolute, token_file)
    store = FileTokenStore(path)
    store.bind(server.oauth_app.client_id, server.endpoints.account)
    await check_token_file(store)
    async with store.lock():
        await store.save(server.tokens())
    try:
        yield path
    finally:
        try:
            async with store.lock():
                await store.load()
                await store.clear()
        except TokenStoreError as error:
            # What somebody else put there in the meantime is theirs. What the system refuses is left behind.
            if error.__cause__ is not None:
                complain(f"{path} is still there: {error}")


def _absolute(path: Path) -> Path:
    """The second terminal may be in another folder. A link stays one: the store knows about them."""
    return expanded(cleaned_path(str(path), "--token-file"))


async def check_token_file(store: FileTokenStore) -> None:
    """Raise `TokenStoreError` for a file that holds another login, which is not ours to replace."""
    try:
        async with store.lock():
            await store.load()
    except TokenStoreError as error:
        if (
            isinstance(error, TokenStoreCorrupt) or error.__cause__ is not None
        ):  # unreadable, by the system's word
            raise
        raise TokenStoreError(
            f"{error} (every sandbox has an address of its own: give --token-file a file that does not exist yet)"
        ) from error
