"""Invitations: creating, listing and resending."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import pytest
from helpers.stub_servers import no_jitter

from ezeep_async import BadRequest, EzeepSession, Invitation, NotFound, OutcomeUnknown
from ezeep_async.sandbox import Sandbox


CREATE = "POST /v1/userinvitations/"


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    no_jitter(monkeypatch)


def sent(sandbox: Sandbox) -> str:
    return str(json.loads(sandbox.requests[-1].body)["expire_date"])


async def test_an_invitation_is_made_and_listed(session: EzeepSession) -> None:
    """An invitation that was created is typed, and listed afterwards."""
    before = await session.invitations.list().collect()
    invitation = await session.invitations.create("new@example.com")
    assert isinstance(invitation, Invitation)
    assert invitation.email == "new@example.com"
    assert await session.invitations.list().collect() == [*before, invitation]


async def test_without_a_date_it_holds_30_days(session: EzeepSession, sandbox: Sandbox) -> None:
    """30 days from now in UTC, in the documented form: no time zone, no fraction."""
    await session.invitations.create("new@example.com")
    text = sent(sandbox)
    expires = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    assert abs(expires - datetime.now(UTC) - timedelta(days=30)) < timedelta(seconds=10)


async def test_aware_dates_are_sent_in_utc_without_an_offset(session: EzeepSession, sandbox: Sandbox) -> None:
    """17:15 at +02:00 is sent as 15:15."""
    moment = datetime(2031, 7, 22, 17, 15, 33, 500, tzinfo=timezone(timedelta(hours=2)))
    invitation = await session.invitations.create("new@example.com", moment)
    assert sent(sandbox) == "2031-07-22T15:15:33"
    assert invitation.expire_date == datetime(2031, 7, 22, 15, 15, 33, tzinfo=UTC)


async def test_naive_dates_are_sent_as_they_are(session: EzeepSession, sandbox: Sandbox) -> None:
    """A date without a time zone is sent without one."""
    await session.invitations.create("new@example.com", datetime(2031, 7, 22, 15, 15, 33))  # noqa: DTZ001  # no time zone on purpose
    assert sent(sandbox) == "2031-07-22T15:15:33"


async def test_resend_gives_nothing(session: EzeepSession, sandbox: Sandbox) -> None:
    """`resend` returns None, and sends one PATCH of the invitation."""
    invitation = await session.invitations.create("new@example.com")
    assert await session.invitations.resend(invitation.id) is None
    assert sandbox.requests[-1].key == "PATCH /v1/userinvitations/{id}/"
    with pytest.raises(NotFound):
        await session.invitations.resend(uuid4())


@pytest.mark.parametrize("drop", ["before", "after"])
async def test_6_4_a_lost_answer_is_unknown_and_no_second_mail(
    session: EzeepSession, sandbox: Sandbox, drop: Any
) -> None:
    """6-4: an invitation is not retried."""
    sandbox.faults.add(CREATE, drop=drop)
    with pytest.raises(OutcomeUnknown):
        await session.invitations.create("new@example.com")
    assert sandbox.count(CREATE) == 1


@pytest.mark.parametrize("bad", ["", "nomail", None, 5, "x" * 260 + "@example.com"])
async def test_bad_addresses_are_refused_unsent(session: EzeepSession, sandbox: Sandbox, bad: Any) -> None:
    """A text that is no address is a `ValueError`; nothing is sent."""
    with pytest.raises(ValueError, match="email"):
        await session.invitations.create(bad)
    assert sandbox.requests == []


@pytest.mark.parametrize(("end", "hours"), [("9999-12-31T23:59:59", -12), ("0001-01-01", 14)])
async def test_dates_beyond_the_calendar_are_refused_unsent(
    session: EzeepSession, sandbox: Sandbox, end: str, hours: int
) -> None:
    """A date that UTC cannot represent is a `ValueError`; nothing is sent."""
    until = datetime.fromisoformat(end).replace(tzinfo=timezone(timedelta(hours=hours)))
    with pytest.raises(ValueError, match="expire_date"):
        await session.invitations.create("a@example.com", until)
    assert sandbox.requests == []


@pytest.mark.parametrize("bad", ["", "x", None, 5])
async def test_bad_ids_are_refused_unsent(session: EzeepSession, sandbox: Sandbox, bad: Any) -> None:
    """An id that is no UUID is a `ValueError`; nothing is sent."""
    with pytest.raises(ValueError, match="UUID"):
        await session.invitations.resend(bad)
    assert sandbox.requests == []


async def test_3_8_what_the_server_refuses_is_named(session: EzeepSession) -> None:
    """3-8: an address that the server rejects is a field error."""
    with pytest.raises(BadRequest) as caught:
        await session.invitations.create("x@y@")
    assert "email" in caught.value.field_errors
