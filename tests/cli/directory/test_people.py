"""`ezeep invitations`, `ezeep users invite` and `ezeep users delete`."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from helpers.command_line import ended, ezeep, started
from helpers.terminal import at_a_terminal

from ezeep_async.sandbox import Sandbox


INVITE = "POST /v1/userinvitations/"
DELETE = "DELETE /v1/users/{id}/"


@pytest.fixture(autouse=True)
def _no_invitations(sandbox: Sandbox) -> None:
    sandbox.organization.invitations.clear()


@pytest.fixture
def anna(sandbox: Sandbox) -> UUID:
    return sandbox.organization.add_user(email="anna@example.com").id


@pytest.fixture
def dora(sandbox: Sandbox) -> UUID:
    return sandbox.organization.add_user(email="dora@example.com").id


def invited(sandbox: Sandbox) -> list[str]:
    return [each.email for each in sandbox.organization.invitations.values()]


# --- invite --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("login")
async def test_invite(sandbox: Sandbox) -> None:
    ran = await ezeep("users", "invite", "bert@example.com", "clara@example.com", "--days", "7")
    assert (ran.code, ran.err) == (0, "")
    assert invited(sandbox) == ["bert@example.com", "clara@example.com"]
    rows = [line.split("\t") for line in ran.out.splitlines()]
    assert [row[:2] for row in rows] == [["bert@example.com", "invited"], ["clara@example.com", "invited"]]
    assert {UUID(row[2]) for row in rows} == sandbox.organization.invitations.keys()
    for each in sandbox.organization.invitations.values():
        end = datetime.fromisoformat(str(each.expire_date)).replace(tzinfo=UTC)
        assert timedelta(days=6) < end - datetime.now(UTC) <= timedelta(days=7)


@pytest.mark.usefixtures("login", "anna")
async def test_members_and_invited_people_get_no_mail(sandbox: Sandbox) -> None:
    await ezeep("users", "invite", "bert@example.com")
    emails = ("Anna@example.com", "BERT@example.com", "clara@example.com", "clara@example.com")
    ran = await ezeep("users", "invite", *emails, "--json")
    assert ran.code == 0
    outcomes = {each["email"]: each["outcome"] for each in json.loads(ran.out)}
    assert outcomes == {
        "Anna@example.com": "member",
        "BERT@example.com": "invited_already",
        "clara@example.com": "invited",
    }
    assert invited(sandbox) == ["bert@example.com", "clara@example.com"]


@pytest.mark.usefixtures("login")
async def test_one_address_in_several_forms_gets_one_mail(sandbox: Sandbox) -> None:
    forms = ("clara@example.com", "CLARA@Example.com ", "J\u00f6rg@example.com", "jo\u0308rg@example.com")
    ran = await ezeep("users", "invite", *forms, "--json")
    assert [each["email"] for each in json.loads(ran.out)] == ["clara@example.com", "J\u00f6rg@example.com"]
    assert sandbox.count(INVITE) == 2


@pytest.mark.usefixtures("login")
async def test_an_invitation_that_fails_stops_no_other(sandbox: Sandbox) -> None:
    sandbox.faults.add(INVITE, status=400)
    sandbox.faults.add(INVITE, drop="after", times=None, when=lambda request: b"clara" in request.body)
    ran = await ezeep("users", "invite", "a@example.com", "bert@example.com", "clara@example.com", "--json")
    assert ran.code == 1
    rows = json.loads(ran.out)
    assert [each["outcome"] for each in rows] == ["failed", "invited", "unknown"]
    assert [bool(each["error"]) for each in rows] == [True, False, True]
    assert [line.split(": ")[1] for line in ran.err.splitlines()] == ["a@example.com", "clara@example.com"]


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no address is given"),
        (("bert",), "not an e-mail address: 'bert'"),
        (("bert@example.com, clara@example.com",), "not an e-mail address"),
    ],
)
async def test_what_is_no_address(sandbox: Sandbox, arguments: tuple[str, ...], message: str) -> None:
    assert message in (await ezeep("users", "invite", *arguments)).refused()
    assert not sandbox.requests


@pytest.mark.slow
async def test_an_interrupted_command_shows_what_was_sent(login: dict[str, str], sandbox: Sandbox) -> None:
    sandbox.faults.add(INVITE, nth=2, delay=60, times=None)
    emails = ("a@example.com", "b@example.com", "c@example.com")
    async with started("users", "invite", *emails, env=login) as process:
        while sum(request.method == "POST" for request in sandbox.requests) < 2:
            await asyncio.sleep(0.01)
        process.terminate()
        ran = await ended(process)
    assert ran.code == 143
    assert [line.split("\t")[1] for line in ran.out.splitlines()] == ["invited", "unknown", "not started"]


# --- invitations ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("login")
async def test_the_list_of_invitations(sandbox: Sandbox) -> None:
    await ezeep("users", "invite", "bert@example.com", "clara@example.com")
    first, second = sandbox.organization.invitations.values()
    second.invitation_status = "ACCEPTED"
    ran = await ezeep("invitations", "list")
    assert (await ezeep("invitations")).out == ran.out
    assert [line.split("\t")[:3] for line in ran.out.splitlines()] == [
        [str(first.id), "bert@example.com", "OPEN"],
        [str(second.id), "clara@example.com", "ACCEPTED"],
    ]
    ran = await ezeep("invitations", "list", "--status", "open", "--json")
    assert [each["email"] for each in json.loads(ran.out)] == ["bert@example.com"]


@pytest.mark.usefixtures("login")
async def test_resend(sandbox: Sandbox) -> None:
    await ezeep("users", "invite", "bert@example.com")
    (invitation,) = sandbox.organization.invitations.values()
    ran = await ezeep("invitations", "resend", "Bert@example.com")
    assert (ran.code, ran.out) == (0, "the mail to bert@example.com is sent again\n")
    assert (await ezeep("invitations", "resend", str(invitation.id))).code == 0
    assert sum(request.method == "PATCH" for request in sandbox.requests) == 2
    invitation.invitation_status = "EXPIRED"
    ran = await ezeep("invitations", "resend", "bert@example.com")
    assert "ezeep users invite bert@example.com sends one" in ran.refused()
    assert "neither an e-mail address nor" in (await ezeep("invitations", "resend", "bert")).refused()


# --- delete --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("login")
async def test_delete(sandbox: Sandbox, anna: UUID, dora: UUID) -> None:
    ran = await ezeep("users", "delete", "Anna@example.com", str(dora), str(anna), "--yes", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out) == [
        {"email": "anna@example.com", "id": str(anna), "outcome": "deleted", "error": None},
        {"email": "dora@example.com", "id": str(dora), "outcome": "deleted", "error": None},
    ]
    assert not {anna, dora} & sandbox.organization.people.keys()


@pytest.mark.usefixtures("login", "dora")
async def test_one_who_is_not_found_stops_all(sandbox: Sandbox, anna: UUID) -> None:
    ran = await ezeep("users", "delete", str(anna), "ana@example.com", "dora", "--yes")
    assert ran.refused() == "not in the organization: 'ana@example.com', 'dora'. Nothing was deleted"
    assert anna in sandbox.organization.people


@pytest.mark.usefixtures("login")
async def test_two_with_one_address(sandbox: Sandbox, anna: UUID, dora: UUID) -> None:
    sandbox.organization.people[dora].email = "anna@example.com"
    ran = await ezeep("users", "delete", "anna@example.com", "--yes")
    assert ran.refused() == f"2 users have the address anna@example.com: use an id, {anna} or {dora}"


@pytest.mark.usefixtures("login", "anna")
async def test_one_cannot_delete_oneself(sandbox: Sandbox) -> None:
    me = sandbox.organization.people[sandbox.organization.admin_id]
    ran = await ezeep("users", "delete", "anna@example.com", me.email, "--yes")
    assert ran.refused() == "you cannot delete yourself: another administrator can"
    assert sandbox.organization.person_with_email("anna@example.com") is not None


@pytest.mark.usefixtures("login")
async def test_a_deletion_that_fails_stops_no_other(sandbox: Sandbox, anna: UUID, dora: UUID) -> None:
    sandbox.faults.add(DELETE, status=403)
    ran = await ezeep("users", "delete", str(anna), str(dora), "--yes")
    assert ran.code == 1
    assert [line.split("\t")[1] for line in ran.out.splitlines()] == ["failed", "deleted"]
    assert ran.err.startswith("ezeep: anna@example.com: DELETE /v1/users/")
    assert anna in sandbox.organization.people
    assert dora not in sandbox.organization.people


@pytest.mark.usefixtures("login")
async def test_without_a_terminal_it_needs_yes(sandbox: Sandbox, anna: UUID) -> None:
    assert "Pass --yes" in (await ezeep("users", "delete", str(anna))).refused()
    assert not sandbox.requests


@pytest.mark.slow
@pytest.mark.parametrize(("typed", "code"), [("n\n", 1), ("y\n", 0)])
async def test_the_question(
    login: dict[str, str], sandbox: Sandbox, anna: UUID, typed: str, code: int
) -> None:
    async with at_a_terminal("users", "delete", "anna@example.com", env=login) as terminal:
        await terminal.shows("Delete this user from the organization: anna@example.com? [y/N] ")
        terminal.type(typed)
        assert await terminal.ended() == code
    assert (anna in sandbox.organization.people) == (code == 1)
