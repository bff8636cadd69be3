"""The web applications in the code blocks of pages, served on real sockets."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import types
import wsgiref.simple_server
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from helpers import documents
from helpers.support import until
from web.servers import listening


def recipe(page: str, mark: str) -> Any:
    """The block of the page after this mark, as a module."""
    module = types.ModuleType(f"recipe_{mark.replace('-', '_')}")
    sys.modules[module.__name__] = module  # Flask and Django look it up by its name
    exec(compile(documents.marked(page, mark), f"{page}: {mark}", "exec"), vars(module))
    return module


@asynccontextmanager
async def on_uvicorn(app: Any) -> AsyncIterator[str]:
    """Serve an ASGI application, and return its address."""
    sock, url = listening()
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
    running = asyncio.create_task(server.serve([sock]))
    await until(lambda: server.started or running.done())
    yield url
    server.should_exit = True
    await running


class _Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        """Serve, and read what the application did not: data that arrives after a close resets the connection."""
        super().handle()
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(5)
        while self.connection.recv(65536):
            pass


@contextmanager
def on_wsgi(app: Any) -> Iterator[str]:
    """Serve a WSGI application in a thread, and return its address."""
    with wsgiref.simple_server.make_server("127.0.0.1", 0, app, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def on_django(urls: Any) -> Iterator[str]:
    """Serve a module with `urlpatterns` in a Django without middleware. Its settings are those of the process."""
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.test import override_settings

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["127.0.0.1"], SECRET_KEY="x" * 50, MIDDLEWARE=[])
    with override_settings(ROOT_URLCONF=urls.__name__), on_wsgi(get_wsgi_application()) as url:
        yield url
