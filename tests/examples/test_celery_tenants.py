"""`examples/celery_tenants`: killed workers, one cool-down for all, and two gunicorn workers that change the same users."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import attrs
import pytest
from helpers.celery_workers import EXAMPLES, Client, Worker, client, environment, worker
from helpers.redis_servers import Server
from helpers.support import put, reserved_port, sandbox_in_a_thread

from ezeep_async import SQLTokenStore
from ezeep_async.sandbox import Sandbox


sqlalchemy = pytest.importorskip("sqlalchemy.ext.asyncio", reason="the extra sql is not installed")
pytest.importorskip("aiosqlite", reason="a driver for SQLite is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.may_block, pytest.mark.timeout(120)]

PROCESSES, TENANTS, MEMBERS = 4, 6, 10
PATCH = "PATCH /printing/v1/users/{id}/"
CREATE = "POST /printing/v1/groups/"


@attrs.define
class Service:
    """What the tests share: the sandbox, Redis, the logins of the tenants, a running worker."""

    sandbox: Sandbox
    env: dict[str, str]
    worker: Worker
    client: Client

    def members(self, tenant: int) -> list[UUID]:
        """The users of a tenant: not those of another one. The first one is the login of the service provider."""
        return list(self.sandbox.organization.users)[tenant * MEMBERS : (tenant + 1) * MEMBERS]

    def write_people(self, group: str) -> None:
        """Each tenant wants two groups, with all of its users in both."""
        for tenant in range(TENANTS):
            people = [self.sandbox.organization.people[user].email for user in self.members(tenant)]
            rows = [f"{group} {kind} {tenant},{email}" for kind in "AB" for email in people]
            Path(self.env["PEOPLE"], f"tenant{tenant}.csv").write_text("\n".join(["group,member", *rows]))

    def provision(self) -> list[str]:
        return [self.client.send("tenants.provision", f"tenant{n}") for n in range(TENANTS)]

    def assert_provisioned(self, group: str) -> None:
        """Every group exists once, and every member is in it."""
        names = Counter(each.name for each in self.sandbox.organization.groups.values())
        assert max(names.values()) == 1
        found = {each.name: each.id for each in self.sandbox.organization.groups.values()}
        for tenant in range(TENANTS):
            wanted = {found[f"{group} {kind} {tenant}"] for kind in "AB"}
            for user in self.members(tenant):
                assert wanted <= set(self.sandbox.organization.users[user].groups)
            support = found[f"Support of tenant{tenant}"]
            assert support in self.sandbox.organization.users[self.members(tenant)[0]].groups


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("tenants")
    (folder / "people").mkdir()
    url = f"sqlite+aiosqlite:///{folder / 'logins.db'}"

    async def log_in() -> None:
        """Each tenant with an administrator of its own."""
        engine = sqlalchemy.create_async_engine(url)
        await SQLTokenStore.create_table(engine)
        for tenant in range(TENANTS):
            sandbox.organization.people[users[tenant * MEMBERS]].roles = ("admin",)
            tokens = sandbox.tokens(users[tenant * MEMBERS])
            await put(SQLTokenStore(engine, f"tenant{tenant}"), tokens)
        await engine.dispose()

    with contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(sandbox_in_a_thread(users=TENANTS * MEMBERS + 5, latency=0.01))
        users = list(sandbox.organization.users)
        redis = Server(folder)
        stack.callback(redis.close)
        env = environment(
            sandbox, redis, WORKER_LOG=str(folder / "worker.log"), PEOPLE=str(folder / "people"),
            DATABASE_URL=url, TOKEN_LEASE="2",
        )  # shorter than one item a line  # fmt: skip
        asyncio.run(log_in())
        running = stack.enter_context(worker("celery_tenants", "tenants", env, processes=PROCESSES))
        yield Service(sandbox, env, running, stack.enter_context(client(redis)))


def test_killed_workers_resume_without_a_doubled_group_or_a_lost_membership(service: Service) -> None:
    """Killed while a group is created, and while members are written: the responses are lost with the process."""
    service.write_people("Killed")
    creating = service.sandbox.faults.hold(CREATE)
    tasks = service.provision()
    asyncio.run(asyncio.wait_for(creating.arrived(1), 20))  # the sandbox is one organization: one at a time
    for pid in service.worker.children:
        os.kill(pid, signal.SIGKILL)
    writing = service.sandbox.faults.hold(PATCH)
    creating.release()
    asyncio.run(asyncio.wait_for(writing.arrived(PROCESSES), 20))
    for pid in service.worker.children[:2]:
        os.kill(pid, signal.SIGKILL)
    writing.release()
    for task in tasks:
        service.client.result(task)
    assert "WorkerLostError" in service.worker.log
    service.assert_provisioned("Killed")


def test_one_cool_down_for_all_workers(service: Service) -> None:
    """Each worker process is refused at most once in each cool-down."""
    service.write_people("Limited")
    behaviour, before = service.sandbox.behaviour, len(service.sandbox.requests)
    behaviour.max_per_second, behaviour.retry_after = 50, 1.0
    try:
        for task in service.provision():
            service.client.result(task)
    finally:
        behaviour.max_per_second = behaviour.retry_after = None
    service.assert_provisioned("Limited")
    refused = [seen.arrived for seen in service.sandbox.requests[before:] if seen.status == 429]
    cool_downs = refused[:1]
    for arrived in refused:
        if arrived > cool_downs[-1] + 0.9:
            cool_downs.append(arrived)
    assert cool_downs, "the limit was never reached"
    assert len(refused) <= PROCESSES * len(cool_downs)


@contextlib.contextmanager
def gunicorn(env: dict[str, str], folder: Path) -> Iterator[str]:
    with reserved_port() as port, (folder / "gunicorn.log").open("wb") as log:
        paths = f"{EXAMPLES / 'celery_tenants'},{Path(__file__).parent}"
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-w", "2", "--preload", "--pythonpath", paths, "--no-control-socket",
             "--bind", f"127.0.0.1:{port}", "gunicorn_wsgi:application"],
            env=env, stdout=log, stderr=log, start_new_session=True,
        )  # shorter than one item a line  # fmt: skip
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_two_gunicorn_workers_and_celery_workers_change_the_same_users(
    service: Service, tmp_path: Path
) -> None:
    """The locks of `SQLTokenStore` and the pools: no membership is lost, and no group exists twice."""
    service.write_people("Shared")
    organization = service.sandbox.organization
    groups = [organization.add_group(f"Web {number}").id for number in range(4)]
    served: set[str] = set()

    def post(url: str, user: UUID, group: UUID) -> None:
        request = urllib.request.Request(f"{url}/tenant0/{user}/{group}", method="POST")
        for _ in range(200):
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    served.add(response.headers["X-Served-By"])
                    return
            except ConnectionError:
                pass
            except urllib.error.URLError as error:
                if not isinstance(error.reason, ConnectionError):
                    raise
            time.sleep(0.05)
        raise AssertionError("gunicorn did not start")

    users = service.members(0)
    with gunicorn(service.env, tmp_path) as url, ThreadPoolExecutor(8) as threads:
        post(url, users[0], groups[0])
        # Twice, as after a message that was delivered again.
        tasks = [service.client.send("tenants.provision", "tenant0") for _ in range(2)]
        posts = [threads.submit(post, url, user, group) for group in groups for user in users]
        for each in posts:
            each.result()
        for task in tasks:
            service.client.result(task)
    names = Counter(each.name for each in organization.groups.values())
    assert max(names.values()) == 1
    found = {each.name: each.id for each in organization.groups.values()}
    wanted = {*groups, found["Shared A 0"], found["Shared B 0"]}
    assert [user for user in users if not wanted <= set(organization.users[user].groups)] == []
    assert len(served) == 2


def test_the_worker_stops_without_errors(service: Service) -> None:
    """Its pools are closed: Python reports each session that is not."""
    service.worker.stop()
    assert "ResourceWarning" not in service.worker.log
    assert "never awaited" not in service.worker.log
