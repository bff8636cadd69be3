"""The logins of the users, in Django's database."""

from __future__ import annotations

import os

from django.conf import settings
from sqlalchemy.ext.asyncio import create_async_engine

from ezeep_async import Endpoints, OAuthApp, SessionPool, Settings, SQLTokenStore, run_sync


ezeep_app = OAuthApp(
    os.environ["EZEEP_CLIENT_ID"], os.environ.get("EZEEP_CLIENT_SECRET"), os.environ["EZEEP_REDIRECT_URI"]
)
engine = create_async_engine(f"sqlite+aiosqlite:///{settings.DATABASE}")


def new_pool() -> SessionPool:
    """Create a pool. It opens nothing before its first use."""
    return SessionPool(
        ezeep_app,
        store=lambda user: SQLTokenStore(engine, user, encryption_key=os.environ["TOKEN_KEY"]),
        endpoints=Endpoints.from_env(),
        settings=Settings(deadline=30.0),  # a browser does not wait for five minutes, the default
    )


async_logins = new_pool()
"""For async views: belongs to the event loop of the ASGI server."""
logins = run_sync(new_pool())
"""For all other code: its calls run on an event loop in the background, one in each process."""
