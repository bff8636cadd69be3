"""Watches every test: no secret is exposed, and none is sent to a wrong host (8-3, 3-1, 9-5).

Secrets are the tokens, codes and verifiers that the sandbox and the client make, client secrets, proxy passwords, and
what is sent as Basic credentials. Exposed is what appears in log lines (at DEBUG, whatever level a test has set), in errors
with their attributes and causes, in warnings, in the repr of every public object, in the output of the command, in the
audit logs of provisioning, and in the headers of requests, except in the two headers for secrets: `Authorization` may go
to the hosts of a session, and `Proxy-Authorization` to a proxy.
"""

from __future__ import annotations

import base64
import logging
import traceback
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import attrs
import pytest
from _pytest.raises import RaisesExc
from aiohttp import ClientRequest
from helpers.command_line import Ran
from yarl import URL

from ezeep_async import (
    AuthorizationRequest,
    EzeepError,
    EzeepSession,
    FileTokenStore,
    KeyringTokenStore,
    MemoryTokenStore,
    OAuthApp,
    Pairing,
    ReadOnlyTokens,
    RedisTokenStore,
    Settings,
    SQLTokenStore,
    TokenSet,
    sandbox,
)
from ezeep_async._http.transport import USER_AGENT, Transport
from ezeep_async._wire.requests import Request
from ezeep_async._wire.responses import RawResponse
from ezeep_async._wire.uploads import StoragePut, UploadTarget
from ezeep_async.blocking.session import BlockingSession
from ezeep_async.provisioning.runs.audit import AuditLog
from ezeep_async.sandbox.state.storage import Storage
from ezeep_async.sandbox.tokens import Grants


LOGGERS = ("ezeep_async", "aiohttp", "asyncio")
TESTS = str(Path(__file__).parent.parent)
SANDBOX = str(Path(sandbox.__file__).parent)
PACKAGE = str(Path(sandbox.__file__).parent.parent)
SHORTEST = 8
"""Characters of a secret that is looked for: shorter ones, as tests have them, are in many words."""
LONGEST_SHOWN = 50_000
"""Characters of a variable that are searched."""
SHOWN = (
    AuthorizationRequest,
    BlockingSession,
    EzeepSession,
    FileTokenStore,
    KeyringTokenStore,
    MemoryTokenStore,
    OAuthApp,
    Pairing,
    RawResponse,
    ReadOnlyTokens,
    RedisTokenStore,
    Request,
    SQLTokenStore,
    Settings,
    StoragePut,
    TokenSet,
    UploadTarget,
)
"""Objects that people print."""


@attrs.define
class Watch:
    """What happened in one test."""

    secrets: set[str] = attrs.field(factory=set[str])
    output: list[str] = attrs.field(factory=list[str])
    """Everything that a person could have read."""
    origins: set[URL] = attrs.field(factory=set[URL])
    """The hosts of every session."""
    authorized: list[URL] = attrs.field(factory=list[URL])
    """Where requests with `Authorization` were sent."""
    past_the_proxy: list[URL] = attrs.field(factory=list[URL])
    """Where a proxy's credentials were sent that is no proxy."""
    cookies: list[URL] = attrs.field(factory=list[URL])
    """Where our client sent cookies."""

    def complaints(self) -> list[str]:
        """What must not have happened."""
        everything = "\n".join(self.output)
        found = [
            f"a secret was exposed: {_around(everything, each)}"
            for each in self.secrets
            if each in everything
        ]
        found += [f"a token went to {url}" for url in self.authorized if url not in self.origins]
        found += [f"the credentials for a proxy went to {url}" for url in self.past_the_proxy]
        found += [f"a cookie went to {url}" for url in self.cookies]
        return found


def _around(text: str, secret: str) -> str:
    at = text.index(secret)
    return text[max(0, at - 100) : at] + "<secret>" + text[at + len(secret) :][:100]


def installed(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Begin to watch."""
    watch = Watch()

    def after(owner: type, name: str, look: Callable[..., None]) -> None:
        real = getattr(owner, name)

        @wraps(real)
        def wrapper(self: Any, *args: Any, **options: Any) -> Any:
            result = real(self, *args, **options)
            look(self, result)
            return result

        monkeypatch.setattr(owner, name, wrapper)

    def secret(*found: str | None) -> None:
        watch.secrets.update(each for each in found if each is not None and len(each) >= SHORTEST)

    after(Grants, "_issue", lambda _, tokens: secret(tokens.access_token, tokens.refresh_token))
    # Only the signature: its owner knows everything else in the address of an upload.
    after(
        Storage,
        "sign",
        lambda _, url: secret(URL(url).query["sig"], url.partition("sig=")[2].partition("&")[0]),
    )
    after(Grants, "authorize", lambda _, code: secret(code))
    after(AuthorizationRequest, "__init__", lambda request, _: secret(request.code_verifier))
    after(OAuthApp, "__init__", lambda app, _: secret(app.client_secret))
    after(OAuthApp, "basic_authorization", lambda _, header: app_secret(secret, header))
    after(
        Settings,
        "__init__",
        lambda settings, _: secret(
            *(settings.proxy_auth or ())[1:], settings.proxy and URL(settings.proxy).password
        ),
    )
    after(EzeepError, "__init__", lambda error, _: watch.output.append(f"{error!r} {error}"))
    after(Ran, "__init__", lambda ran, _: watch.output.append(f"{ran.out} {ran.err}"))
    for shown in SHOWN:
        after(shown, "__init__", lambda instance, _: watch.output.append(repr(instance)))
    after(
        Transport,
        "__init__",
        lambda transport, _: watch.origins.update(base.origin() for base in transport._bases.values()),
    )
    _watch_what_is_caught(monkeypatch, watch)
    _watch_warnings(monkeypatch, watch)
    _watch_the_log(monkeypatch, watch)
    _watch_requests(monkeypatch, watch)
    _watch_audit_logs(monkeypatch, watch)
    return watch


def app_secret(secret: Callable[..., None], header: str) -> None:
    """Of a client without a secret, the header has nothing in it that is not known anyway."""
    credentials = header.removeprefix("Basic ")
    if not base64.b64decode(credentials).endswith(b":"):
        secret(credentials)


def _watch_what_is_caught(monkeypatch: pytest.MonkeyPatch, watch: Watch) -> None:
    real = RaisesExc.__exit__

    def caught(raises: RaisesExc, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if error is not None:
            watch.output += traceback.format_exception(error)
            watch.output += local_variables(error)
            watch.output.append(repr(vars(error)))
        return real(raises, kind, error, trace)

    monkeypatch.setattr(RaisesExc, "__exit__", caught)


def local_variables(error: BaseException) -> list[str]:
    """What tools that print the variables of each frame show of an error: of our frames and what they call."""
    shown: list[str] = []
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        pending += (each.__cause__, each.__context__, *getattr(each, "exceptions", ()))
        ours = False
        for frame, line in traceback.walk_tb(each.__traceback__):
            name = frame.f_code.co_filename
            ours = ours or (name.startswith(PACKAGE) and not name.startswith(SANDBOX))
            if ours and not name.startswith((TESTS, SANDBOX)):
                shown += (f"{name}:{line} {key} = {_shown(value)}" for key, value in frame.f_locals.items())
    return shown


def _shown(value: object) -> str:
    if isinstance(value, bytes | str):
        value = value[:LONGEST_SHOWN]  # hostile responses have megabytes
    try:
        return repr(value)[:LONGEST_SHOWN]
    except Exception as error:  # an object that is only half made
        return repr(error)


def _watch_warnings(monkeypatch: pytest.MonkeyPatch, watch: Watch) -> None:
    real = warnings.warn

    def warn(message: Any, *args: Any, stacklevel: int = 1, **options: Any) -> None:
        watch.output.append(str(message))
        real(message, *args, stacklevel=stacklevel + 1, **options)

    monkeypatch.setattr(warnings, "warn", warn)


def _watch_the_log(monkeypatch: pytest.MonkeyPatch, watch: Watch) -> None:
    is_enabled, handle = logging.Logger.isEnabledFor, logging.Logger.handle

    def enabled(logger: logging.Logger, level: int) -> bool:
        return logger.name.partition(".")[0] in LOGGERS or is_enabled(logger, level)

    def handled(logger: logging.Logger, record: logging.LogRecord) -> None:
        if logger.name.partition(".")[0] in LOGGERS:
            watch.output.append(record.getMessage())
            if record.exc_info and record.exc_info[1] is not None:
                watch.output += traceback.format_exception(record.exc_info[1])
        if is_enabled(logger, record.levelno):
            handle(logger, record)

    monkeypatch.setattr(logging.Logger, "isEnabledFor", enabled)
    monkeypatch.setattr(logging.Logger, "handle", handled)


def _watch_requests(monkeypatch: pytest.MonkeyPatch, watch: Watch) -> None:
    real = ClientRequest.send

    async def send(request: ClientRequest, *args: Any, **options: Any) -> Any:
        tunnel = request.method == "CONNECT"  # made by aiohttp, with a User-Agent of its own
        if tunnel or request.headers.get("User-Agent") == USER_AGENT:
            look(request, tunnel)
        return await real(request, *args, **options)

    def look(request: ClientRequest, tunnel: bool) -> None:
        origin = request.url.origin()
        # The signature in the address of an upload is for the storage.
        is_upload = request.url.path.startswith("/userstorage/")
        url = request.url.with_query(None) if is_upload else request.url
        for name, value in request.headers.items():
            match name.lower():
                case "authorization":
                    # A proxy that is asked for a tunnel is none of the hosts, whatever the tunnel leads to.
                    watch.authorized.append(URL() if tunnel else origin)
                case "proxy-authorization":
                    if not tunnel and (request.proxy is None or request.is_ssl()):
                        watch.past_the_proxy.append(origin)
                case "cookie":
                    watch.cookies.append(origin)
                case _:
                    watch.output.append(f"{request.method} {url} with {name}: {value}")

    monkeypatch.setattr(ClientRequest, "send", send)


def _watch_audit_logs(monkeypatch: pytest.MonkeyPatch, watch: Watch) -> None:
    real = AuditLog._append

    def append(log: AuditLog, content: bytes) -> None:
        watch.output.append(content.decode())
        real(log, content)

    monkeypatch.setattr(AuditLog, "_append", append)
