"""A bare WSGI application beside `examples/celery_tenants`, with the same logins.

`POST /<tenant>/<user id>/<group id>` adds the user to the group.

gunicorn -w 2 --pythonpath examples/celery_tenants,tests/examples gunicorn_wsgi:application
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import tenants  # type: ignore[import-not-found]  # in examples/celery_tenants


def application(environ: dict[str, str], start_response: Callable[..., object]) -> Iterable[bytes]:
    tenant, user_id, group_id = environ["PATH_INFO"].strip("/").split("/")
    with tenants.logins().session(tenant) as session:
        session.users.add_to_groups(user_id, group_id)
    start_response("200 OK", [("Content-Length", "0"), ("X-Served-By", str(os.getpid()))])
    return []
