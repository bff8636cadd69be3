"""Printing 1000 small documents at concurrency 32, beside raw aiohttp doing the same, in one run.

    python benchmarks/bench_printing.py [--rounds 5] [--jobs 1000]

The server is the sandbox in a process of its own. Rounds are interleaved: SDK, peer, SDK, peer. Printed are the requests for each
job, the CPU time of this process for each request, and the ratio, which is the only number that means something on another
machine. The peer sends PrepareUpload, PUT and Print with a fixed bearer token: no refresh, no retries, no checks, no types.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from multiprocessing.connection import Connection

import aiohttp

from ezeep_async import Endpoints, EzeepSession, OAuthApp, Printer, PrintOptions, Settings, TokenSet
from ezeep_async.sandbox import Sandbox


CONCURRENCY = 32
DOCUMENT = b"%PDF-1.4" + bytes(4000)
REQUESTS_OF_A_JOB = 3


def serve(pipe: Connection) -> None:
    """The sandbox, until the pipe says stop. Sends the number of its requests whenever it is asked."""

    async def main() -> None:
        async with Sandbox(job_seconds=0.0, keep_documents=False) as sandbox:
            printer = next(iter(sandbox.printing.printers))
            pipe.send((sandbox.endpoints, sandbox.oauth_app, sandbox.tokens(), printer))
            while await asyncio.to_thread(pipe.recv):
                pipe.send(len(sandbox.requests))
                sandbox.reset_counts()

    asyncio.run(main())


class Raw:
    """What a careful engineer writes with nothing but aiohttp."""

    def __init__(self, client: aiohttp.ClientSession, tokens: TokenSet, base: str, printer: str) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {tokens.access_token}"}
        self._base = f"{base}/sfapi/"
        self._printer = printer

    async def print_file(self) -> None:
        client, headers = self._client, self._headers
        async with client.get(f"{self._base}PrepareUpload/", headers=headers) as response:
            upload = json.loads(await response.read())
        blob = {"x-ms-blob-type": "BlockBlob"}
        async with client.put(upload["sasUri"], data=DOCUMENT, headers=blob) as response:
            response.raise_for_status()
        order = {
            "fileid": upload["fileid"],
            "type": "pdf",
            "printerid": self._printer,
            "printanddelete": True,
            "properties": {"copies": 2},
        }
        async with client.post(f"{self._base}Print/", json=order, headers=headers) as response:
            if not json.loads(await response.read())["jobid"]:
                raise SystemExit("a job was refused: this is no result")


async def timed(print_one: Callable[[], Awaitable[object]], jobs: int) -> float:
    """CPU seconds of this process."""
    slots = asyncio.Semaphore(CONCURRENCY)

    async def one() -> None:
        async with slots:
            await print_one()

    begun = time.process_time()
    await asyncio.gather(*[one() for _ in range(jobs)])
    return time.process_time() - begun


async def measure(
    options: argparse.Namespace, pipe: Connection, where: tuple[Endpoints, OAuthApp, TokenSet, object]
) -> None:
    """Warm up once, then the interleaved rounds."""
    endpoints, app, tokens, printer_id = where
    settings = Settings(concurrency=CONCURRENCY)
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
        ) as client,
        EzeepSession(app, tokens=tokens, endpoints=endpoints, settings=settings) as session,
    ):
        printer: Printer = await session.printers.get(str(printer_id))
        raw = Raw(client, tokens, endpoints.print, str(printer_id))
        copies = PrintOptions(copies=2)
        contenders: dict[str, Callable[[], Awaitable[object]]] = {
            "ezeep_async": lambda: session.printing.print_file(DOCUMENT, printer, copies, type="pdf"),
            "raw aiohttp": raw.print_file,
        }
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range(options.rounds + 1):
            for name, print_one in contenders.items():
                cpu = await timed(print_one, options.jobs)
                pipe.send(True)
                requests = pipe.recv()
                if number:
                    times[name].append(cpu)
                    if requests != REQUESTS_OF_A_JOB * options.jobs:
                        raise SystemExit(f"{name}: {requests} requests for {options.jobs} jobs")
    medians = {name: statistics.median(each) for name, each in times.items()}
    for name, median in medians.items():
        cost = median / options.jobs / REQUESTS_OF_A_JOB
        print(f"{name:12} {REQUESTS_OF_A_JOB} requests a job, {cost * 1e6:6.0f} us CPU a request")
    print(f"{'ratio':12} {medians['ezeep_async'] / medians['raw aiohttp']:.2f} x CPU (median)")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1000)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, aiohttp {version('aiohttp')}, {options.rounds} rounds\n")
    pipe, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    server.start()
    try:
        asyncio.run(measure(options, pipe, pipe.recv()))
    finally:
        pipe.send(False)
        server.join(10)
        server.terminate()


if __name__ == "__main__":
    main()
