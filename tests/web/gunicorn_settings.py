"""How gunicorn runs the aiohttp.web application."""

workers = 2
worker_class = "aiohttp.GunicornWebWorker"
graceful_timeout = 120
"""Seconds after which a worker that stops is killed: longer than handlers (60), or a token refresh with its one
replay (2 x 30), may take."""
control_socket_disable = True
