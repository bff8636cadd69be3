"""`Sandbox`: two HTTP servers on loopback, and a record of the requests that they received."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from types import TracebackType
from typing import Self, Unpack
from urllib.parse import parse_qs
from uuid import UUID, uuid4

from aiohttp import web
from multidict import CIMultiDict

from ezeep_async._text.cleaning import check_kind
from ezeep_async.auth.app import OAuthApp
from ezeep_async.auth.tokens import TokenSet
from ezeep_async.sandbox.behaviour import Behaviour, BehaviourOptions, Clock
from ezeep_async.sandbox.faults import Closing, Faults, Waits, retry_after_text
from ezeep_async.sandbox.handlers.accounts import Directory
from ezeep_async.sandbox.handlers.consent import Consent
from ezeep_async.sandbox.handlers.html import message_page
from ezeep_async.sandbox.handlers.printing import Printing
from ezeep_async.sandbox.handlers.token_endpoint import CLIENT_ID, TOKEN_PATH, OAuth
from ezeep_async.sandbox.records import Host, RecordedRequest
from ezeep_async.sandbox.replies import Call, Refused, Reply, detail, html_reply, method_not_allowed
from ezeep_async.sandbox.routing import Match, Routes
from ezeep_async.sandbox.state.organization import Organization, Person
from ezeep_async.sandbox.state.seeding import populate
from ezeep_async.sandbox.tokens import Grants
from ezeep_async.settings import Endpoints


_HOSTS: tuple[Host, ...] = ("account", "api")
_OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")
"""A request for any other host comes from a page whose name was pointed at this machine (DNS rebinding)."""
_CLOSE_TIMEOUT_S = 0.2
"""Seconds that closing waits for requests whose bodies have not arrived."""


class Sandbox:
    """Serve the ezeep API on loopback, with its own organization, in the event loop of the caller.

    Open it once, with `async with`. The same arguments give the same organization, ids included.

    Args:
        users: Number of printing users, 0 or more.
        groups: Number of groups, 0 or more.
        seed: Seed of all ids, names and memberships.
        **behaviour: Fields of `Behaviour`. The attribute `behaviour` changes them later.

    Raises:
        TypeError: An argument is of another type, or there is no such field.
        ValueError: `users` or `groups` is negative.
    """

    def __init__(
        self, *, users: int = 134, groups: int = 13, seed: int = 0, **behaviour: Unpack[BehaviourOptions]
    ) -> None:
        for name, value in {"users": users, "groups": groups, "seed": seed}.items():
            check_kind(value, int, name, "a whole number")
            if name != "seed" and value < 0:
                raise ValueError(f"{name} is a whole number from 0 up, not {value}")
        self.behaviour = Behaviour(**behaviour)
        self.clock = Clock()
        self.organization = Organization(seed)
        populate(self.organization, users=users, groups=groups)
        self.requests: list[RecordedRequest] = []
        """All requests, in order of arrival."""
        self.counts: Counter[str] = Counter()
        """Number of requests by route: method and template."""
        self.unknown_routes: Counter[str] = Counter()
        """Number of requests by method and path, for paths that do not exist."""
        self.refresh_requests = 0
        """Number of token requests with `grant_type=refresh_token`."""
        self.peak_parallel = 0
        """Largest number of concurrent requests at the printing API."""
        self._parallel = 0
        self._grants = Grants(self.behaviour, self.clock)
        self._waits = Waits()
        self._routes = {host: Routes() for host in _HOSTS}
        account = self._routes["account"]
        account.add(OAuth(self.organization, self.behaviour, self._grants).routes(), protected=False)
        account.add(Consent(self.organization, self.behaviour, self._grants).routes(), protected=False)
        account.add(Directory(self.organization, self.behaviour, self.clock).routes(), protected=True)
        self._routes["api"].add(Printing(self.organization, self.behaviour).routes(), protected=True)
        self.faults = Faults(self._waits, self._known_route)
        """Scripted failures and holds."""
        self._runners: list[web.ServerRunner] = []
        self._ports: dict[Host, int] = {}
        self._tasks: set[asyncio.Task[object]] = set()

    # --- opening and closing

    async def __aenter__(self) -> Self:
        if self._ports:
            raise RuntimeError("a Sandbox can be opened once: create another one")
        try:
            for host in _HOSTS:
                server = web.Server(partial(self._handle, host), access_log=None)
                runner = web.ServerRunner(server, shutdown_timeout=_CLOSE_TIMEOUT_S)
                self._runners.append(runner)
                await runner.setup()
                # The backlog is for tests that begin with thousands of connections at once.
                await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
                self._ports[host] = int(runner.addresses[0][1])
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close both servers, and the connections of requests that are held or delayed."""
        self._waits.close()
        while self._runners:
            await self._runners.pop().cleanup()
        # The runners do not wait for requests of clients that disconnected.
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLOSE_TIMEOUT_S)
        # Closed transports release their sockets in the next round of the loop.
        for _ in range(3):
            await asyncio.sleep(0)

    @property
    def endpoints(self) -> Endpoints:
        """The addresses of the two hosts, which differ in their port.

        Raises:
            RuntimeError: The sandbox is not open.
        """
        return Endpoints(account=self._origin("account"), api=self._origin("api"))

    def _origin(self, host: Host) -> str:
        if host not in self._ports:
            raise RuntimeError("the Sandbox is not open: use `async with Sandbox() as sandbox`")
        return f"http://127.0.0.1:{self._ports[host]}"

    @property
    def organisation(self) -> Organization:
        """The earlier name of `organization`."""
        return self.organization

    # --- tokens

    @property
    def oauth_app(self) -> OAuthApp:
        """The registered client, with the first of its redirect URIs."""
        uris = self.behaviour.redirect_uris
        return OAuthApp(CLIENT_ID, self.behaviour.client_secret, uris[0] if uris else None)

    def tokens(self, user_id: UUID | None = None) -> TokenSet:
        """Issue a new token set.

        Args:
            user_id: The person who owns it. Default: the admin.

        Returns:
            A token set of a new token family.

        Raises:
            KeyError: There is no such person.
        """
        owner = self.organization.admin_id if user_id is None else user_id
        return self._grants.issue(self.organization.people[owner].id)

    def expire_access_tokens(self) -> None:
        """Expire all access tokens that were issued so far: requests with them get a 401. Refresh tokens stay valid."""
        self._grants.expire_access_tokens()

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
        return self.counts[self._known_route(route)]

    @property
    def refreshes(self) -> int:
        """Number of refresh grants that rotated a token."""
        return self._grants.refreshes

    def reset_counts(self) -> None:
        """Reset all recorded requests and counts. Tokens, faults and the organization do not change."""
        self.requests.clear()
        self.counts.clear()
        self.unknown_routes.clear()
        self.refresh_requests = self._grants.refreshes = self.peak_parallel = 0

    def _known_route(self, key: str) -> str:
        method, _, template = key.partition(" ")
        if not method.isupper() or not any(template in routes for routes in self._routes.values()):
            raise ValueError(
                f"there is no route {key!r}: give a method and a template, such as 'GET /v1/users/{{id}}/'"
            )
        return key

    # --- requests

    async def _handle(self, host: Host, request: web.BaseRequest) -> web.StreamResponse:
        task: asyncio.Task[object] | None = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        try:
            body = await request.read()
            if not self._is_addressed(host, request):
                return web.Response(
                    status=421, text=f"Misdirected request: this is the sandbox at {self._origin(host)}."
                )
            return await self._serve(host, request, body)
        except (Closing, ConnectionError):  # the sandbox closes, or the client disconnected
            return _cut(request)
        finally:
            if task is not None:
                self._tasks.discard(task)

    def _is_addressed(self, host: Host, request: web.BaseRequest) -> bool:
        """Whether a request names this server, and no other one, as its host."""
        port = self._ports[host]
        if request.headers.get("Host", "").lower() not in {f"{name}:{port}" for name in _OWN_NAMES}:
            return False
        # The request line may have a host as well.
        url = request.url
        return url.port == port and f"{url.host}" in {name.strip("[]") for name in _OWN_NAMES}

    async def _serve(self, host: Host, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        match = self._routes[host].find(request.path)
        record = self._record(host, request, match, body)
        if host == "account":
            return await self._perform(request, record, match)
        limit = self.behaviour.max_parallel
        if limit is not None and self._parallel >= limit:
            return _respond(request, record, self._too_many())
        self._parallel += 1
        self.peak_parallel = max(self.peak_parallel, self._parallel)
        try:
            return await self._perform(request, record, match)
        finally:
            self._parallel -= 1

    async def _perform(
        self, request: web.BaseRequest, record: RecordedRequest, match: Match | None
    ) -> web.StreamResponse:
        fault = self.faults.due(record)
        if (held := self.faults.holding(record, after=False)) is not None:
            await held
        if fault is not None and fault.delay > 0:
            await self._waits.sleep(fault.delay)
        if fault is not None and fault.drop == "before":
            return _cut(request)
        if self.behaviour.latency > 0 and match is not None and match.route.protected:
            await self._waits.sleep(self.behaviour.latency)
        # Not interrupted by a client that disconnects.
        reply = self._process(request, record, match) if fault is None or fault.processes else None
        if fault is not None and fault.delay_after > 0:
            await self._waits.sleep(fault.delay_after)
        if (held := self.faults.holding(record, after=True)) is not None:
            await held
        if fault is not None:
            if fault.drop == "after":
                return _cut(request)
            reply = fault.answer(reply)
        return _respond(request, record, Reply() if reply is None else reply)

    def _process(self, request: web.BaseRequest, record: RecordedRequest, match: Match | None) -> Reply:
        if match is None:
            return html_reply(message_page("Not found", "There is no such page."), 404)
        if not match.slash:
            query = f"?{request.query_string}" if request.query_string else ""
            return Reply(
                status=301,
                content_type=None,
                headers={"Location": f"http://{request.host}{request.rel_url.raw_path}/{query}"},
            )
        try:
            bearer = self._bearer(record) if match.route.protected else None
            handler = match.route.handlers.get(record.method)
            if handler is None:
                return method_not_allowed(record.method, match.route.handlers)
            call = Call(
                method=record.method,
                path=record.path,
                query=record.query,
                headers=record.headers,
                body=record.body,
                id=match.id,
                origin=self._origin(record.host),
                bearer=bearer,
            )
            return handler(call)
        except Refused as refused:
            return refused.reply

    def _bearer(self, record: RecordedRequest) -> Person:
        scheme, _, token = record.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            problem = "Authentication credentials were not provided."
        else:
            owner = self._grants.owner(token.strip())
            person = None if owner is None else self.organization.people.get(owner)
            if person is not None:
                return person
            problem = "Invalid or expired token."
        reply = detail(401, problem)
        reply.headers["WWW-Authenticate"] = 'Bearer realm="api"'
        raise Refused(reply)

    def _too_many(self) -> Reply:
        reply = detail(429, self.behaviour.rate_limit_error)
        if self.behaviour.retry_after is not None:
            reply.headers["Retry-After"] = retry_after_text(self.behaviour.retry_after)
        return reply

    def _record(
        self, host: Host, request: web.BaseRequest, match: Match | None, body: bytes
    ) -> RecordedRequest:
        record = RecordedRequest(
            method=request.method,
            host=host,
            path=request.path,
            query=dict(request.query),
            route=None if match is None else match.route.template,
            headers=CIMultiDict(request.headers),
            body=body,
        )
        self.requests.append(record)
        if record.key is None:
            self.unknown_routes[f"{record.method} {record.path}"] += 1
        else:
            self.counts[record.key] += 1
        if record.route == TOKEN_PATH:
            record.grant_type = parse_qs(body.decode("utf-8", "replace")).get("grant_type", [None])[0]
            self.refresh_requests += record.grant_type == "refresh_token"
        return record


def _cut(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    # Never sent: aiohttp ends the request when it writes to a closed connection, without a log record.
    return web.Response()


def _respond(request: web.BaseRequest, record: RecordedRequest, reply: Reply) -> web.Response:
    if request.transport is not None and not request.transport.is_closing():
        record.status = reply.status
    headers = CIMultiDict(reply.headers)
    headers["X-Request-ID"] = record.headers.get("X-Request-ID") or str(uuid4())
    if reply.content_type is not None:
        headers["Content-Type"] = reply.content_type
    return web.Response(status=reply.status, body=reply.body or None, headers=headers)
