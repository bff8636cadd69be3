"""Scripts on a Redis server, and connections that are open only while they are used."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import attrs

from ezeep_async._runtime import forks
from ezeep_async._runtime.running_time import RunningTimeout
from ezeep_async._text.cleaning import cleaned
from ezeep_async._text.redaction import clears_locals
from ezeep_async.auth.tasks import start_self_timed
from ezeep_async.errors import TokenStoreCorrupt, TokenStoreError


if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")

RESPONSE_TIMEOUT_S = 15.0
"""Seconds for one command with all its retries."""

PROBE = """
if ARGV[1] ~= '' and redis.call('get', KEYS[2]) ~= ARGV[1] then return 'lapsed' end
redis.call('set', KEYS[3], string.rep('0', 8192), 'PX', 1000)
redis.call('del', KEYS[3])
return 'done'
"""
"""Checks that the server can be written, while the lock is held, with a key that is removed again."""

Place = tuple[int, asyncio.AbstractEventLoop]


class RedisUnusable(TokenStoreError):
    """Redis cannot be reached or refuses a command. `reason` is that part of the message."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class _Client(Protocol):
    def execute_command(self, *args: Any) -> Awaitable[Any]: ...
    def aclose(self) -> Awaitable[None]: ...


@attrs.define(eq=False)
class _Link:
    """A client for one event loop, open while it has users."""

    client: _Client
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
                "RedisTokenStore needs the package redis: pip install 'ezeep_async[redis]'"
            ) from error
        if isinstance(server, str):
            server = cleaned(server, "server")
            options = _connection_options(server)
            self._borrowed: _Client | None = None
            self._address = server
        elif not hasattr(server, "connection_pool") or not inspect.iscoroutinefunction(
            getattr(server, "execute_command", None)
        ):
            # Without the value: bytes may be an address with a password.
            raise TypeError(
                f"server is an address or a redis.asyncio.Redis, not {type(server).__module__}.{type(server).__name__}"
            )
        else:
            options = dict(server.connection_pool.connection_kwargs)
            self._borrowed = cast("_Client", server)
            self._address = ""
        self._borrowed_by: Place | None = None
        self._password = options.get("password")
        self._keys = keys
        self._links: dict[Place, _Link] = {}
        forks.watch(self)
        self.where = f"{what} in Redis at {_place(options)}"

    @property
    def lock_key(self) -> str:
        """The key of the lock. Keys of other locks begin with it."""
        return self._keys[1]

    def disown(self) -> None:
        """Detach a forked child from the connections of its parent, whose responses it would read."""
        for client in [self._borrowed, *(link.client for link in self._links.values())]:
            forks.keep_forever(client)
            for writer in _writers(client):
                forks.watch_connection(writer.transport)

    async def aclose(self) -> None:
        """Close the connection of the running event loop."""
        link = self._links.pop((os.getpid(), asyncio.get_running_loop()), None)
        if link is not None:
            await to_the_end(_close(link.client))

    @clears_locals
    async def run(
        self,
        script: str,
        *arguments: str,
        limit: float = RESPONSE_TIMEOUT_S,
        keys: Sequence[str] | None = None,
    ) -> Any:
        """Return the response of the script, as text. Raises `RedisUnusable` without a response within `limit` seconds.

        The script runs on `keys`, by default on those of the store. The command runs to its end in a separate task, because
        redis may swallow a cancellation.
        """
        return await to_the_end(self._run(script, *arguments, limit=limit, keys=keys or self._keys))

    async def _run(self, script: str, *arguments: str, limit: float, keys: Sequence[str]) -> Any:
        from redis import exceptions

        try:
            async with self.connected() as client:
                with RunningTimeout(limit):
                    return _text(await client.execute_command("EVAL", script, len(keys), *keys, *arguments))
        except UnicodeDecodeError:
            raise TokenStoreCorrupt(
                f"{self.where} is not a stored token set: move it away and log in again"
            ) from None
        except (exceptions.RedisError, OSError) as error:
            message = self._redacted(error)
            cause = error if message == str(error) else None
            if "WRONGTYPE" in message:
                raise await self._wrong_type(limit) from cause
            if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
                reason = f"Redis refuses the credentials: {message}"
            elif isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError | OSError):
                reason = f"Redis cannot be reached: {message or f'no response within {limit:g} s'}"
            else:
                reason = f"Redis refuses: {message}"
            raise RedisUnusable(f"{self.where} cannot be used: {reason}", reason) from cause

    async def connection(self) -> str:
        """Return the server's name of a connection of this process, "" if the server does not report it."""
        return await to_the_end(self._connection())

    async def _connection(self) -> str:
        from redis import exceptions

        try:
            async with self.connected() as client:
                with RunningTimeout(RESPONSE_TIMEOUT_S):
                    name = _name_of(await client.execute_command("CLIENT INFO"))
                # A copy in a forked child would keep the connection open, and this process would look suspended.
                for writer in _writers(client):
                    sock = getattr(writer.get_extra_info("socket"), "_sock", None)
                    if isinstance(sock, socket.socket):
                        forks.watch_socket(sock)
                return name
        except (exceptions.RedisError, OSError, LookupError, TypeError):  # before Redis 6.2, or forbidden
            return ""

    async def is_connected(self, connection: str) -> bool:
        """Return whether the connection is open, True if the server does not report it."""
        return await to_the_end(self._is_connected(connection))

    async def _is_connected(self, connection: str) -> bool:
        from redis import exceptions

        try:
            async with self.connected() as client:
                with RunningTimeout(RESPONSE_TIMEOUT_S):
                    number = connection.partition("@")[0]
                    found = cast("Iterable[Any]", await client.execute_command("CLIENT LIST", "ID", number))
                    return connection in [_name_of(each) for each in found]
        except (exceptions.RedisError, OSError, LookupError, TypeError):
            return True

    async def _wrong_type(self, limit: float) -> TokenStoreError:
        """Return the error for the key of another type, which Redis does not name."""
        from redis import exceptions

        stored, lock, *_ = self._keys
        with contextlib.suppress(exceptions.RedisError, OSError):
            async with self.connected() as client:
                with RunningTimeout(limit):
                    if _text(await client.execute_command("TYPE", stored)) in {"hash", "none"}:
                        return TokenStoreError(
                            f"{self.where} cannot be locked: its lock {lock!r} is a key of another type, which is not "
                            "from this store: remove it"
                        )
        return TokenStoreCorrupt(
            f"{self.where} is not a stored token set, but a key of another type: use another key"
        )

    def _redacted(self, error: Exception) -> str:
        """Return the message of Redis without the repeated arguments, which may include the password."""
        said = str(error).partition(", with args")[0]
        return said.replace(str(self._password), "***") if self._password else said

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[_Client, None]:
        place = os.getpid(), asyncio.get_running_loop()
        if self._borrowed is not None:
            if self._borrowed_by not in {None, place}:
                raise TokenStoreError(
                    f"{self.where}: the borrowed Redis client belongs to another event loop or process. Give "
                    "RedisTokenStore the address of the server instead"
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


def _from_url(address: str, **options: Any) -> Any:
    from redis import asyncio as module

    redis = cast("Any", module).Redis
    # Each new connection would read the version of redis from the disk, on the event loop, to report it to the server.
    if "driver_info" in inspect.signature(redis).parameters:
        options["driver_info"] = None
    else:
        options |= {"lib_name": None, "lib_version": None}
    return redis.from_url(address, **options)


def _client(address: str) -> _Client:
    from redis.asyncio.retry import Retry
    from redis.backoff import ExponentialWithJitterBackoff

    retry = Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 4)
    return cast("_Client", _from_url(address, socket_timeout=5.0, socket_connect_timeout=5.0, retry=retry))


def _connection_options(address: str) -> dict[str, Any]:
    """Return the options in an address. The `TokenStoreError` does not show it: it may contain a password."""
    try:
        pool = _from_url(address).connection_pool
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


def _writers(client: Any) -> list[Any]:
    """Return the stream writers of the open connections of a client. redis has no public access to them."""
    pool = getattr(client, "connection_pool", None)
    connections = [
        connection
        for name in ("_available_connections", "_in_use_connections")
        for connection in list(getattr(pool, name, ()))
    ]
    writers = (getattr(connection, "_writer", None) for connection in connections)
    return [writer for writer in writers if writer is not None]


def _name_of(client: Any) -> str:
    """Return the number and the address of a connection. A restarted server numbers from 1 again."""
    return f"{client['id']}@{client['addr']}"


def _text(response: Any) -> Any:
    """Decode a response, if the client has not."""
    if isinstance(response, bytes):
        return response.decode()
    if isinstance(response, list):
        return [_text(each) for each in cast("Iterable[Any]", response)]
    return response


async def _close(client: _Client) -> None:
    from redis.exceptions import RedisError

    with contextlib.suppress(RedisError, OSError):
        await client.aclose()


async def to_the_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine to its end, also if the caller is cancelled; then raise the cancellation."""
    process = os.getpid()
    task = start_self_timed(coroutine, "ezeep-redis")
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done() and os.getpid() == process:  # a forked child does not run the task
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if task.done() and not task.cancelled():
            task.exception()
        raise
