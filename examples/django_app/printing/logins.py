"""The logins of the users, in Django's database."""

from __future__ import annotations

import contextlib
import os

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import redirect
from sqlalchemy.ext.asyncio import create_async_engine

from ezeep_async import Endpoints, EzeepError, OAuthApp, SessionPool, Settings, SQLTokenStore, run_sync


ezeep_app = OAuthApp(
    os.environ["EZEEP_CLIENT_ID"], os.environ.get("EZEEP_CLIENT_SECRET"), os.environ["EZEEP_REDIRECT_URI"]
)
engine = create_async_engine(f"sqlite+aiosqlite:///{settings.DATABASE}")


def new_pool() -> SessionPool:
    """Create a pool. It opens nothing before its first use."""
    return SessionPool(
        ezeep_app,
        store=lambda user: SQLTokenStore(engine, user, lease=25.0, encryption_key=os.environ["TOKEN_KEY"]),
        endpoints=Endpoints.from_env(),
        settings=Settings(deadline=30.0, refresh_timeout=10.0),  # as long as a browser waits
    )


async_logins = new_pool()
"""For async views: belongs to the event loop of the ASGI server."""
logins = run_sync(new_pool())
"""For all other code: its calls run on an event loop in the background, one in each process."""


def start_login(secret: str) -> HttpResponse:
    """Send the browser to ezeep. The cookie is encrypted: it contains the code verifier."""
    started = logins.oauth.authorization_request()
    response = redirect(started.url)
    response.set_cookie(
        "ezeep_login",
        started.to_cookie(secret),
        path="/callback",
        httponly=True,
        secure=settings.SESSION_COOKIE_SECURE,
        samesite="Lax",
    )
    return response


def revoke(user: str) -> None:
    """End the stored login of a user at ezeep. What calls it continues also while ezeep cannot be reached."""
    with contextlib.suppress(EzeepError), logins.session(user) as ezeep:
        ezeep.oauth.revoke()


def end_login(user: str) -> None:
    """Revoke a login at ezeep, and delete it here."""
    revoke(user)
    logins.drop(user)
