"""The aiohttp.web application as gunicorn's workers run it:

gunicorn --config tests/web/gunicorn_settings.py --pythonpath tests web.gunicorn_app:serve
"""

from __future__ import annotations

import logging
import os

from aiohttp import web
from web.aiohttp_app import create_app, create_runner
from web.logins import Logins

from ezeep_async import Endpoints, OAuthApp


logger = logging.getLogger("web")


async def serve() -> web.AppRunner:
    """Called in each worker. Returns a runner, because gunicorn has no setting for its options."""
    logging.basicConfig(level=logging.INFO)
    environ = os.environ
    ezeep = OAuthApp(environ["EZEEP_CLIENT_ID"], redirect_uri=environ["EZEEP_REDIRECT_URI"])
    app = create_app(Logins(environ["LOGINS"], ezeep, endpoints=Endpoints.from_env()))
    app.on_response_prepare.append(_name_the_worker)
    app.on_shutdown.append(_say_so)
    return create_runner(app)


async def _name_the_worker(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["X-Served-By"] = str(os.getpid())


async def _say_so(_: web.Application) -> None:
    logger.info("worker %d stops", os.getpid())
