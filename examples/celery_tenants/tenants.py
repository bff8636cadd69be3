"""Bring the groups of many organizations in line with a file each: one Celery task for each tenant.

pip install 'ezeep_async[redis,sql]' celery aiosqlite
python tenants.py login acme FILE       stores the token set of a tenant, a JSON object as from the token endpoint
celery -A tenants worker -c 4           does the work, on as many hosts as you like
celery -A tenants beat                  starts a task for each file in people/, every night
python tenants.py                       the same, now

Environment: EZEEP_CLIENT_ID, EZEEP_CLIENT_SECRET (of a client that has one), REDIS_URL, DATABASE_URL (optional), TOKEN_KEY
(optional: cryptography.fernet.Fernet.generate_key()), PEOPLE (the folder).
"""

from __future__ import annotations

import functools
import json
import os
import random
import sys
from pathlib import Path

from celery import Celery, Task
from celery.signals import worker_process_init, worker_process_shutdown
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from ezeep_async import (
    BlockingSessionPool,
    DesiredState,
    Endpoints,
    EzeepError,
    OAuthApp,
    ProvisioningFailed,
    RedisTokenStore,
    SessionPool,
    Settings,
    SharedPace,
    SQLTokenStore,
    TokenSet,
    TokenStore,
    is_retryable,
    run_sync,
)


REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
PEOPLE = Path(os.environ.get("PEOPLE", "people"))
"""A CSV file with `group,member` for each tenant: `people/acme.csv`."""
LEASE = float(os.environ.get("TOKEN_LEASE", "90"))
"""Seconds until the locks of a worker process that was killed end; those of single users and groups after 30 at most."""

app = Celery("tenants", broker=REDIS_URL, backend=REDIS_URL)
app.conf.update(
    # A message is removed when its task has ended. If a worker process is killed, another one gets the message again.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    # If the whole worker is killed, with its host: after this time. Longer than the longest task takes.
    broker_transport_options={"visibility_timeout": float(os.environ.get("VISIBILITY_TIMEOUT", "3600"))},
    broker_connection_retry_on_startup=True,
    beat_schedule={"nightly": {"task": "tenants.provision_all", "schedule": 24 * 3600.0}},
)


@functools.cache
def engine() -> AsyncEngine:
    """The database with the logins, if `DATABASE_URL` names one, such as sqlite+aiosqlite:///logins.db."""
    return create_async_engine(os.environ["DATABASE_URL"])


def store_of(tenant: str) -> TokenStore:
    """The token set of a tenant, and the locks that all processes share for its users and groups."""
    key = os.environ.get("TOKEN_KEY")
    if "DATABASE_URL" in os.environ:
        return SQLTokenStore(engine(), tenant, encryption_key=key, lease=LEASE)
    return RedisTokenStore(REDIS_URL, f"ezeep:tenant:{tenant}", encryption_key=key, lease=LEASE)


@functools.cache
def logins() -> BlockingSessionPool:
    """The sessions of this worker process, over shared connections."""
    ezeep = OAuthApp(
        os.environ["EZEEP_CLIENT_ID"],
        os.environ.get("EZEEP_CLIENT_SECRET", ""),
        redirect_uri=os.environ.get("EZEEP_REDIRECT_URI"),
    )
    # A 429 that one worker gets slows all of them, on all hosts.
    settings = Settings(shared_pace=SharedPace(REDIS_URL))
    return run_sync(
        SessionPool(ezeep, store_of, max_open=200, endpoints=Endpoints.from_env(), settings=settings)
    )


@worker_process_init.connect
def start(**_: object) -> None:
    """After the fork. It does no I/O yet."""
    logins()


@worker_process_shutdown.connect
def stop(**_: object) -> None:
    """A worker process ends without exit handlers: without this, a token refresh that is under way is lost."""
    logins().close()


@app.task(bind=True, max_retries=8)
def provision(self: Task, tenant: str) -> str:
    """Give the groups of a tenant the members in its file. May run again after any interruption."""
    desired = DesiredState.from_csv(PEOPLE / f"{tenant}.csv")
    try:
        with logins().session(tenant) as session:
            # What an earlier run of this task did is not in the plan any more.
            plan = session.provisioning.plan(desired, mode="exact")
            report = session.provisioning.apply(plan)
            report.raise_for_failures()
            own = session.accounts.me()
            organization = next(iter(session.groups.list())).organization_id
            support, _ = session.groups.ensure(f"Support of {tenant}", organization)
            session.users.add_to_groups(own.id, support.id)
    except ProvisioningFailed as error:
        raise self.retry(exc=error, countdown=60) from error
    except EzeepError as error:
        if not is_retryable(error):
            raise
        seconds = error.retry_after or random.uniform(5, 10) * 2**self.request.retries
        raise self.retry(exc=error, countdown=seconds) from error
    return report.summary()


@app.task
def provision_all() -> int:
    """Start a task for each tenant. Returns their number."""
    tenants = sorted(path.stem for path in PEOPLE.glob("*.csv"))
    for tenant in tenants:
        provision.delay(tenant)
    return len(tenants)


def main(arguments: list[str]) -> None:
    """See the top of this file."""
    match arguments:
        case []:
            print(provision_all(), "tenants")
        case ["login", tenant, path]:
            with logins() as pool:
                pool.adopt(tenant, TokenSet.from_response(json.loads(Path(path).read_text())))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
