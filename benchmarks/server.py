"""The cheap server: an asyncio protocol that sends bytes made beforehand, so that the client is what is measured.

    python server.py [--core NUMBER]

It prints its port, and serves until its standard input ends. All hosts of the API are on this port, and the storage that
documents are uploaded to. A print job is in progress when its status is read for the first time, and printed the second
time. `POST /control` sets the state, and empties memberships and counters; `GET /control` reads counters.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys

import msgspec


CACHED_PAGES = 200
LENGTH = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE)
ORGANIZATION = b"00000000-0000-4000-9000-000000000007"
ADDRESS = "user%d@benchmark.example"
PRINTER = b"00000000-0000-4000-a000-000000000001"
PRINT_API = {
    b"GetConfiguration": b'{"System":{"FILEEXT":"doc;docx;pdf;txt;"}}',
    b"GetPrinter": b'[{"id":"%s","location":"","name":"Benchmark","is_queue":false}]' % PRINTER,
    b"GetPrinterProperties": b'[{"Id":"%s","Name":"Benchmark","DuplexSupported":true,"Trays":[null]}]'
    % PRINTER,
}
"""Responses that are the same for all jobs."""
JOB = "node-d000001:Benchmark_tpcb_%d_7#1000000001:3"
IN_PROGRESS = (
    b'{"jobpagesprinted":0,"jobpagestotal":1,"jobposition":1,"jobstatus":129,"jobstatusstring":"PRINTING|"}'
)
PRINTED = b'{"jobpagesprinted":1,"jobpagestotal":1,"jobposition":0,"jobstatus":0,"jobstatusstring":""}'


def group_id(number: int) -> bytes:
    """The id of a group, as text."""
    return b"00000000-0000-4000-8000-%012x" % number


def user_id(number: int) -> bytes:
    """The id of a user, as text: as irregular as real ones, so that sets of ids cost what they cost with those."""
    return b"%08x-0000-4000-8000-%012x" % ((number + 1) * 0x9E3779B1 % 2**32, number + 1)


ME = user_id(0)


class Setup(msgspec.Struct, frozen=True):
    """What the control request sets."""

    users: int = 10_000
    groups: int = 200
    groups_per_user: int = 1
    latency: float = 0.0


class Update(msgspec.Struct):
    """A membership write. The groups are echoed without being decoded."""

    groups: msgspec.Raw


class Service:
    """The organization, and what was counted."""

    def __init__(self) -> None:
        self.setup = Setup()
        self.written: dict[int, bytes] = {}
        """Groups of the users who were changed, as JSON."""
        self.requests = self.refreshes = 0
        self._default_groups = b""
        self._pages: dict[bytes, bytes] = {}
        self.port = 0
        self._uploads = self._jobs = 0
        self._seen: set[bytes] = set()
        """Jobs whose status was read."""
        self.prepare(self.setup)

    def prepare(self, setup: Setup) -> None:
        """Begin anew."""
        self.setup = setup
        self.requests = self.refreshes = 0
        self.written.clear()
        self._pages.clear()
        self._seen.clear()
        ids = [b'{"group_id":"%s"}' % group_id(number) for number in range(setup.groups_per_user)]
        self._default_groups = b"[%s]" % b",".join(ids)

    def counted(self) -> bytes:
        """The counters, as JSON."""
        memberships = sum(groups.count(b"group_id") for groups in self.written.values())
        return msgspec.json.encode(
            {"requests": self.requests, "refreshes": self.refreshes, "memberships": memberships}
        )

    def respond(self, method: bytes, target: bytes, body: bytes) -> bytes:
        """The whole response to a request."""
        if target == b"/control":
            if method == b"POST":
                self.prepare(msgspec.json.decode(body, type=Setup))
            return response(self.counted())
        self.requests += 1
        path, _, query = target.partition(b"?")
        if path == b"/oauth/access_token/":
            self.refreshes += 1
            return response(token_set(self.refreshes))
        collection, _, name = path.rstrip(b"/").rpartition(b"/")
        if collection == b"/sfapi":
            return response(self.printing(name, query))
        if collection == b"/userstorage":
            return response(b"", b"201 Created")
        if collection.endswith((b"/users", b"/groups")):
            if method in {b"PATCH", b"PUT"}:
                self.written[number_of(name)] = bytes(msgspec.json.decode(body, type=Update).groups)
                self._pages.clear()
            return response(self.row(collection, ME if name == b"me" else name))
        if (found := self._pages.get(target)) is None:
            found = response(self.page(path, query))
            if len(self._pages) < CACHED_PAGES:
                self._pages[target] = found
        return found

    def printing(self, call: bytes, query: bytes) -> bytes:
        """The response of the print API."""
        if call == b"PrepareUpload":
            self._uploads += 1
            return (
                b'{"fileid":"ERI_%d","sasUri":"http://127.0.0.1:%d/userstorage/ERI_%d?sv=2019-07-07&sr=b&sig=%044d"}'
                % (
                    self._uploads,
                    self.port,
                    self._uploads,
                    self._uploads,
                )
            )
        if call == b"Print":
            self._jobs += 1
            return msgspec.json.encode({"jobid": JOB % self._jobs})
        if call == b"Status":
            if query in self._seen:
                return PRINTED
            self._seen.add(query)
            return IN_PROGRESS
        return PRINT_API[call]

    def page(self, path: bytes, query: bytes) -> bytes:
        """One page of a listing."""
        fields = dict(each.split(b"=") for each in query.split(b"&") if each)
        limit, offset = int(fields.get(b"limit", 20)), int(fields.get(b"offset", 0))
        collection = path.rstrip(b"/")
        is_of_groups = collection.endswith(b"/groups")
        count = self.setup.groups if is_of_groups else self.setup.users
        numbers = range(offset, min(count, offset + limit))
        ids = [group_id(n) if is_of_groups else user_id(n) for n in numbers]
        following = b"null"
        if offset + limit < count:
            following = b'"http://api2.ezeep.com%s?limit=%d&offset=%d"' % (path, limit, offset + limit)
        rows = b",".join([self.row(collection, each) for each in ids])
        return b'{"count":%d,"next":%s,"previous":null,"results":[%s]}' % (count, following, rows)

    def row(self, collection: bytes, name: bytes) -> bytes:
        """One group, one user of the printing API, or one account user."""
        if collection == b"/printing/v1/users":
            groups = self.written.get(number_of(name), self._default_groups)
            return (
                b'{"id":"%s","local_printing_enabled":true,"self_service_enabled":true,"myprinters_enabled":false,'
                b'"groups":%s}' % (name, groups)
            )
        if collection == b"/printing/v1/groups":
            number = int(name[-12:], 16)
            return (
                b'{"id":"%s","name":"Group %03d","description":"","local_printing_enabled":true,"myprinters_enabled":false,'
                b'"origin":{"provider":"Ezeep","foreign_id":null},"organization_id":"%s","num_members":8,"num_printers":0}'
                % (name, number, ORGANIZATION)
            )
        number = number_of(name)
        return (
            b'{"id":"%s","email":"%s","first_name":"First","last_name":"User","display_name":"First User",'
            b'"date_joined":"2021-05-21T11:32:27.796675Z","azure_profile":null,"id_profile":null,'
            b'"user_invitations":null,"roles":["user"],"is_verified":true}'
            % (name, ADDRESS.encode() % number)
        )


def number_of(user_id: bytes) -> int:
    """The number of the user with this id."""
    return int(user_id[-12:], 16) - 1


def token_set(number: int) -> bytes:
    """The response of the token endpoint."""
    return (
        b'{"access_token":"a%039d","token_type":"Bearer","expires_in":3600,"scope":"","refresh_token":"r%039d"}'
        % (
            number,
            number,
        )
    )


def response(body: bytes, status: bytes = b"200 OK") -> bytes:
    """A response with the headers that clients look at."""
    return (
        b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nX-Request-ID: 0\r\n\r\n%s"
        % (status, len(body), body)
    )


class Connection(asyncio.Protocol):
    """One connection. Requests are handled in their order."""

    transport: asyncio.Transport

    def __init__(self, service: Service) -> None:
        self._service = service
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Respond to the requests that are complete."""
        received = self._received + data
        while (end := received.find(b"\r\n\r\n")) >= 0:
            length = LENGTH.search(received, 0, end)
            after = end + 4 + (int(length[1]) if length else 0)
            if len(received) < after:
                break
            method, target, _ = received[: received.index(b"\r\n")].split(b" ")
            sent = self._service.respond(method, target, received[end + 4 : after])
            received = received[after:]
            if (latency := self._service.setup.latency) and target != b"/control":
                asyncio.get_running_loop().call_later(latency, self.transport.write, sent)
            else:
                self.transport.write(sent)
        self._received = received


async def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--core", type=int, help="the processor core to run on")
    core = parser.parse_args().core
    if core is not None:
        os.sched_setaffinity(0, {core})
    service = Service()
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: Connection(service), "127.0.0.1", 0, backlog=1000) as server:
        service.port = server.sockets[0].getsockname()[1]
        print(service.port, flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
