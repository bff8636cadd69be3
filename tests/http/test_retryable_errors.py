"""Retries by the caller's own means: ours turned off, and asked what they would have done (6-12)."""

from __future__ import annotations

import copy
import pickle
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import stamina
import tenacity
from helpers.stub_servers import quick

from ezeep_async import (
    ApiError,
    BadRequest,
    EzeepError,
    EzeepSession,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    ServerError,
    TransientAuthError,
    is_retryable,
)
from ezeep_async.sandbox import Sandbox


READ = "GET /printing/v1/groups/{id}/"
CREATE = "POST /printing/v1/groups/"
WRITE = "PATCH /printing/v1/users/{id}/"
TOKEN = "POST /oauth/access_token/"


@pytest.fixture
async def session(sandbox: Sandbox) -> AsyncIterator[EzeepSession]:
    async with EzeepSession(
        sandbox.oauth_app,
        tokens=sandbox.tokens(),
        endpoints=sandbox.endpoints,
        settings=quick(retries=0, refresh_timeout=2.0),
    ) as opened:
        yield opened


@pytest.fixture
def group(sandbox: Sandbox) -> UUID:
    return next(iter(sandbox.organization.groups))


def back_off(error: Exception) -> bool | float:
    """What stamina gets: whether, and after how many seconds where the server has said so."""
    if isinstance(error, EzeepError) and error.retryable:
        return True if error.retry_after is None else error.retry_after
    return False


@pytest.mark.parametrize("fault", [{"status": 502}, {"drop": "before"}, {"status": 429, "retry_after": 0.05}])
async def test_6_12_stamina_drives_a_call(
    session: EzeepSession, sandbox: Sandbox, group: UUID, fault: Any
) -> None:
    """6-12: three requests for one result, all of them stamina's doing."""
    sandbox.faults.add(READ, times=2, **fault)
    numbers = []
    async for attempt in stamina.retry_context(on=back_off, attempts=5, wait_initial=0.01, wait_jitter=0.0):
        with attempt:
            numbers.append(attempt.num)
            found = await session.groups.get(group)
    assert found.id == group
    assert numbers == [1, 2, 3]
    assert sandbox.count(READ) == 3
    assert session.stats.retries == 0


async def test_6_12_stamina_leaves_alone_what_would_do_harm(session: EzeepSession, sandbox: Sandbox) -> None:
    """6-12: a creation whose response was lost, and one that was refused, are not made again by `on=is_retryable`."""
    create = stamina.AsyncRetryingCaller(attempts=5, wait_initial=0.0, wait_jitter=0.0).on(is_retryable)
    sandbox.faults.add(CREATE, drop="after")
    with pytest.raises(OutcomeUnknown):
        await create(session.groups.create, "Once", sandbox.organization.organization_id)
    with pytest.raises(BadRequest):
        await create(session.groups.create, "Once", uuid4())
    assert sandbox.count(CREATE) == 2


async def test_6_12_tenacity_drives_a_call_and_waits_as_long_as_was_asked(
    session: EzeepSession, sandbox: Sandbox, group: UUID
) -> None:
    """6-12: `retry_if_exception(is_retryable)`, and a wait that is made of `retry_after`."""
    sandbox.faults.add(WRITE, status=503, retry_after=17, times=2)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    def asked(state: tenacity.RetryCallState) -> float:
        error = None if state.outcome is None else state.outcome.exception()
        assert isinstance(error, EzeepError)
        return error.retry_after or 0.0

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(is_retryable),
        wait=asked,
        stop=tenacity.stop_after_attempt(5),
        sleep=sleep,
        reraise=True,
    )
    user = next(iter(sandbox.organization.users))
    assert (await retrying(session.users.set_groups, user, [group])).group_ids == {group}
    assert slept == [17.0, 17.0]
    assert sandbox.count(WRITE) == 3


@pytest.mark.parametrize(
    ("status", "read", "creation"),
    [
        (400, False, False),
        (401, False, False),
        (403, False, False),
        (404, False, False),
        (408, True, False),
        (409, False, False),
        (422, False, False),
        (429, True, True),
        (500, True, False),
        (502, True, False),
        (503, True, True),
        (504, True, False),
    ],
)
async def test_6_12_each_error_knows_whether_its_call_may_be_made_again(
    session: EzeepSession, sandbox: Sandbox, group: UUID, status: int, read: bool, creation: bool
) -> None:
    """6-12: it depends on the response, and on whether the call does harm twice."""
    sandbox.faults.add(READ, status=status, times=None)
    sandbox.faults.add(CREATE, status=status, times=None)
    with pytest.raises(EzeepError) as caught:
        await session.groups.get(group)
    assert (is_retryable(caught.value), caught.value.retryable) == (read, read)
    with pytest.raises(EzeepError) as caught:
        await session.groups.create("x", sandbox.organization.organization_id)
    assert is_retryable(caught.value) is creation


@pytest.mark.slow
@pytest.mark.parametrize("route", [CREATE, WRITE])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 422, 429, 500, 501, 502, 503, 504, 524])
async def test_6_4_each_error_knows_whether_its_write_may_have_been_carried_out(
    session: EzeepSession, sandbox: Sandbox, group: UUID, status: int, route: str
) -> None:
    """6-4: after a 408 and each 5xx but 503, whether or not the write does harm twice."""
    sandbox.faults.add(route, status=status, times=None)
    with pytest.raises(EzeepError) as caught:
        if route == CREATE:
            await session.groups.create("x", sandbox.organization.organization_id)
        else:
            await session.users.set_groups(next(iter(sandbox.organization.users)), [group])
    assert caught.value.may_have_happened is (status in {408, 500, 501, 502, 504, 524})
    assert isinstance(caught.value, OutcomeUnknown) is (route == CREATE and status in {502, 504})


@pytest.mark.parametrize("status", [429, 503])
async def test_6_12_retry_after_is_reported_and_pickled(
    session: EzeepSession, sandbox: Sandbox, group: UUID, status: int
) -> None:
    """6-12, 8-6: in seconds, with a 429 and a 503, after pickling too; None where the server said nothing."""
    with pytest.raises(NotFound) as caught_other:
        await session.groups.get(uuid4())
    assert (caught_other.value.retry_after, is_retryable(caught_other.value)) == (None, False)
    sandbox.faults.add(READ, status=status, retry_after=86400)
    with pytest.raises(ApiError) as caught:
        await session.groups.get(group)
    for error in (caught.value, copy.deepcopy(caught.value), pickle.loads(pickle.dumps(caught.value))):
        assert isinstance(error, RateLimited | ServerError)
        assert (error.retry_after, is_retryable(error)) == (86400, True)


async def test_6_12_a_refresh_that_failed_for_now_may_be_retried(
    session: EzeepSession, sandbox: Sandbox, group: UUID
) -> None:
    """6-12: `TransientAuthError` is retryable, with the `Retry-After` of the token endpoint."""
    sandbox.expire_access_tokens()
    sandbox.faults.add(TOKEN, status=503, retry_after=30, times=None)
    with pytest.raises(TransientAuthError) as caught:
        await session.groups.get(group)
    assert is_retryable(caught.value)
    assert caught.value.retry_after == 30


def test_6_12_errors_of_others_are_not_ours_to_judge() -> None:
    """6-12: False for them, so that it can be given to any library as it is."""
    assert not is_retryable(ConnectionError())
    assert not is_retryable(EzeepError("message"))
