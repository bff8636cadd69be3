"""`Faults`: scripted failures of requests; `Hold`: requests that wait until a test releases them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from http.client import responses
from typing import Literal, TypedDict, Unpack

import attrs
from aiohttp import web

from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.replies import JSON, encode, storage_error
from ezeep_async.sandbox.scripts import Script


Condition = Callable[[RecordedRequest], bool]


class Effect(TypedDict, total=False):
    """What a fault does to a request. `Faults.add` documents the keys."""

    drop: Literal["upload", "before", "after"] | None
    delay: float
    delay_after: float
    status: int | None
    retry_after: float | str | None
    body: bytes | str | None
    headers: Mapping[str, str] | None
    content_type: str | None
    processed: bool
    code: int


@attrs.define(eq=False, kw_only=True)
class _Script(Script[RecordedRequest]):
    """Which requests a fault or a hold applies to."""

    route: str

    def _is_for(self, each: RecordedRequest) -> bool:
        return self.route == each.key


@attrs.define(eq=False, kw_only=True)
class Fault(_Script):
    """A scripted failure of one route, from `Faults.add`. It counts its requests: `calls`, `hits`."""

    effect: Effect

    @property
    def interrupts_upload(self) -> bool:
        """Whether it closes the connection before the body is read."""
        return self.effect.get("drop") == "upload"

    def respond(self, request: RecordedRequest, response: web.Response | None) -> web.Response:
        """The response with this fault: its own, or the real one with its changes."""
        effect = self.effect
        status, body = effect.get("status"), effect.get("body")
        if response is None or status is not None:
            response = web.Response(status=status or 200)
            phrase = responses.get(response.status, "Error")
            if body is None and request.host == "blobs":
                response = storage_error(response.status, phrase.title().replace(" ", ""), phrase)
            elif body is None and (code := effect.get("code")) is not None:
                body = encode({"code": code, "message": f"Error {code}."})
            elif body is None:
                body = encode({"detail": phrase})
        if body is not None:
            response.body = body.encode() if isinstance(body, str) else body
            response.headers.popall("Content-Type", None)
            if (content_type := effect.get("content_type", JSON)) is not None:
                response.headers["Content-Type"] = content_type
        response.headers.update(effect.get("headers") or {})
        if (retry_after := effect.get("retry_after")) is not None:
            response.headers["Retry-After"] = retry_after_text(retry_after)
        return response


def retry_after_text(value: float | str) -> str:
    """The value of the header: an HTTP date unchanged, or seconds without trailing zeros."""
    return value if isinstance(value, str) else f"{value:.10g}"


@attrs.define(eq=False, kw_only=True)
class Hold(_Script):
    """Requests of one route that wait, from `Faults.hold`."""

    after: bool
    _waiting: list[asyncio.Event] = attrs.field(factory=list[asyncio.Event], repr=False)
    _arrival: asyncio.Event = attrs.field(factory=asyncio.Event, repr=False)

    @property
    def count(self) -> int:
        """Number of requests that were held."""
        return self.hits

    async def arrived(self, n: int = 1) -> None:
        """Wait until requests are held here.

        Args:
            n: Number of requests, including those that were released.
        """
        while self.hits < n:
            await self._arrival.wait()

    def release(self, n: int | None = None) -> None:
        """Let held requests continue.

        Args:
            n: Release only the first `n`, and keep holding. None: release all, and hold no more.
        """
        if n is None:
            self.remove()
        for event in self._waiting[:n]:
            event.set()
        del self._waiting[:n]

    async def wait(self) -> None:
        """Hold a request."""
        self.hits += 1
        released = asyncio.Event()
        self._waiting.append(released)
        self._arrival.set()
        self._arrival.clear()
        await released.wait()


class Faults:
    """The scripted failures of a sandbox: `Sandbox.faults`.

    Args:
        check_route: Returns a known route unchanged, and raises `ValueError` for others.
        make_hold: Creates a `Hold` from its fields.
    """

    def __init__(self, check_route: Callable[[str], str], make_hold: Callable[..., Hold] = Hold) -> None:
        self._check_route = check_route
        self._make_hold = make_hold
        self._faults: list[Fault] = []
        self._holds: list[Hold] = []

    def add(
        self,
        route: str,
        *,
        nth: int = 1,
        times: int | None = 1,
        when: Condition | None = None,
        **effect: Unpack[Effect],
    ) -> Fault:
        """Make requests at a route fail.

        If several faults apply to a request, the one that was added first does; all of them count the request.

        Args:
            route: Method and template, such as `"PATCH /printing/v1/users/{id}/"`.
            nth: First request that fails, counted from now; 1 is the next one.
            times: Number of requests that fail. None: all from `nth` on.
            when: Only requests for which it returns true are counted and fail.
            **effect: What happens to them:
                `drop`: Close the connection `"before"` the request is processed, or `"after"` that instead of
                responding; with `"upload"` already before its body is read. Such requests have no body for `when`.
                `delay`: Seconds to wait before the request is processed.
                `delay_after`: Seconds to wait after it was processed.
                `status`: Status of the response. The request is not processed, unless `processed`.
                `retry_after`: `Retry-After` header of the response: seconds, or an HTTP date.
                `body`: Body of the response. Without `status`, it replaces the body of the real response.
                `headers`: Further headers of the response, or of the real one without `status`.
                `content_type`: Content type that goes with `body` or `status`; default JSON. None: no such header.
                `processed`: Process the request although `status` is given.
                `code`: Error code of the print API in the body. Its `status` is 400 by default.

        Returns:
            The fault, which counts its requests and can be removed.

        Raises:
            TypeError: There is no such effect.
            ValueError: There is no such route.
        """
        if unknown := effect.keys() - Effect.__annotations__.keys():
            raise TypeError(
                f"a fault has no {', '.join(sorted(unknown))}: the effects are {', '.join(Effect.__annotations__)}"
            )
        if "code" in effect:
            effect = {"status": 400, **effect}
        fault = Fault(
            route=self._check_route(route),
            nth=nth,
            times=times,
            when=when,
            effect=effect,
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
        hold = self._make_hold(route=self._check_route(route), after=after, times=times, when=when)
        self._holds.append(hold)
        return hold

    @property
    def pending(self) -> list[Fault]:
        """The faults that still apply to a coming request."""
        return [fault for fault in self._faults if fault.is_pending]

    def clear(self) -> None:
        """Remove all faults and release all holds."""
        self._faults.clear()
        for hold in self._holds:
            hold.release()
        self._holds.clear()

    def interrupts(self, request: RecordedRequest) -> bool:
        """Whether the connection of a request is to be closed before its body is read."""
        due = [fault for fault in self._faults if fault.interrupts_upload and fault.counts(request)]
        if due:
            due[0].hits += 1
        return bool(due)

    async def apply(
        self, request: RecordedRequest, process: Callable[[], web.Response], latency: float
    ) -> web.Response | None:
        """The response of a request, processed or not; None: its connection is to be closed."""
        due = [fault for fault in self._faults if not fault.interrupts_upload and fault.counts(request)]
        fault = due[0] if due else None
        effect = Effect() if fault is None else fault.effect
        if fault is not None:
            fault.hits += 1
        await self._hold(request, after=False)
        if (delay := effect.get("delay", 0.0)) > 0:
            await asyncio.sleep(delay)
        drop = effect.get("drop")
        if drop == "before":
            return None
        if latency > 0:
            await asyncio.sleep(latency)
        response = None
        if effect.get("status") is None or effect.get("processed", False) or drop == "after":
            response = process()  # not interrupted by a client that disconnects
        if (delay := effect.get("delay_after", 0.0)) > 0:
            await asyncio.sleep(delay)
        await self._hold(request, after=True)
        if drop == "after":
            return None
        return response if fault is None else fault.respond(request, response)

    async def _hold(self, request: RecordedRequest, *, after: bool) -> None:
        for hold in self._holds:
            if hold.after is after and hold.counts(request):
                await hold.wait()
                return
