"""`Sandbox`: HTTP servers on loopback, and a record of the requests that they received."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any, Self, Unpack, cast
from uuid import UUID, uuid4

from aiohttp import web
from multidict import CIMultiDict

from ezeep_async._text.cleaning import check_kind
from ezeep_async.auth.app import OAuthApp
from ezeep_async.auth.tokens import TokenSet
from ezeep_async.sandbox.behaviour import Behaviour, BehaviourOptions, Clock
from ezeep_async.sandbox.decisions import Decisions
from ezeep_async.sandbox.delivery import deliver_when_ended
from ezeep_async.sandbox.faults import Faults, retry_after_text
from ezeep_async.sandbox.handlers import consent, storage, token_endpoint
from ezeep_async.sandbox.handlers.routes import State
from ezeep_async.sandbox.handlers.storage import LARGEST_BLOB
from ezeep_async.sandbox.page import serving as page
from ezeep_async.sandbox.rate_limits import RateLimits
from ezeep_async.sandbox.records import DESCRIPTION_PATH, Host, RecordedRequest
from ezeep_async.sandbox.replies import Refused, method_not_allowed, refused, storage_error
from ezeep_async.sandbox.routing import ROUTES, template_of
from ezeep_async.sandbox.state.administration import Administration
from ezeep_async.sandbox.state.jobs import Printed, SandboxJob
from ezeep_async.sandbox.state.organization import Organization, Person
from ezeep_async.sandbox.state.printers import example_printers
from ezeep_async.sandbox.state.printing import Printing
from ezeep_async.sandbox.state.seeding import populate
from ezeep_async.sandbox.state.storage import Storage
from ezeep_async.sandbox.state.webhooks import Webhooks
from ezeep_async.sandbox.tokens import Grants
from ezeep_async.settings import Endpoints


_NOT_ALLOWED = {"blobs": storage.method_not_allowed}
_OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
"""A request for any other host comes from a page whose name was pointed at this machine (DNS rebinding)."""
_CLOSE_TIMEOUT_S = 0.2
"""Seconds that closing waits for responses that are being sent."""


class Sandbox(Decisions):
    """Serve the ezeep API on loopback, with its own organization, in the event loop of the caller.

    Open it once, with `async with`. The same arguments give the same organization, ids included.

    Args:
        users: Number of printing users, 0 or more. The first one is the admin.
        groups: Number of groups, 0 or more.
        printers: Number of printers, 0 or more. The second one is a queue for pull printing.
        seed: Seed of all ids, names and memberships.
        **behaviour: Fields of `Behaviour`. The attribute `behaviour` changes them later.

    Raises:
        TypeError: An argument is of another type, or there is no such field.
        ValueError: `users`, `groups` or `printers` is negative.
    """

    def __init__(
        self,
        *,
        users: int = 134,
        groups: int = 13,
        printers: int = 4,
        seed: int = 0,
        **behaviour: Unpack[BehaviourOptions],
    ) -> None:
        given = {"users": users, "groups": groups, "printers": printers, "seed": seed}
        for name, value in given.items():
            check_kind(value, int, name, "a whole number")
            if name != "seed" and value < 0:
                raise ValueError(f"{name} must be a whole number from 0 up, not {value}")
        self.behaviour = Behaviour(**behaviour)
        self.clock = Clock()
        self.organization = Organization(seed)
        populate(self.organization, users=users, groups=groups)
        self.requests: list[RecordedRequest] = []
        """All requests, in order of arrival."""
        self._limits = RateLimits(self.behaviour)
        self.peaks = self._limits.peaks
        """Largest number of concurrent requests at each host."""
        self.faults = Faults(self._known_route)
        """Scripted failures and holds."""
        self._grants = Grants(self.behaviour, self.clock)
        self._state = State(
            self.organization,
            self.behaviour,
            self.clock,
            self._grants,
            Printing(self.organization, self.behaviour, self.clock),
            Storage(self.behaviour, self.clock),
            Webhooks(),
            lambda: self.endpoints,
        )
        for printer_name, fields in example_printers(printers):
            self.printing.add_printer(printer_name, **fields)
        self.printing.on_job = self._deliver
        self._runners: list[web.ServerRunner] = []
        self._ports: dict[Host, int] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    # --- opening and closing

    async def __aenter__(self) -> Self:
        if self._ports:
            raise RuntimeError("a Sandbox can be opened once: create another one")
        try:
            for number, host in enumerate(ROUTES):
                port = self.behaviour.port + number if self.behaviour.port else 0
                server = web.Server(partial(self._handle, host), access_log=None)
                runner = web.ServerRunner(server, shutdown_timeout=_CLOSE_TIMEOUT_S)
                self._runners.append(runner)
                await runner.setup()
                # The backlog is for tests that begin with thousands of connections at once.
                try:
                    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
                except OSError as error:
                    raise self._unusable(port, error) if port else error from None
                self._ports[host] = int(runner.addresses[0][1])
            self.storage.origin = self._origin("blobs")
        except BaseException:
            await self.aclose()
            raise
        return self

    def _unusable(self, port: int, error: OSError) -> OSError:
        """Name the port, and what to do, in place of the words of the event loop."""
        if error.errno == errno.EADDRINUSE:
            named = OSError(
                f"127.0.0.1, port {port} is in use by another program. Choose another port: a sandbox uses four in a row"
            )
        else:
            named = OSError(
                f"127.0.0.1, port {port} cannot be used: {os.strerror(error.errno or 0)}. Choose another port"
            )
        named.errno = error.errno
        return named

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        # An error of the caller is more useful than the complaint of `aclose`.
        with suppress(*[AssertionError] if error is not None else []):
            await self.aclose()

    async def aclose(self) -> None:
        """Close all servers, and the connections of requests that are held or delayed.

        Raises:
            AssertionError: The storage host received credentials: see `Storage.leaks`.
        """
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._runners:
            await self._runners.pop().cleanup()
        # Closed transports release their sockets in the next rounds of the loop.
        for _ in range(3):
            await asyncio.sleep(0)
        if self.storage.leaks:
            raise AssertionError(
                f"the storage host received credentials, which belong to other hosts: {self.storage.leaks}. "
                "If a test expects that, it calls sandbox.storage.leaks.clear()"
            )

    @property
    def endpoints(self) -> Endpoints:
        """The addresses of the three hosts, which differ in their port. The storage host has one of its own.

        Raises:
            RuntimeError: The sandbox is not open.
        """
        return Endpoints(
            account=self._origin("account"), api=self._origin("api"), print=self._origin("print")
        )

    def _origin(self, host: Host) -> str:
        if host not in self._ports:
            raise RuntimeError("the Sandbox is not open: use `async with Sandbox() as sandbox`")
        return f"http://127.0.0.1:{self._ports[host]}"

    # --- its parts

    @property
    def printing(self) -> Printing:
        """Printers, uploads and jobs."""
        return self._state.printing

    @property
    def storage(self) -> Storage:
        """The blob storage that documents are uploaded to."""
        return self._state.storage

    @property
    def webhooks(self) -> Webhooks:
        """Webhook endpoints, and what was delivered to them."""
        return self._state.webhooks

    @property
    def administration(self) -> Administration:
        """Connectors, drivers and reports."""
        return self._state.administration

    @property
    def page_token(self) -> str:
        """The value that a form of the page for people must have."""
        return self._state.page_token

    @property
    def printed(self) -> list[Printed]:
        """The documents of all Print requests that created a job, in order; also those in a queue."""
        return self.printing.printed

    # --- tokens

    @property
    def oauth_app(self) -> OAuthApp:
        """The registered client, with the first of its redirect URIs."""
        uris = self.behaviour.redirect_uris
        return OAuthApp(token_endpoint.CLIENT_ID, self.behaviour.client_secret, uris[0] if uris else None)

    def tokens(self, user_id: UUID | None = None, scope: str = "printing") -> TokenSet:
        """Issue a new token set.

        Args:
            user_id: The person who owns it. Default: the admin.
            scope: Its scopes, separated by spaces.

        Returns:
            A token set of a new token family.

        Raises:
            KeyError: There is no such person.
        """
        owner = self.organization.admin_id if user_id is None else user_id
        return self._grants.issue(self.organization.people[owner].id, scope)

    def expire_access_tokens(self) -> None:
        """Expire all access tokens that were issued so far: requests with them get a 401. Refresh tokens stay valid."""
        self._grants.expire_access_tokens()

    def end_logins(self) -> None:
        """End all logins that were made so far: their access tokens and refresh tokens are refused. A new login works."""
        self._grants.end_all()

    # --- recorded requests

    def count(self, route: str) -> int:
        """Return the number of requests at a route, including dropped and redirected ones.

        Args:
            route: Method and template, such as `"PATCH /printing/v1/users/{id}/"`.

        Returns:
            The number since the sandbox was opened, or since `reset_counts`.

        Raises:
            ValueError: There is no such route.
        """
        key = self._known_route(route)
        return sum(request.key == key for request in self.requests)

    @property
    def counts(self) -> Counter[str]:
        """Number of requests by route: method and template."""
        return Counter(request.key for request in self.requests if request.key is not None)

    @property
    def unknown_routes(self) -> Counter[str]:
        """Number of requests by method and path, for paths that do not exist."""
        return Counter(f"{request.method} {request.path}" for request in self.requests if request.key is None)

    @property
    def peak_parallel(self) -> int:
        """Largest number of concurrent requests at the management API."""
        return self.peaks["api"]

    @peak_parallel.setter
    def peak_parallel(self, peak: int) -> None:
        self.peaks["api"] = peak

    @property
    def refresh_requests(self) -> int:
        """Number of token requests with `grant_type=refresh_token`."""
        return sum(request.grant_type == "refresh_token" for request in self.requests)

    @property
    def refreshes(self) -> int:
        """Number of refresh grants that rotated a token."""
        return self._grants.refreshes

    def reset_counts(self) -> None:
        """Reset all recorded requests and counts. Tokens, faults and the organization do not change."""
        self.requests.clear()
        self.peaks.clear()
        self._grants.refreshes = 0

    def _known_route(self, key: str) -> str:
        method, _, template = key.partition(" ")
        if not method.isupper() or not any(template in routes for routes in ROUTES.values()):
            raise ValueError(
                f"there is no route {key!r}: give a method and a template, such as 'GET /v1/users/{{id}}/'"
            )
        return key

    # --- requests

    def _deliver(self, job: SandboxJob) -> None:
        """Deliver the event of a job when it has ended, if there is an endpoint."""
        if self.webhooks.endpoints:
            task = asyncio.get_running_loop().create_task(deliver_when_ended(job, self.webhooks))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _handle(self, host: Host, request: web.BaseRequest) -> web.StreamResponse:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._tasks.add(task)
        try:
            addressed = self._is_addressed(host, request)
            if host == "account" and addressed and self.behaviour.page and page.is_page(request.path):
                return await page.respond(self, request)
            record = RecordedRequest(
                method=request.method,
                host=host,
                path=request.path,
                query=dict(request.query),
                route=template_of(host, request.path),
                headers=CIMultiDict(request.headers),
            )
            if addressed and self.faults.interrupts(record):
                self.requests.append(record)
                return _disconnect(request)
            await self._read(request, record)
            if not addressed:
                text = f"Misdirected request: this is the sandbox at {self._origin(host)}."
                return web.Response(status=421, text=text)
            self.requests.append(record)
            if host == "blobs" and self._grants.occur_in(record):
                self.storage.leaks.append(record)
            return await self._limit(request, record)
        except ConnectionError:  # the client disconnected
            return _disconnect(request)
        finally:
            self._tasks.discard(task)

    def _is_addressed(self, host: Host, request: web.BaseRequest) -> bool:
        """Whether a request names this server, and no other one, as its host."""
        own = [f"{name}:{self._ports[host]}" for name in _OWN_NAMES]
        header = request.headers.get("Host", "").lower()
        # The request line may have a host as well.
        return header in own and (request.host == header or request.url.host_port_subcomponent in own)

    async def _read(self, request: web.BaseRequest, record: RecordedRequest) -> None:
        """Read the body, or count it where it is not kept."""
        if record.host != "blobs":
            record.body = await request.read()
            record.size = len(record.body)
            return
        keep = self.behaviour.keep_documents or record.query.get("comp") == "blocklist"
        body = bytearray()
        async for chunk in request.content.iter_any():
            record.size += len(chunk)
            if keep and record.size <= LARGEST_BLOB:
                body += chunk
        record.body = bytes(body)

    async def _limit(self, request: web.BaseRequest, record: RecordedRequest) -> web.StreamResponse:
        """Serve a request, or refuse it if it is one too many at a host with a rate limit."""
        if not self._limits.admit(record.host):
            seconds = self.behaviour.retry_after
            headers = {} if seconds is None else {"Retry-After": retry_after_text(seconds)}
            error = refused(429, self.behaviour.rate_limit_error, headers)
            return _respond(request, record, error.response)
        try:
            return await self._serve(request, record)
        finally:
            self._limits.finished(record.host)

    async def _serve(self, request: web.BaseRequest, record: RecordedRequest) -> web.StreamResponse:
        latency = self.behaviour.latency if _is_protected(record) else 0.0
        response = await self.faults.apply(record, partial(self._process, request, record), latency)
        return _disconnect(request) if response is None else _respond(request, record, response)

    def _process(self, request: web.BaseRequest, record: RecordedRequest) -> web.Response:
        if record.route is None and record.host == "blobs":
            return storage_error(400, "InvalidUri", "The request URI is invalid.")
        if record.route is None:
            return consent.message_page("Not found", "There is no such page.", 404)
        has_slash = record.host in {"account", "api"} and record.route.endswith("/")
        if has_slash and not record.path.endswith("/"):
            url = request.rel_url
            query = f"?{url.raw_query_string}" if url.raw_query_string else ""
            return web.Response(
                status=301, headers={"Location": f"http://{request.host}{url.raw_path}/{query}"}
            )
        try:
            caller = [self._owner(record)] if _is_protected(record) else []
            handlers = ROUTES[record.host][record.route]
            if record.method not in handlers:
                raise _NOT_ALLOWED.get(record.host, method_not_allowed)(record.method, handlers)
            return handlers[record.method](self._state, record, *caller)
        except Refused as error:
            return error.response

    def _owner(self, record: RecordedRequest) -> Person:
        """The owner of the access token. Raises `Refused` without a valid one."""
        scheme, _, token = record.headers.get("Authorization", "").partition(" ")
        problem = "Authentication credentials were not provided."
        if scheme.lower() == "bearer" and token:
            owner = self._grants.owner(token.strip())
            if owner is not None and owner in self.organization.people:
                return self.organization.people[owner]
            problem = "Invalid or expired token."
        raise refused(401, problem, {"WWW-Authenticate": 'Bearer realm="api"'})


def _is_protected(record: RecordedRequest) -> bool:
    unprotected = ("/oauth/", DESCRIPTION_PATH)
    return record.route is not None and record.host != "blobs" and not record.route.startswith(unprotected)


def _disconnect(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    # Never sent: aiohttp ends the request when it writes to a closed connection, without a log record.
    return web.Response()


def _respond(request: web.BaseRequest, record: RecordedRequest, response: web.Response) -> web.Response:
    if request.transport is not None and not request.transport.is_closing():
        record.status = response.status
    response.headers["X-Request-ID"] = record.headers.get("X-Request-ID") or str(uuid4())
    return response
