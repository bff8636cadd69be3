"""Watches every test: no secret in any log line or error, at any level, and no token on its way to another host (8-3).

The log is watched at DEBUG whatever level a test has set, and a test sees of it what it would see anyway.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any

import attrs
import pytest
from aiohttp import ClientRequest
from yarl import URL

from ezeep_async import EzeepError
from ezeep_async.auth.app import AuthorizationRequest
from ezeep_async.http.transport import USER_AGENT, Transport
from ezeep_async.sandbox.grants import Grants


LOGGERS = ("ezeep_async", "aiohttp", "asyncio")


@attrs.define
class Watch:
    """What happened in one test."""

    secrets: set[str] = attrs.field(factory=set[str])
    """The tokens, codes and verifiers that were issued."""
    told: list[str] = attrs.field(factory=list[str])
    """Everything that was logged or raised."""
    origins: set[URL] = attrs.field(factory=set[URL])
    """The two hosts of every session."""
    bearers: list[URL] = attrs.field(factory=list[URL])
    """Where bearer tokens were sent."""
    cookies: list[URL] = attrs.field(factory=list[URL])
    """Where our client sent cookies."""

    def complaints(self) -> list[str]:
        """What must not have happened."""
        everything = "\n".join(self.told)
        found = [
            f"a secret was told: {_around(everything, each)}" for each in self.secrets if each in everything
        ]
        found += [f"a token went to {url}" for url in self.bearers if url not in self.origins]
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

    after(
        Grants, "_issue", lambda _, tokens: watch.secrets.update((tokens.access_token, tokens.refresh_token))
    )
    after(Grants, "authorize", lambda _, code: watch.secrets.add(code))
    after(AuthorizationRequest, "__init__", lambda request, _: watch.secrets.add(request.code_verifier))
    after(EzeepError, "__init__", lambda error, _: watch.told.append(f"{error!r} {error}"))
    after(
        Transport,
        "__init__",
        lambda transport, _: watch.origins.update(base.origin() for base in transport._bases.values()),
    )
    _watch_the_log(monkeypatch, watch)
    _watch_requests(monkeypatch, watch)
    return watch


def _watch_the_log(monkeypatch: pytest.MonkeyPatch, watch: Watch) -> None:
    is_enabled, handle = logging.Logger.isEnabledFor, logging.Logger.handle

    def enabled(logger: logging.Logger, level: int) -> bool:
        return logger.name.partition(".")[0] in LOGGERS or is_enabled(logger, level)

    def handled(logger: logging.Logger, record: logging.LogRecord) -> None:
        if logger.name.partition(".")[0] in LOGGERS:
            watch.told.append(record.getMessage())
            if record.exc_info and record.exc_info[1] is not None:
                watch.told += traceback.format_exception(record.exc_info[1])
        if is_enabled(logger, record.levelno):
            handle(logger, record)

    monkeypatch.setattr(logging.Logger, "isEnabledFor", enabled)
    monkeypatch.setattr(logging.Logger, "handle", handled)


def _watch_requests(monkeypatch: pytest.MonkeyPatch, watch: Watch) -> None:
    real = ClientRequest.send

    async def send(request: ClientRequest, *args: Any, **options: Any) -> Any:
        if request.headers.get("User-Agent") == USER_AGENT:
            if request.headers.get("Authorization", "").startswith("Bearer "):
                watch.bearers.append(request.url.origin())
            if "Cookie" in request.headers:
                watch.cookies.append(request.url.origin())
        return await real(request, *args, **options)

    monkeypatch.setattr(ClientRequest, "send", send)
