"""Arguments of wrong types, for all resources."""

from __future__ import annotations

import pytest

from ezeep_async import EzeepSession
from ezeep_async.sandbox import Sandbox


@pytest.mark.parametrize("bad", [b"x", None, 5, ["x"]])
async def test_3_16_wrong_types_are_refused_before_anything_is_sent(
    sandbox: Sandbox, session: EzeepSession, bad: object
) -> None:
    """3-16: bytes would be sent as base64, a text as a flag: `ValueError`, and no request."""
    organization = sandbox.organization.organization_id
    calls = [
        session.accounts.update(organization, first_name=bad),
        session.accounts.update(organization, email=bad),
        session.groups.create(bad, organization),
        session.groups.update(organization, name=bad),
        session.groups.update(organization, local_printing_enabled=bad),
        session.groups.ensure(bad, organization),
        session.users.set_groups(organization, bad),
        session.invitations.create(bad),
        session.request(bad, "/printing/v1/groups/"),
        session.request("GET", bad),
    ]
    for call in calls:
        with pytest.raises(ValueError):
            await call
    if bad is not None:
        with pytest.raises(ValueError):
            await session.groups.create("x", organization, local_printing_enabled=bad)
        with pytest.raises(ValueError):
            await session.invitations.create("a@example.com", bad)
    if bad != ["x"]:
        with pytest.raises((ValueError, TypeError)):
            await session.accounts.update(organization, roles=bad)
    assert not sandbox.requests
