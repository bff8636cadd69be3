"""The sandbox behind TLS, with a certificate of a private authority."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import trustme
from aiohttp import web

from ezeep_async import Endpoints
from ezeep_async.sandbox import Sandbox


@asynccontextmanager
async def behind_tls(sandbox: Sandbox, authority: trustme.CA) -> AsyncIterator[Endpoints]:
    """The sandbox's two hosts, each behind a server with a certificate of `authority`, as one https address."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)

    async def forward(request: web.Request) -> web.Response:
        host = sandbox.endpoints.api if request.path.startswith("/printing/") else sandbox.endpoints.account
        # Not our client from here on: what watches over that does not look.
        headers = {k: v for k, v in request.headers.items() if k not in {"Host", "User-Agent"}}
        async with (
            aiohttp.ClientSession() as client,
            client.request(
                request.method, host + request.path_qs, headers=headers, data=await request.read()
            ) as answer,
        ):
            return web.Response(
                status=answer.status, body=await answer.read(), content_type="application/json"
            )

    runner = web.ServerRunner(web.Server(forward))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        address = f"https://127.0.0.1:{runner.addresses[0][1]}"
        yield Endpoints(account=address, api=address)
    finally:
        await runner.cleanup()
