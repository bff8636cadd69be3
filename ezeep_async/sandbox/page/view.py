"""The parts of the page as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING
from uuid import UUID

from ezeep_async.sandbox.page.actions import ACTIONS
from ezeep_async.sandbox.records import RecordedRequest
from ezeep_async.sandbox.state.jobs import SandboxJob
from ezeep_async.sandbox.state.printers import SandboxPrinter


if TYPE_CHECKING:
    from ezeep_async.sandbox.server import Sandbox

MOST_MEMBERS = 100
MOST_JOBS = 20
MOST_REQUESTS = 30
REDACTED = "(redacted)"
_SHOWN_PARAMETERS = frozenset(
    [
        "limit",
        "offset",
        "page",
        "per_page",
        "o",
        "status",
        "id",
        "printer",
        "group",
        "comp",
        "vendor",
        "connector_id",
        "type",
        "blockid",
        "sv",
        "sr",
        "se",
        "sp",
    ]
)
"""Parameters of a URL that are no secrets. Others may be signatures and codes."""
_SHOWN_HEADERS = frozenset(
    [
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-ms-blob-type",
        "x-request-id",
    ]
)
_KINDS = {"DONE": "good", "ERROR": "bad", "EXPIRED": "bad"}


def parts(sandbox: Sandbox) -> dict[str, str]:
    """The parts of the page that change, by the id of their element."""
    return {
        "summary": _summary(sandbox),
        "printers": _printers(sandbox),
        "groups": _groups(sandbox),
        "faults": _faults(sandbox),
        "requests": _requests(sandbox),
    }


def buttons(token: str) -> str:
    """The form with the buttons."""
    found: dict[str, list[str]] = {}
    for name, action in ACTIONS.items():
        button = f'<button name="action" value="{name}">{escape(action.label)}</button>'
        found.setdefault(action.topic, []).append(button)
    rows = "".join(
        f'<h3>{escape(topic)}</h3><div class="buttons">{"".join(row)}</div>' for topic, row in found.items()
    )
    return f'<form method="post" action="/sandbox/actions">{_hidden(token)}{rows}</form>'


def _hidden(token: str, **fields: str) -> str:
    values = {"token": token, **fields}
    return "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in values.items()
    )


# --- this sandbox


def _summary(sandbox: Sandbox) -> str:
    endpoints = sandbox.endpoints
    hosts = {
        "Accounts": endpoints.account,
        "Management": endpoints.api,
        "Printing": endpoints.print,
        "Uploads": sandbox.storage.origin,
    }
    rows = "".join(f"<tr><th>{name}</th><td><code>{url}</code></td></tr>" for name, url in hosts.items())
    organization = sandbox.organization
    admin = organization.people.get(organization.admin_id)
    facts = [
        _counted(len(organization.users), "user"),
        _counted(len(organization.groups), "group"),
        _counted(len(sandbox.requests), "request"),
        _counted(sandbox.refreshes, "token refresh", "token refreshes"),
    ]
    email = "" if admin is None else f"<p>The admin is <code>{escape(admin.email)}</code>.</p>"
    leaks = len(sandbox.storage.leaks)
    warning = f'<p class="bad">{_counted(leaks, "request")} brought credentials to the storage host.</p>'
    return (
        f"<p>{', '.join(facts)}.</p>{email}{warning if leaks else ''}"
        f'<div class="scroll"><table>{rows}</table></div>'
    )


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


# --- printers and jobs


def _printers(sandbox: Sandbox) -> str:
    jobs: dict[UUID, list[tuple[int, SandboxJob]]] = {}
    for number, job in enumerate([*sandbox.printing.jobs.values()]):
        jobs.setdefault(job.printed.printer.id, []).append((number, job))
    token = sandbox.page_token
    shown = [
        _printer(printer, jobs.get(printer.id, []), token)
        for printer in [*sandbox.printing.printers.values()]
    ]
    return "".join(shown) or "<p>There is no printer.</p>"


def _printer(printer: SandboxPrinter, jobs: list[tuple[int, SandboxJob]], token: str) -> str:
    if printer.is_queue:
        facts = ["queue for pull printing: a job waits until it is released"]
    else:
        papers = ", ".join(paper.name for paper in printer.papers if paper.name)
        facts = [
            "color" if printer.color else "black and white",
            "both sides" if printer.duplex else "one side",
            f"paper: {papers}",
            _counted(len(printer.trays), "tray") if printer.trays else "no choice of trays",
        ]
    place = f" <small>{escape(printer.location)}</small>" if printer.location else ""
    rows = "".join(_job(number, job, token) for number, job in reversed(jobs[-MOST_JOBS:]))
    table = (
        '<div class="scroll"><table class="jobs"><thead><tr><th>Document</th><th>From</th><th>Status</th><th>Options</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
        if rows
        else '<p class="soft">Nothing was printed here.</p>'
    )
    return (
        f"<article><h3>{escape(printer.name)}{place}</h3>"
        f'<p class="soft">{escape("; ".join(facts))}</p>{table}</article>'
    )


def _job(number: int, job: SandboxJob, token: str) -> str:
    printed = job.printed
    name = escape(printed.alias or printed.fileid)
    opened = (
        f'<a href="/sandbox/documents/{number}" target="_blank" rel="noopener noreferrer">{name}</a>'
        if printed.content
        else name
    )
    options = ", ".join(f"{name} {_value(value)}" for name, value in printed.options.items()) or "none"
    return (
        f'<tr data-key="job-{number}"><td>{opened}<br><small>{escape(printed.type)}, {_size(printed.size)}</small></td>'
        f"<td>{escape(printed.user.display_name or printed.user.email)}</td>"
        f"<td>{_status(job)}{_release(number, token) if job.queued else ''}</td>"
        f"<td><small>{escape(options)}</small></td></tr>"
    )


def _status(job: SandboxJob) -> str:
    (code, text), (printed, total), word = job.status, job.pages, job.word
    kind = _KINDS.get(word, "busy")
    if word == "PRINTING":
        label = f'printing <progress max="1" value="{job.progress:.2f}"></progress>'
    else:
        label = {"DONE": "printed", "INQUEUE": "waiting", "EXPIRED": "expired"}.get(word, "failed")
    details = [f"status {code}", *([text] if text else [])]
    if total:
        pages = f"{printed} of {_counted(total, 'page')}" if word == "PRINTING" else _counted(total, "page")
        details.insert(0, pages)
    return f'<span class="{kind}">{label}</span><br><small>{escape(", ".join(details))}</small>'


def _release(number: int, token: str) -> str:
    hidden = _hidden(token, job=str(number))
    button = '<button name="action" value="release">Release</button>'
    return f'<br><form method="post" action="/sandbox/actions">{hidden}{button}</form>'


def _value(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _size(size: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size} {unit}"
        size //= 1024
    return f"{size} GiB"


# --- groups


def _groups(sandbox: Sandbox) -> str:
    organization, printers = sandbox.organization, [*sandbox.printing.printers.values()]
    shown: list[str] = []
    for group in [*organization.groups.values()]:
        users = organization.listed_members(group.id)
        members = [organization.people[user.id] for user in users[:MOST_MEMBERS]]
        names = [f"{escape(each.display_name)} <small>{escape(each.email)}</small>" for each in members]
        if len(users) > MOST_MEMBERS:
            names.append(f"and {len(users) - MOST_MEMBERS} more")
        assigned = [escape(printer.name) for printer in printers if group.id in printer.groups]
        prints = f"<p>Prints on {', '.join(assigned)}.</p>" if assigned else ""
        origin = escape(group.origin.get("provider", ""))
        shown.append(
            f'<details data-key="group-{group.id}"><summary>{escape(group.name)} '
            f"<small>{_counted(len(users), 'member')}, {origin}</small></summary>"
            f"{prints}{_list(names) or '<p>It has no members.</p>'}</details>"
        )
    return "".join(shown) or "<p>There is no group.</p>"


def _list(items: Iterable[str]) -> str:
    found = "".join(f"<li>{item}</li>" for item in items)
    return found and f"<ul>{found}</ul>"


# --- faults and requests


def _faults(sandbox: Sandbox) -> str:
    waiting = [
        f"<code>{escape(fault.route)}</code>: {escape(_effect(fault.effect))}"
        for fault in sandbox.faults.pending
    ]
    waiting += [f"a print job ends with {outcome.final}" for outcome in sandbox.printing.pending_outcomes]
    return (
        f"<p>Waiting for the next request:</p>{_list(waiting)}" if waiting else "<p>No fault is waiting.</p>"
    )


def _effect(effect: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in effect.items() if name not in {"body", "headers"})


def _requests(sandbox: Sandbox) -> str:
    count = len(sandbox.requests)
    shown = sandbox.requests[-MOST_REQUESTS:]
    first = count - len(shown)
    rows = [_request(first + number, request) for number, request in enumerate(shown)]
    return "".join(reversed(rows)) or "<p>There was no request.</p>"


def _request(number: int, request: RecordedRequest) -> str:
    status = "no response" if request.status is None else str(request.status)
    kind = "good" if (request.status or 999) < 400 else "bad"
    query = "&".join(
        f"{name}={value if name in _SHOWN_PARAMETERS else REDACTED}" for name, value in request.query.items()
    )
    path = request.path + (f"?{query}" if query else "")
    headers = "".join(
        f"<tr><th>{escape(name)}</th><td><code>{escape(_header(name, value))}</code></td></tr>"
        for name, value in request.headers.items()
    )
    body = f'<p class="soft">Body: {_size(request.size)}.</p>' if request.size else ""
    return (
        f'<details data-key="request-{number}"><summary><code>{escape(request.method)} {escape(path)}</code> '
        f'<small>{request.host}</small> <span class="{kind}">{status}</span></summary>'
        f'{body}<div class="scroll"><table class="headers">{headers}</table></div></details>'
    )


def _header(name: str, value: str) -> str:
    if name.lower() == "authorization":
        return f"{value.partition(' ')[0]} {REDACTED}"
    return value if name.lower() in _SHOWN_HEADERS else REDACTED
