"""The routes of the page: itself, its live parts, its buttons, and the printed documents."""

from __future__ import annotations

import asyncio
import secrets
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from ezeep_async.sandbox.page import view
from ezeep_async.sandbox.page.actions import ACTIONS
from ezeep_async.sandbox.state.jobs import SandboxJob


if TYPE_CHECKING:
    from ezeep_async.sandbox.server import Sandbox

_PAGE = Template(files("ezeep_async.sandbox").joinpath("data", "sandbox.html").read_text("utf-8"))
_DOCUMENTS = "/sandbox/documents/"
_FROM_A_PROGRAM = "X-Ezeep-Sandbox"
"""A header, with any value, of requests of programs: a browser asks the server before it lets another site send one (CORS)."""
_INTERVAL_S = 0.2
"""Shortest time between two checks for changes, while a page is open."""
_LARGEST_SHARE = 0.05
"""Part of the time that these checks may take, with many users."""
_SHOWN_TYPES = {
    "pdf": "application/pdf",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "bmp": "image/bmp",
    **dict.fromkeys(("txt", "csv", "log", "htm", "html", "xml", "eml"), "text/plain; charset=utf-8"),
}
"""What a browser shows without running anything in it. Other types are downloaded."""


def is_page(path: str) -> bool:
    """Whether a path belongs to the page."""
    return path in {"/", "/sandbox/events", "/sandbox/actions"} or path.startswith(_DOCUMENTS)


async def respond(sandbox: Sandbox, request: web.BaseRequest) -> web.StreamResponse:
    """Serve a request for the page. It is not recorded."""
    match request.method, request.path:
        case "GET", "/":
            return _page(sandbox)
        case "GET", "/sandbox/events":
            return await _events(sandbox, request)
        case "POST", "/sandbox/actions":
            return await _act(sandbox, request)
        case "GET", path if path.startswith(_DOCUMENTS):
            return _document(sandbox, path.removeprefix(_DOCUMENTS))
        case _:
            return web.Response(status=405, text="This method is not allowed here.")


def _page(sandbox: Sandbox) -> web.Response:
    nonce = secrets.token_urlsafe(16)
    text = _PAGE.substitute(view.parts(sandbox), nonce=nonce, actions=view.buttons(sandbox.page_token))
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "Content-Security-Policy": policy,
    }
    return web.Response(body=text.encode(), headers=headers)


async def _events(sandbox: Sandbox, request: web.BaseRequest) -> web.StreamResponse:
    """Send each part of the page when it has changed (server-sent events)."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(request)
    sent: dict[str, str] = {}
    clock = asyncio.get_running_loop().time
    while request.transport is not None and not request.transport.is_closing():
        started = clock()
        parts = view.parts(sandbox)
        pause = max(_INTERVAL_S, (clock() - started) / _LARGEST_SHARE)
        for name, part in parts.items():
            if sent.get(name) != part:
                lines = "".join(f"data: {line}\n" for line in part.splitlines())
                await response.write(f"event: {name}\n{lines}\n".encode())
                sent[name] = part
        await asyncio.sleep(pause)
    return response


async def _act(sandbox: Sandbox, request: web.BaseRequest) -> web.Response:
    try:
        fields = await request.post()
    except (ValueError, LookupError):
        return web.Response(status=400, text="This is no form that can be read.")
    # Pages of other sites can neither read the value nor send the header, so they cannot press a button.
    token = str(fields.get("token", "")).encode(errors="replace")
    is_of_page = secrets.compare_digest(token, sandbox.page_token.encode())
    if not is_of_page and _FROM_A_PROGRAM not in request.headers:
        return web.Response(status=403, text="This form is not from this page: reload it.")
    name = str(fields.get("action", ""))
    if name == "release":
        if (job := _job(sandbox, str(fields.get("job", "")))) is None or not job.queued:
            return web.Response(status=404, text="There is no such job in a queue.")
        job.release()
    elif name in ACTIONS:
        ACTIONS[name].run(sandbox)
    else:
        return web.Response(status=404, text="There is no such button.")
    return web.Response(status=303, headers={"Location": "/"})


def _document(sandbox: Sandbox, number: str) -> web.Response:
    if (job := _job(sandbox, number)) is None:
        return web.Response(status=404, text="There is no such document.")
    printed = job.printed
    kind = _SHOWN_TYPES.get(printed.type)
    name = quote(printed.alias or f"{printed.fileid}.{printed.type}", safe="")
    headers = {
        "Content-Type": kind or "application/octet-stream",
        "Content-Disposition": f"{'inline' if kind else 'attachment'}; filename*=UTF-8''{name}",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return web.Response(body=printed.content, headers=headers)


def _job(sandbox: Sandbox, number: str) -> SandboxJob | None:
    jobs = [*sandbox.printing.jobs.values()]
    # Python refuses to read more than 4300 digits.
    is_number = number.isascii() and number.isdigit() and len(number) < 10
    return jobs[int(number)] if is_number and int(number) < len(jobs) else None
