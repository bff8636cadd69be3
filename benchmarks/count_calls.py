"""Count the function calls of a page and of a request, and compare them with calls.json: `nox -s calls`.

Calls of Python and C functions count, those of the SDK and of all that it uses. They are a rough measure of CPU time: work
inside one C function, such as the decoding of a page, does not show, nor does the creation of an object of a C type. But
they are the same in each run, also on a busy machine, because nothing here depends on time: connections are in memory,
and the clock of the event loop stands still.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import platform
import selectors
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from uuid import UUID

from ezeep_async import Endpoints, EzeepSession, OAuthApp, TokenSet, run_sync


NUMBERS = Path(__file__).with_name("calls.json")
UPDATE = "nox -s calls -- --update"
PACKAGES = (
    *("aiohappyeyeballs", "aiohttp", "aiosignal", "anyio", "attrs", "cattrs", "frozenlist", "msgspec"),
    *("multidict", "opentelemetry-api", "propcache", "yarl"),
)
"""Their calls count too: the session installs the versions of calls.json."""
ALLOWED = 1.05
MEASURED = 100
"""Counted operations, after as many for warming up."""
PAGE = 100
USER = UUID(int=1, version=4)
GROUPS = [UUID(int=2, version=4), UUID(int=3, version=4)]


# --- a server in memory


def response(value: object) -> bytes:
    body = json.dumps(value).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def user(user_id: UUID) -> dict[str, object]:
    flags = dict.fromkeys(("local_printing_enabled", "self_service_enabled", "myprinters_enabled"), True)
    return {"id": str(user_id), "groups": [{"group_id": str(each)} for each in GROUPS], **flags}


def page(offset: int) -> bytes:
    following = f"http://api2.ezeep.com/printing/v1/users/?limit={PAGE}&offset={offset + PAGE}"
    rows = [user(UUID(int=n << 80, version=4)) for n in range(offset, offset + PAGE)]
    return response({"count": 10**6, "next": following, "previous": None, "results": rows})


PAGES = {offset: page(offset) for offset in range(0, (2 * MEASURED + 5) * PAGE, PAGE)}
ONE = response(user(USER))


class Connection(asyncio.Transport):
    """Responds to each request in one piece, in the next iteration of the event loop."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self._received = b""
        self._is_closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._received += bytes(data)
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if end and len(body) == int(length or 0):
            self._received = b""
            target = head.split(b" ", 2)[1]
            offset = target.partition(b"offset=")[2].partition(b"&")[0]
            data = PAGES[int(offset or 0)] if b"/users/?" in target else ONE
            asyncio.get_running_loop().call_soon(self._protocol.data_received, data)

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    abort = close


async def connect(
    _: object, make: Callable[[], asyncio.Protocol], *, sock: socket.socket, **__: object
) -> tuple[asyncio.Transport, asyncio.Protocol]:
    sock.close()
    protocol = make()
    connection = Connection(protocol)
    protocol.connection_made(connection)
    return connection, protocol


def standing_clock(_: object) -> float:
    return 1000.0


class Selector(selectors.DefaultSelector):
    """Shows when its event loop has nothing left to do."""

    idle = threading.Lock()  # not an Event, whose own calls would count
    """Released by the loop that waits for events."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if (timeout is None or timeout > 0) and self.idle.locked():
            self.idle.release()
        return super().select(timeout)


# --- counting


class Calls:
    """The number of calls per operation: `done` after each of them."""

    def __init__(self) -> None:
        self._number = itertools.count()
        self._operations = 0
        self._marks: list[int] = []

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event in {"call", "c_call"} and (code.co_filename != __file__ or code is standing_clock.__code__):
            next(self._number)  # in one step, whatever another thread does

    def done(self) -> bool:
        """Whether enough operations are done."""
        self._operations += 1
        if self._operations % MEASURED == 0:
            self._marks.append(next(self._number))
        return len(self._marks) == 2

    @property
    def per_operation(self) -> int:
        before, after = self._marks
        return round((after - before - 1) / MEASURED)

    @contextmanager
    def counting(self) -> Iterator[None]:
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


def new_session(address: str) -> EzeepSession:
    tokens = TokenSet("access", "refresh", expires_at=datetime.now(UTC) + timedelta(hours=1))
    return EzeepSession(OAuthApp("client"), tokens=tokens, endpoints=Endpoints(account=address, api=address))


async def count_pages(session: EzeepSession, calls: Calls) -> None:
    row = 0
    async for _ in session.users.list(page_size=PAGE):
        row += 1
        if row % PAGE == 0 and calls.done():
            break


async def count_gets(session: EzeepSession, calls: Calls) -> None:
    while not calls.done():
        await session.users.get(USER)


async def count_set_groups(session: EzeepSession, calls: Calls) -> None:
    while not calls.done():
        await session.users.set_groups(USER, GROUPS)


def in_event_loop(work: Callable[[EzeepSession, Calls], Awaitable[None]], address: str) -> int:
    calls = Calls()

    async def main() -> None:
        async with new_session(address) as session:
            with calls.counting():
                await work(session, calls)

    asyncio.run(main())
    return calls.per_operation


def count_blocking_gets(address: str) -> int:
    calls = Calls()
    asyncio.new_event_loop = lambda: asyncio.SelectorEventLoop(Selector())
    with calls.counting(), run_sync(new_session(address)) as session:
        while not calls.done():
            Selector.idle.acquire(blocking=False)
            session.users.get(USER)
            # Each call meets an event loop that waits: one that is still busy makes fewer calls.
            if not Selector.idle.acquire(timeout=30):
                raise TimeoutError("the background event loop does not become idle")
    return calls.per_operation


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description="Function calls of a page and of a request.")
    parser.add_argument("--update", action="store_true", help=f"write the numbers to {NUMBERS.name}")
    update = parser.parse_args().update

    asyncio.BaseEventLoop.create_connection = connect
    asyncio.BaseEventLoop.time = standing_clock
    gc.disable()  # its finalizers are calls, at any time
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        counted = {
            "page of 100 users": in_event_loop(count_pages, address),
            "get": in_event_loop(count_gets, address),
            "set_groups": in_event_loop(count_set_groups, address),
            "blocking get": count_blocking_gets(address),
        }
    python = ".".join(platform.python_version_tuple()[:2])
    if update:
        numbers = {
            "python": python,
            "packages": {name: installed(name) for name in PACKAGES},
            "calls": counted,
        }
        NUMBERS.write_text(json.dumps(numbers, indent=2) + "\n")
    numbers = json.loads(NUMBERS.read_text())
    for name, calls in counted.items():
        known = numbers["calls"][name]
        print(f"{name:18} {calls:5} calls, {known:5} in {NUMBERS.name}: {calls / known - 1:+.1%}")
    used = {name: installed(name) for name in numbers["packages"]}
    if (python, used) != (numbers["python"], numbers["packages"]):
        print(
            f"not compared: {NUMBERS.name} is for Python {numbers['python']} and its packages. Run `nox -s calls`"
        )
    elif more := [name for name in counted if counted[name] > numbers["calls"][name] * ALLOWED]:
        sys.exit(f"{' and '.join(more)}: more than {ALLOWED - 1:.0%} above. If it has to be so: {UPDATE}")


if __name__ == "__main__":
    main()
