"""Token stores of other projects, done right."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

from ezeep_async import (
    TokenPersistError,
    TokenSet,
    TokenStoreError,
)
from ezeep_async.auth.stores.document import parsed, tokens_in, with_tokens


class Shelf:
    """A store of another project, done right: the login is JSON in a place that several stores know."""

    def __init__(self, place: SimpleNamespace) -> None:
        self.place = place
        self.owner: tuple[str, str] | None = None

    def bind(self, client_id: str, account: str) -> None:
        if self.owner not in {None, (client_id, account)}:
            raise TokenStoreError("bound to another client")
        self.owner = client_id, account

    async def load(self) -> TokenSet | None:
        if self.place.owner is not None and self.owner not in {None, self.place.owner}:
            raise TokenStoreError("the login of another client")
        return None if self.place.text is None else tokens_in(parsed(self.place.text, "shelf"), "shelf")

    async def save(self, tokens: TokenSet, /) -> None:
        await self.load()
        self.place.text = json.dumps(with_tokens({}, tokens, None))
        self.place.owner = self.owner

    async def clear(self) -> None:
        self.place.text = self.place.owner = None

    async def check_writable(self) -> None:
        pass

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        await self.acquire()
        try:
            yield
        finally:
            self.place.lock.release()

    def shared_locks(self) -> ShelfLocks:
        return ShelfLocks(self.place.names)

    async def acquire(self) -> None:
        while not self.place.lock.acquire(blocking=False):
            await asyncio.sleep(0.001)


class ShelfLocks:
    """Shared locks: the names that are held, in a set that all stores of the place know."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    @asynccontextmanager
    async def hold(self, name: str, /) -> AsyncIterator[None]:
        while name in self.names:
            await asyncio.sleep(0.001)
        self.names.add(name)
        try:
            yield
        finally:
            self.names.discard(name)

    async def aclose(self) -> None:
        pass


def shelves(kind: type[Shelf]) -> Callable[[], Shelf]:
    place = SimpleNamespace(
        text=None, owner=None, lock=threading.Lock(), queue=deque(), held=False, names=set()
    )
    return lambda: kind(place)


def in_the_way(path: Path) -> None:
    """Nothing can be stored in that file any more, not even by root."""
    path.unlink()
    path.mkdir()


class Vault:
    """A read-only store of another project, done right, and with no `bind`."""

    def __init__(self, box: list[TokenSet]) -> None:
        self.box = box

    async def load(self) -> TokenSet | None:
        return self.box[-1] if self.box else None

    async def save(self, tokens: TokenSet, /) -> None:
        raise TokenPersistError("read-only")

    async def clear(self) -> None:
        pass

    async def check_writable(self) -> None:
        raise TokenStoreError("read-only")

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        yield
