"""`examples/celery_app` with `celery -P gevent`: tasks are greenlets of one thread, and do not block each other."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path

import pytest
from helpers.celery_workers import client, environment, worker
from helpers.redis_servers import Server
from helpers.support import put, sandbox_in_a_thread

from ezeep_async import RedisTokenStore


pytestmark = [
    pytest.mark.slow,
    pytest.mark.may_block,
    pytest.mark.timeout(60),
    # Not imported here: it changes what a fork does.
    pytest.mark.skipif(
        importlib.util.find_spec("gevent") is None, reason="the dependency group examples is not installed"
    ),
]

PATCH = "PATCH /printing/v1/users/{id}/"


def test_tasks_run_while_another_one_waits(tmp_path: Path) -> None:
    server = Server(tmp_path)
    try:
        with sandbox_in_a_thread() as sandbox:
            asyncio.run(put(RedisTokenStore(server.address), sandbox.tokens()))
            first, *others = list(sandbox.organization.users)[:11]
            group = next(iter(sandbox.organization.groups))
            for user in (first, *others):
                sandbox.organization.users[user].groups.clear()
            hold = sandbox.faults.hold(PATCH, times=1)
            env = environment(sandbox, server, WORKER_LOG=str(tmp_path / "log"))
            with (
                worker("celery_app", "printing", env, "-P", "gevent", processes=20) as running,
                client(server) as app,
            ):
                waiting = app.send("printing.add_to_groups", str(first), str(group))
                asyncio.run(asyncio.wait_for(hold.arrived(), 20))
                sent = [app.send("printing.add_to_groups", str(user), str(group)) for user in others]
                assert [app.result(task) for task in sent] == [[str(group)]] * len(others)
                assert server.admin.get(f"celery-task-meta-{waiting}") is None
                hold.release()
                assert app.result(waiting) == [str(group)]
                running.stop()
                assert "Traceback" not in running.log
                assert running.errors() == []
    finally:
        server.close()
