"""Two Celery tasks: add a user to groups, and print a document.

pip install 'ezeep_async[cli,redis]' celery
celery -A printing worker -c 4

Environment: EZEEP_CLIENT_ID, REDIS_URL, TOKEN_KEY (optional: cryptography.fernet.Fernet.generate_key()).

The token set is in Redis. After `ezeep login --client-id CLIENT_ID --token-file login.json` this puts it there, once; do not
use the file any more:

    tokens = await FileTokenStore("login.json").load()
    async with EzeepSession.from_env(store=RedisTokenStore(REDIS_URL, encryption_key=TOKEN_KEY), tokens=tokens) as session:
        await session.oauth.refresh()
"""

from __future__ import annotations

import functools
import os
import random

import redis
from celery import Celery, Task
from celery.exceptions import Ignore
from celery.signals import worker_process_shutdown

from ezeep_async import BlockingSession, EzeepError, EzeepSession, RedisTokenStore, is_retryable, run_sync


REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

app = Celery("printing", broker=REDIS_URL, backend=REDIS_URL)
app.conf.update(worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)
prints = redis.Redis.from_url(REDIS_URL, decode_responses=True)
WEEK = 7 * 86400


@functools.cache
def ezeep() -> BlockingSession:
    """One session for each worker process. It opens with its first call, and so after the fork."""
    store = RedisTokenStore(REDIS_URL, encryption_key=os.environ.get("TOKEN_KEY"))
    return run_sync(EzeepSession.from_env(store=store))


@worker_process_shutdown.connect
def close_session(**_: object) -> None:
    """A worker process ends without exit handlers: without this, a token refresh that is under way is lost."""
    if ezeep.cache_info().currsize:
        ezeep().close()


def try_later(task: Task, error: Exception) -> Exception:
    """Return what the task raises: Celery's `Retry` if running it again can help, else the error."""
    if not is_retryable(error):
        return error
    seconds = error.retry_after or random.uniform(5, 10) * 2**task.request.retries
    return task.retry(exc=error, countdown=seconds, max_retries=8, throw=False)


# Adding again changes nothing, so that the task may run twice: the message is removed when the task has ended.
@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def add_to_groups(self: Task, user_id: str, *group_ids: str) -> list[str]:
    """Add a user to groups, and return the ids of all groups of the user."""
    try:
        user = ezeep().users.add_to_groups(user_id, *group_ids)
    except EzeepError as error:
        raise try_later(self, error) from error
    return sorted(str(each) for each in user.group_ids)


# Printing twice is worse than not printing: the message is removed before the task begins, whatever `task_acks_late` is.
@app.task(bind=True, acks_late=False)
def print_document(self: Task, printer: str, path: str) -> int:
    """Print a file on the printer with that name, and return the number of printed pages.

    Redis has `print:<id of the task>`: "sending", then the id of the job. A task that is delivered again does not print.
    """
    key = f"print:{self.request.id}"
    if not prints.set(key, "sending", nx=True, ex=WEEK):
        raise Ignore
    try:
        job = ezeep().printing.print_file(path, ezeep().printers.find(printer))
    except (EzeepError, ValueError, OSError) as error:
        if getattr(error, "may_have_happened", False):
            raise  # it may be printed: the key stays
        prints.delete(key)
        raise try_later(self, error) from error
    prints.set(key, job.id, ex=WEEK)
    return job.wait().pages_printed  # its errors are not retried: that would print again
