"""The ASGI application: all views, and the end of their sessions, for which Django has no hook."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.core.asgi import get_asgi_application


Message = MutableMapping[str, Any]

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django_application = get_asgi_application()


async def application(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Serve requests with Django, and close the pool at the end of the server."""
    if scope["type"] != "lifespan":
        await django_application(scope, receive, send)
        return
    from printing.logins import async_logins, engine

    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await async_logins.aclose()
    await engine.dispose()
    await send({"type": "lifespan.shutdown.complete"})
