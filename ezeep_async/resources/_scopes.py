"""Calls that need an OAuth scope of their own: a 403 names the scope to ask for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from ezeep_async._wire.requests import SAFE_METHODS, Request
from ezeep_async._wire.responses import RawResponse
from ezeep_async.errors import PermissionDenied
from ezeep_async.resources._base import Api, Lock
from ezeep_async.settings import Settings


T = TypeVar("T")


class ScopedApi:
    """An `Api` whose `PermissionDenied` has the scope that the call needs."""

    def __init__(self, api: Api, scope: str, readonly: str | None = None) -> None:
        self._api = api
        self._scope = scope
        self._readonly = scope if readonly is None else readonly

    @property
    def settings(self) -> Settings:
        """See `Api.settings`."""
        return self._api.settings

    def common(self, kind: Callable[[], T]) -> T:
        """See `Api.common`."""
        return self._api.common(kind)

    async def send(self, request: Request, /) -> RawResponse:
        """See `Api.send`."""
        try:
            return await self._api.send(request)
        except PermissionDenied as error:
            error.scope = self._readonly if request.method in SAFE_METHODS else self._scope
            advice = (
                f"ask for it with OAuthApp(scope='printing {error.scope}') or EZEEP_SCOPE, and log in again"
            )
            error.args = (
                f"{str(error).removesuffix('.')}. If the app lacks the scope {error.scope!r}: {advice}",
                *error.args[1:],
            )
            raise

    def exclusive(self, *name: str) -> Awaitable[Lock]:
        """See `Api.exclusive`."""
        return self._api.exclusive(*name)
