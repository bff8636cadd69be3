"""Scripts on a Redis server, and connections that are open only while they are used."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
from collections.abc import AsyncGenerator, Hashable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import attrs

from ezeep_async._runtime import forks
from ezeep_async._runtime.running_time import RunningTimeout
from ezeep_async._text.cleaning import cleaned
from ezeep_async._text.redaction import clears_locals
from ezeep_async.auth.stores.leased import StoreUnusable
from ezeep_async.auth.stores.threads import to_the_end
from ezeep_async.auth.tasks import retry_if_cancelled
from ezeep_async.errors import TokenStoreCorrupt, TokenStoreError


if TYPE_CHECKING:
    from redis.asyncio import Redis

RESPONSE_TIMEOUT_S = 15.0
"""Seconds for one command with all its retries."""

Place = tuple[int, asyncio.AbstractEventLoop]


@attrs.define(eq=False)
class _Link:
    """A client for one event loop, open while it has users."""

    client: Any
    users: int = 0


class RedisServer:
    """Run scripts on `keys`, on a server that is given by its address or by a borrowed client.

    The first key is the stored document, the second its lock. `where` names document and server in messages, with no more
    of the address than host, port and database.
    """

    def __init__(self, server: str | Redis, what: str, keys: tuple[str, ...]) -> None:
        try:
            import redis.asyncio as _  # noqa: F401  # fails here, not when a token set has to be stored
        except ImportError as error:
            raise ImportError(
                "sharing through Redis needs the package redis: pip install 'ezeep_async[redis]'"
            ) from error
        self._borrowed: Any = None
        self._address = ""
        if isinstance(server, str):
            self._address = cleaned(server, "server")
            options = _connection_options(self._address)
        elif hasattr(server, "connection_pool") and inspect.iscoroutinefunction(
            getattr(server, "execute_command", None)
        ):
            self._borrowed = server
            options = dict(server.connection_pool.connection_kwargs)
        else:
            # Without the value: bytes may be an address with a password.
            kind = type(server)
            raise TypeError(
                f"server must be an address or a redis.asyncio.Redis, not {kind.__module__}.{kind.__name__}"
            )
        self._borrowed_by: Place | None = None
        self._password = options.get("password")
        self._keys = keys
        self._links: dict[Place, _Link] = {}
        forks.watch(self)
        self.where = f"{what} in Redis at {_place(options)}"

    @property
    def identity(self) -> Hashable:
        """The same for objects with the same client or address."""
        return self._address if self._borrowed is None else self._borrowed

    def with_keys(self, what: str, keys: tuple[str, ...]) -> RedisServer:
        """Return the same server for other keys."""
        other = RedisServer(self._address if self._borrowed is None else self._borrowed, what, keys)
        other._borrowed_by = self._borrowed_by
        return other

    @property
    def lock_key(self) -> str:
        """The key of the lock. Keys of other locks begin with it."""
        return self._keys[1]

    def disown(self) -> None:
        """Detach a forked child from the connections of its parent, whose responses it would read."""
        for client in [self._borrowed, *(link.client for link in self._links.values())]:
            forks.keep_forever(client)
            _watch_connections(client)

    async def aclose(self) -> None:
        """Close the connection of the running event loop."""
        link = self._links.pop((os.getpid(), asyncio.get_running_loop()), None)
        if link is not None:
            await to_the_end(_close(link.client))

    @clears_locals
    async def run(self, script: str, *arguments: str, limit: float = RESPONSE_TIMEOUT_S) -> Any:
        """Return the response of the script on the keys of the store, as text.

        Raises `StoreUnusable` without a response within `limit` seconds. The command runs to its end in a separate task,
        because redis may swallow a cancellation.
        """
        return await to_the_end(self.evaluate(script, self._keys, arguments, limit))

    async def evaluate(
        self, script: str, keys: Sequence[str], arguments: Sequence[str], limit: float = RESPONSE_TIMEOUT_S
    ) -> Any:
        """`run` on other keys, for a task that nothing cancels."""
        from redis import exceptions

        try:
            return _text(await self._command("EVAL", script, len(keys), *keys, *arguments, limit=limit))
        except UnicodeDecodeError:
            raise TokenStoreCorrupt(
                f"{self.where} is not a stored token set: move it away and log in again"
            ) from None
        except (exceptions.RedisError, OSError) as error:
            message = self._redacted(error)
            if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
                reason = f"Redis refuses the credentials: {message}"
            elif isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError | OSError):
                reason = f"Redis cannot be reached: {message or f'no response within {limit:g} s'}"
            elif isinstance(error, exceptions.NoPermissionError):
                reason = f"Redis refuses the key {keys[0]!r}, which its user needs (docs/how-to/token-stores.md): {message}"
            elif "WRONGTYPE" in message:
                reason = f"its lock {self.lock_key!r} is a key of another type, which is not from this store: remove it"
            else:
                reason = f"Redis refuses: {message}"
            problem = StoreUnusable(f"{self.where} cannot be used: {reason}", reason)
            raise problem from (error if message == str(error) else None)

    async def connection(self) -> str:
        """Return the server's name of a connection of this process, "" if the server does not report it."""
        return await to_the_end(self._connection())

    async def _connection(self) -> str:
        async with self.connected() as client:
            names = await self._connection_names("CLIENT INFO")
            # A copy in a forked child would keep the connection open, and this process would look suspended.
            _watch_connections(client)
            return names[0] if names else ""

    async def is_connected(self, connection: str) -> bool:
        """Return whether the connection is open, True if the server does not report it."""
        number = connection.partition("@")[0]
        names = await to_the_end(self._connection_names("CLIENT LIST", "ID", number))
        return names is None or connection in names

    async def _connection_names(self, *command: str) -> list[str] | None:
        """Return number and address of connections, None before Redis 6.2 and where the command is forbidden.

        A restarted server numbers from 1 again.
        """
        from redis.exceptions import RedisError

        with contextlib.suppress(RedisError, OSError, LookupError, TypeError):
            found = await self._command(*command)
            clients = found if command[0] == "CLIENT LIST" else [found]
            return [f"{client['id']}@{client['addr']}" for client in clients]
        return None

    async def _command(self, *command: str | int, limit: float = RESPONSE_TIMEOUT_S) -> Any:
        async def attempt() -> Any:
            with RunningTimeout(limit):
                return await client.execute_command(*command)

        async with self.connected() as client:
            try:
                return await retry_if_cancelled(attempt)
            except asyncio.CancelledError:
                # `asyncio.run()` at its end cancels the task that `asyncio.wait_for` starts inside redis (Python 3.11).
                return await retry_if_cancelled(attempt)

    def _redacted(self, error: Exception) -> str:
        """Return the message of Redis without the repeated arguments, which may include the password."""
        said = str(error).partition(", with args")[0]
        return said.replace(str(self._password), "***") if self._password else said

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[Any]:
        """A client of this event loop, connected until its last user has left."""
        place = os.getpid(), asyncio.get_running_loop()
        if self._borrowed is not None:
            if self._borrowed_by not in {None, place}:
                raise TokenStoreError(
                    f"{self.where}: the borrowed Redis client belongs to another event loop or process. "
                    "Pass the address of the server instead"
                )
            self._borrowed_by = place
            yield self._borrowed
            return
        link = self._links.get(place)
        if link is None:
            link = self._links[place] = _Link(_client(self._address))
        link.users += 1
        try:
            yield link.client
        finally:
            link.users -= 1
            # In a forked child, the connection is the parent's.
            if place[0] == os.getpid() and not link.users and self._links.get(place) is link:
                del self._links[place]
                await to_the_end(_close(link.client))


def _client(address: str) -> Any:
    from redis import asyncio as module
    from redis.asyncio.retry import Retry
    from redis.backoff import ExponentialWithJitterBackoff

    redis = cast("Any", module).Redis
    retry = Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 4)
    options: dict[str, Any] = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0, "retry": retry}
    # Each new connection would read the version of redis from the disk, on the event loop, to report it to the server.
    if "driver_info" in inspect.signature(redis).parameters:
        options["driver_info"] = None
    else:
        options |= {"lib_name": None, "lib_version": None}
    return redis.from_url(address, **options)


def _connection_options(address: str) -> dict[str, Any]:
    """Return the options in an address. The `TokenStoreError` does not show it: it may contain a password."""
    try:
        pool = _client(address).connection_pool
        pool.make_connection()
    except (ValueError, TypeError, AttributeError):
        raise TokenStoreError(
            "the address of the Redis server is not valid: use redis://, rediss:// or unix://, percent-encode special "
            "characters in the password, and pass only options that redis.asyncio knows"
        ) from None
    return dict(pool.connection_kwargs)


def _place(options: dict[str, Any]) -> str:
    host = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    return f"{host}/{options.get('db') or 0}"


def _watch_connections(client: Any) -> None:
    """Disconnect the copies of the client's open connections in a forked child. redis has no public access to them."""
    pool = getattr(client, "connection_pool", None)
    for name in ("_available_connections", "_in_use_connections"):
        for connection in list(getattr(pool, name, ())):
            if (writer := getattr(connection, "_writer", None)) is not None:
                forks.watch_connection(writer.transport)


def _text(response: Any) -> Any:
    """Decode a response, if the client has not."""
    if isinstance(response, bytes):
        return response.decode()
    if isinstance(response, list):
        return [_text(each) for each in cast("Iterable[Any]", response)]
    return response


async def _close(client: Any) -> None:
    from redis.exceptions import RedisError

    with contextlib.suppress(RedisError, OSError):
        await client.aclose()
