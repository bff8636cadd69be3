"""Canned responses, as users' tests have them: the SDK works under aioresponses, without a server."""

from __future__ import annotations

import pytest
from helpers.canned import canned_responses
from helpers.stub_servers import login
from helpers.support import QUICK

from ezeep_async import (
    BadRequest,
    Conflict,
    Endpoints,
    EzeepSession,
    NotFound,
    OAuthApp,
    PermissionDenied,
    RateLimited,
    ServerError,
    TransportError,
    UnexpectedRedirect,
    UnexpectedResponse,
)


GROUP = {
    "id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "name": "Sales",
    "organization_id": "11111111-1111-4111-8111-111111111111",
}
URL = f"{Endpoints().api}/printing/v1/groups/{GROUP['id']}/"


def open_session(**options) -> EzeepSession:
    settings = QUICK.__class__(retries=0, **options)
    return EzeepSession(OAuthApp("client"), tokens=login(), endpoints=Endpoints(), settings=settings)


async def test_a_record() -> None:
    with canned_responses() as canned:
        canned.get(URL, payload=GROUP)
        async with open_session() as session:
            group = await session.groups.get(GROUP["id"])
    assert group.name == "Sales"
    (((method, url), _),) = canned.requests.items()
    assert (method, str(url)) == ("GET", URL)


@pytest.mark.parametrize(
    ("status", "payload", "error"),
    [
        (302, None, UnexpectedRedirect),
        (400, {"name": ["Too long."]}, BadRequest),
        (403, {"detail": "You do not have permission."}, PermissionDenied),
        (404, {"detail": "Not found."}, NotFound),
        (409, {"message": {"name": ["has already been taken"]}}, Conflict),
        (429, {"detail": "Request was throttled."}, RateLimited),
        (503, None, ServerError),
        (200, ["no", "group"], UnexpectedResponse),
    ],
)
async def test_a_status_is_an_error(status: int, payload: object, error: type[Exception]) -> None:
    with canned_responses() as canned:
        canned.get(URL, status=status, payload=payload)
        async with open_session() as session:
            with pytest.raises(error):
                await session.groups.get(GROUP["id"])


async def test_a_response_that_is_not_canned_is_a_transport_error() -> None:
    with canned_responses():
        async with open_session() as session:
            with pytest.raises(TransportError):
                await session.groups.get(GROUP["id"])
