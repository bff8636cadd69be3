"""`Faults`: what goes wrong, when, and how often; `Hold`: requests that wait until they are let go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Literal, TypeVar

import attrs
import msgspec

from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.replies import JSON, Reply


T = TypeVar("T")
Condition = Callable[[RecordedRequest], bool]


class Closing(Exception):  # ends the waits of a sandbox that closes
    """The sandbox closes: whoever waits in it gives up."""


class Waits:
    """Everything that requests wait for inside the sandbox, so that closing it can end all of it."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False

    def future(self) -> asyncio.Future[None]:
        """Something to wait for with `wait`."""
        return asyncio.get_running_loop().create_future()

    async def wait(self, future: asyncio.Future[None]) -> None:
        """Wait until the future is done. Raises `Closing` when the sandbox closes first."""
        if self._closed:
            raise Closing
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)
        if self._closed:
            raise Closing

    async def sleep(self, seconds: float) -> None:
        """Wait for that long. Raises `Closing` when the sandbox closes first."""
        future = self.future()
        timer = asyncio.get_running_loop().call_later(seconds, finish, future)
        try:
            await self.wait(future)
        finally:
            timer.cancel()

    def close(self) -> None:
        """End all waits, and those that are yet to begin."""
        self._closed = True
        for future in self._waiting:
            finish(future)


def finish(future: asyncio.Future[None]) -> None:
    """Let whoever waits for it go on."""
    if not future.done():
        future.set_result(None)


@attrs.define(eq=False, kw_only=True)
class Fault:
    """One thing that goes wrong at one route. Made by `Faults.add`, which has the meaning of the fields."""

    route: str
    nth: int
    times: int | None
    drop: Literal["before", "after"] | None
    delay: float
    delay_after: float
    status: int | None
    retry_after: float | str | None
    body: bytes | None
    headers: Mapping[str, str]
    content_type: str | None
    processed: bool
    when: Condition | None
    forget: Callable[[Fault], None] = attrs.field(repr=False)
    calls: int = 0
    """How many calls it has looked at since it was added."""
    hits: int = 0
    """How many calls it was applied to."""

    @property
    def processes(self) -> bool:
        """Whether a request that gets that far is processed."""
        return self.processed or self.drop == "after" or self.status is None

    def due(self, request: RecordedRequest) -> bool:
        """Count a call, and say whether the fault applies to it."""
        if self.when is not None and not self.when(request):
            return False
        self.calls += 1
        return self.calls >= self.nth and (self.times is None or self.calls < self.nth + self.times)

    def answer(self, reply: Reply | None) -> Reply:
        """The answer as this fault has it: its own, or the real one with what the fault changes about it."""
        if self.status is not None:
            text = HTTPStatus(self.status).phrase if self.status in set(HTTPStatus) else "Error"
            body = msgspec.json.encode({"detail": text}) if self.body is None else self.body
            answer = Reply(status=self.status, body=body, content_type=self.content_type)
        else:
            answer = Reply() if reply is None else reply
            if self.body is not None:
                answer.body, answer.content_type = self.body, self.content_type
        answer.headers.update(self.headers)
        if self.retry_after is not None:
            answer.headers["Retry-After"] = retry_after_text(self.retry_after)
        return answer

    def remove(self) -> None:
        """Let nothing go wrong any more."""
        self.forget(self)


def retry_after_text(value: float | str) -> str:
    """The header's text: a date as it is, seconds without a needless fraction."""
    return value if isinstance(value, str) else f"{value:.10g}"


@attrs.define(eq=False, kw_only=True)
class Hold:
    """Requests that wait at one point of their way. Made by `Faults.hold`."""

    route: str
    after: bool
    times: int | None
    when: Condition | None
    forget: Callable[[Hold], None] = attrs.field(repr=False)
    count: int = 0
    """How many requests have arrived here."""
    _waiting: list[asyncio.Future[None]] = attrs.field(factory=list[asyncio.Future[None]], repr=False)
    _watchers: list[tuple[int, asyncio.Future[None]]] = attrs.field(
        factory=list[tuple[int, asyncio.Future[None]]], repr=False
    )

    async def arrived(self, n: int = 1) -> None:
        """Wait until that many requests have arrived here, gone on or not."""
        if self.count < n:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.append((n, future))
            await future

    def release(self, n: int | None = None) -> None:
        """Let all go and hold no more; or let the first `n` go, and hold the others still."""
        if n is None:
            self.forget(self)
        for future in self._waiting[:n]:
            finish(future)
        del self._waiting[:n]

    def catches(self, request: RecordedRequest) -> bool:
        """Whether that request has to wait here."""
        if self.times is not None and self.count >= self.times:
            return False
        return self.when is None or self.when(request)

    def arrive(self, future: asyncio.Future[None]) -> asyncio.Future[None]:
        """Note an arrival, which goes on when the future is done."""
        self.count += 1
        self._waiting.append(future)
        for n, watcher in self._watchers:
            if self.count >= n:
                finish(watcher)
        return future


class Faults:
    """What goes wrong at the sandbox. Routes are named as in `Sandbox.count`: "PATCH /printing/v1/users/{id}/"."""

    def __init__(self, waits: Waits, check_route: Callable[[str], str]) -> None:
        self._waits = waits
        self._check_route = check_route
        self._faults: list[Fault] = []
        self._holds: list[Hold] = []

    def add(
        self,
        route: str,
        *,
        nth: int = 1,
        times: int | None = 1,
        drop: Literal["before", "after"] | None = None,
        delay: float = 0.0,
        delay_after: float = 0.0,
        status: int | None = None,
        retry_after: float | str | None = None,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        content_type: str | None = JSON,
        processed: bool = False,
        when: Condition | None = None,
    ) -> Fault:
        """Let the calls number `nth` to `nth + times - 1` of a route go wrong, counted from now (None: all that follow).

        `drop`: the connection is cut, before the request is processed or after it. `status`: answered so without
        being processed, unless `processed`. `body`, `headers`, `retry_after` (seconds, or an HTTP date) belong to
        that answer; without a status they change the real one. `delay` and `delay_after`: seconds before and after
        the processing. `when`: only calls that it is true for count. Of two faults that are due at once the first
        one added applies; both count the call. Raises `ValueError` for a route that does not exist.
        """
        fault = Fault(
            route=self._check_route(route),
            nth=nth,
            times=times,
            drop=drop,
            delay=delay,
            delay_after=delay_after,
            status=status,
            retry_after=retry_after,
            body=body.encode() if isinstance(body, str) else body,
            headers={} if headers is None else headers,
            content_type=content_type,
            processed=processed,
            when=when,
            forget=partial(_drop, self._faults),
        )
        self._faults.append(fault)
        return fault

    def hold(
        self, route: str, *, after: bool = False, times: int | None = None, when: Condition | None = None
    ) -> Hold:
        """Make requests wait before they are processed, or `after` that and before the answer, until released.

        `times`: only so many of them; `when`: only those that it is true for. Raises `ValueError` for a route that
        does not exist.
        """
        hold = Hold(
            route=self._check_route(route),
            after=after,
            times=times,
            when=when,
            forget=partial(_drop, self._holds),
        )
        self._holds.append(hold)
        return hold

    def clear(self) -> None:
        """Remove all faults and release all holds."""
        self._faults.clear()
        for hold in list(self._holds):
            hold.release()

    def due(self, request: RecordedRequest) -> Fault | None:
        """Count a call at all faults of its route, and give the one that applies to it."""
        applies: Fault | None = None
        for fault in self._faults:
            if fault.route == request.key and fault.due(request) and applies is None:
                applies = fault
        if applies is not None:
            applies.hits += 1
        return applies

    def holding(self, request: RecordedRequest, *, after: bool) -> Awaitable[None] | None:
        """What the request has to wait for at this point of its way, if it has to."""
        for hold in self._holds:
            if hold.route == request.key and hold.after is after and hold.catches(request):
                return self._waits.wait(hold.arrive(self._waits.future()))
        return None


def _drop(items: list[T], item: T) -> None:
    if item in items:
        items.remove(item)
