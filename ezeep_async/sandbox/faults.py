"""`Faults`: scripted failures of requests; `Hold`: requests that wait until a test releases them."""

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
    """The sandbox closes while a request waits in it."""


class Waits:
    """The waits of requests inside the sandbox. Closing it ends them all."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False

    def future(self) -> asyncio.Future[None]:
        """A future for `wait`."""
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
        """End all waits, present and future ones."""
        self._closed = True
        for future in self._waiting:
            finish(future)


def finish(future: asyncio.Future[None]) -> None:
    """Wake its waiter."""
    if not future.done():
        future.set_result(None)


@attrs.define(eq=False, kw_only=True)
class Fault:
    """A scripted failure of one route. `Faults.add` creates it and documents the fields."""

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
    """Number of requests at its route since it was added, as far as `when` is true for them."""
    hits: int = 0
    """Number of requests that it was applied to."""

    @property
    def processes(self) -> bool:
        """Whether the request is processed."""
        return self.processed or self.drop == "after" or self.status is None

    def due(self, request: RecordedRequest) -> bool:
        """Count a request, and return whether the fault applies to it."""
        if self.when is not None and not self.when(request):
            return False
        self.calls += 1
        return self.calls >= self.nth and (self.times is None or self.calls < self.nth + self.times)

    def answer(self, reply: Reply | None) -> Reply:
        """The response with this fault: its own, or the real one with its changes."""
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
        """Remove the fault: it applies to no further request."""
        self.forget(self)


def retry_after_text(value: float | str) -> str:
    """The value of the header: an HTTP date unchanged, or seconds without trailing zeros."""
    return value if isinstance(value, str) else f"{value:.10g}"


@attrs.define(eq=False, kw_only=True)
class Hold:
    """Requests of one route that wait. `Faults.hold` creates it and documents the fields."""

    route: str
    after: bool
    times: int | None
    when: Condition | None
    forget: Callable[[Hold], None] = attrs.field(repr=False)
    count: int = 0
    """Number of requests that were held."""
    _waiting: list[asyncio.Future[None]] = attrs.field(factory=list[asyncio.Future[None]], repr=False)
    _watchers: list[tuple[int, asyncio.Future[None]]] = attrs.field(
        factory=list[tuple[int, asyncio.Future[None]]], repr=False
    )

    async def arrived(self, n: int = 1) -> None:
        """Wait until requests are held here.

        Args:
            n: Number of requests, including those that were released.
        """
        if self.count < n:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.append((n, future))
            await future

    def release(self, n: int | None = None) -> None:
        """Let held requests continue.

        Args:
            n: Release only the first `n`, and keep holding. None: release all, and hold no more.
        """
        if n is None:
            self.forget(self)
        for future in self._waiting[:n]:
            finish(future)
        del self._waiting[:n]

    def catches(self, request: RecordedRequest) -> bool:
        """Whether the request has to wait here."""
        if self.times is not None and self.count >= self.times:
            return False
        return self.when is None or self.when(request)

    def arrive(self, future: asyncio.Future[None]) -> asyncio.Future[None]:
        """Count a request, which continues when the future is done."""
        self.count += 1
        self._waiting.append(future)
        for n, watcher in self._watchers:
            if self.count >= n:
                finish(watcher)
        return future


class Faults:
    """The scripted failures of a sandbox: `Sandbox.faults`.

    Args:
        waits: The waits that end when the sandbox closes.
        check_route: Returns a known route unchanged, and raises `ValueError` for others.
    """

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
        """Make requests at a route fail.

        If several faults apply to a request, the one that was added first does; all of them count the request.

        Args:
            route: Method and template, such as `"PATCH /printing/v1/users/{id}/"`.
            nth: First request that fails, counted from now; 1 is the next one.
            times: Number of requests that fail. None: all from `nth` on.
            drop: Close the connection before the request is processed, or after that instead of responding.
            delay: Seconds to wait before the request is processed.
            delay_after: Seconds to wait after it was processed.
            status: Status of the response. The request is not processed, unless `processed`.
            retry_after: `Retry-After` header of the response: seconds, or an HTTP date.
            body: Body of the response. Without `status`, it replaces the body of the real response.
            headers: Further headers of the response, or of the real one without `status`.
            content_type: Content type that goes with `body` or `status`. None: no such header.
            processed: Process the request although `status` is given.
            when: Only requests for which it returns true are counted and fail.

        Returns:
            The fault, which counts its requests and can be removed.

        Raises:
            ValueError: There is no such route.
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
        """Make requests at a route wait until they are released.

        Args:
            route: Method and template, such as `"PATCH /printing/v1/users/{id}/"`.
            after: Hold the response of the processed request, instead of the request before that.
            times: Number of requests to hold. None: all.
            when: Hold only requests for which it returns true.

        Returns:
            The hold: await `arrived()`, then call `release()`.

        Raises:
            ValueError: There is no such route.
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
        """Count a request at all faults of its route, and return the one that applies to it."""
        applies: Fault | None = None
        for fault in self._faults:
            if fault.route == request.key and fault.due(request) and applies is None:
                applies = fault
        if applies is not None:
            applies.hits += 1
        return applies

    def holding(self, request: RecordedRequest, *, after: bool) -> Awaitable[None] | None:
        """What the request has to wait for before or after its processing, if it is held."""
        for hold in self._holds:
            if hold.route == request.key and hold.after is after and hold.catches(request):
                return self._waits.wait(hold.arrive(self._waits.future()))
        return None


def _drop(items: list[T], item: T) -> None:
    if item in items:
        items.remove(item)
