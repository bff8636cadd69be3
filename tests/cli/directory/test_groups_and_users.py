"""`ezeep groups` and `ezeep users`: by id and by name, and what is refused."""

from __future__ import annotations

import json

import pytest
from helpers.command_line import ezeep
from helpers.terminal import at_a_terminal

from ezeep_async import AmbiguousName, ExternalGroup, NotFound
from ezeep_async.cli.directory.groups import (
    create_group,
    delete_group,
    list_members,
    rename_group,
    show_group,
)
from ezeep_async.cli.directory.users import groups_of_user, list_users, show_user
from ezeep_async.sandbox import Sandbox


Capture = pytest.CaptureFixture[str]
ADMIN = "second.user@example.com"
WRITE = "PATCH /printing/v1/users/{id}/"


def named(sandbox: Sandbox, name: str):
    (group,) = [group for group in sandbox.organization.groups.values() if group.name == name]
    return group


# --- groups --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("login")
async def test_a_group_by_its_name(capsys: Capture, sandbox: Sandbox) -> None:
    sales = named(sandbox, "Sales")
    await show_group(" Sales")
    assert f"id: {sales.id}\n" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no group is named 'sales': did you mean 'Sales'"):
        await show_group("sales")
    with pytest.raises(ValueError, match=r"no group is named 'Nowhere near'$"):
        await show_group("Nowhere near")
    with pytest.raises(NotFound):
        await show_group("00000000-0000-0000-0000-000000000009")
    twin = sandbox.organization.add_group("Sales")
    with pytest.raises(
        AmbiguousName, match=f"2 groups are named 'Sales': use an id, {sales.id} or {twin.id}"
    ):
        await show_group("Sales")
    await show_group(str(twin.id))
    assert f"id: {twin.id}\n" in capsys.readouterr().out


@pytest.mark.usefixtures("login")
async def test_members(capsys: Capture, sandbox: Sandbox) -> None:
    sales = named(sandbox, "Sales")
    await list_members("Sales")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == sandbox.organization.num_members(sales.id)
    assert all("@example.com\t" in line for line in lines)
    await list_members(str(sales.id), as_json=True)
    by_id = json.loads(capsys.readouterr().out)
    await list_users(group="Sales", as_json=True)
    assert json.loads(capsys.readouterr().out) == by_id
    assert [user["id"] for user in by_id] == [line.partition("\t")[0] for line in lines]


@pytest.mark.usefixtures("login")
async def test_rename(capsys: Capture, sandbox: Sandbox) -> None:
    sales = named(sandbox, "Sales")
    members = sandbox.organization.num_members(sales.id)
    await rename_group("Sales", "Vertrieb")
    assert capsys.readouterr().out.startswith("renamed 'Sales' to 'Vertrieb'\n")
    assert (sales.name, sandbox.organization.num_members(sales.id)) == ("Vertrieb", members)
    await rename_group("Vertrieb", "Vertrieb", as_json=True)
    assert json.loads(capsys.readouterr().out)["id"] == str(sales.id)
    with pytest.raises(ValueError, match="a group named 'Support' exists already"):
        await rename_group("Vertrieb", "Support")
    with pytest.raises(ValueError, match="the name has 0 characters"):
        await rename_group("Vertrieb", " ")
    with pytest.raises(ExternalGroup, match="belongs to Azure: change it there, or give --allow-external"):
        await rename_group("WVD Printers", "x")
    assert sandbox.count("PATCH /printing/v1/groups/{id}/") == 2
    await rename_group("WVD Printers", "x", allow_external=True)
    assert named(sandbox, "x").origin["provider"] == "Azure"


@pytest.mark.usefixtures("login")
async def test_a_name_that_differs_only_in_blanks_and_accents_is_in_use(
    capsys: Capture, sandbox: Sandbox
) -> None:
    """7-1: `ezeep provision` compares without blanks around names, and however their accents are composed."""
    composed, apart = "Caf\N{LATIN SMALL LETTER E WITH ACUTE}", "Cafe\N{COMBINING ACUTE ACCENT}"
    kept = sandbox.organization.add_group(f"{apart} ")
    with pytest.raises(ValueError, match=f"a group named '{apart} ' exists already"):
        await rename_group("Sales", composed)
    await create_group(composed)
    assert capsys.readouterr().out.startswith(f"'{apart} ' exists already: nothing changed\nid: {kept.id}\n")
    assert not [request for request in sandbox.requests if request.method in {"POST", "PATCH"}]
    await rename_group("Sales", f" {apart}x ")
    await create_group("  New ")
    assert named(sandbox, f"{composed}x")
    assert named(sandbox, "New")


@pytest.mark.usefixtures("login")
async def test_delete(capsys: Capture, sandbox: Sandbox) -> None:
    """7-14: what is used is not deleted, and what another directory owns neither, unless that is said."""
    for name, used in (("Sales", "9 members and 0 printers"), ("Support", "10 members and 2 printers")):
        with pytest.raises(ValueError, match=f"'{name}' has {used}: pass --force to delete it anyway"):
            await delete_group(name, yes=True)
    with pytest.raises(ExternalGroup):
        await delete_group("WVD Printers", yes=True, force=True)
    assert sandbox.count("DELETE /printing/v1/groups/{id}/") == 0
    assert await delete_group("Test", yes=True) == 0
    assert await delete_group("Sales", yes=True, force=True) == 0
    assert capsys.readouterr().out == "deleted 'Test'\ndeleted 'Sales'\n"
    assert not {"Test", "Sales"} & {group.name for group in sandbox.organization.groups.values()}


@pytest.mark.slow
async def test_delete_asks(login: dict[str, str], sandbox: Sandbox) -> None:
    ran = await ezeep("groups", "delete", "Test", env=login)
    assert "Pass --yes to skip the question" in ran.refused()
    for answer, code in (("n", 1), ("y", 0)):
        async with at_a_terminal("groups", "delete", "Test", env=login) as terminal:
            await terminal.shows("Delete group 'Test' with 0 members and 0 printers? [y/N] ")
            terminal.type(answer + "\n")
            assert await terminal.ended() == code
        assert bool(
            [group for group in sandbox.organization.groups.values() if group.name == "Test"]
        ) == bool(code)


# --- users ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("login")
async def test_a_user_by_its_address(capsys: Capture, sandbox: Sandbox) -> None:
    organization = sandbox.organization
    await show_user(" Second.User@Example.com")
    assert f"id: {organization.admin_id}\n" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"no user has the address absent@example.com"):
        await show_user("absent@example.com")
    with pytest.raises(ValueError, match="'Second User' is neither an e-mail address nor the id of a user"):
        await show_user("Second User")
    other = organization.listed_users()[0]
    organization.people[other.id].email = ADMIN
    with pytest.raises(AmbiguousName, match=r"2 users have the address second.user@example.com: use an id"):
        await show_user(ADMIN)
    # One of them has an account only: then the other one is meant.
    organization.users.pop(other.id)
    await show_user(ADMIN)
    assert f"id: {organization.admin_id}\n" in capsys.readouterr().out


@pytest.mark.usefixtures("login")
async def test_the_groups_of_a_user_in_one_write(capsys: Capture, sandbox: Sandbox) -> None:
    """Added and taken out of at once; its other groups stay; nothing is written where nothing changes."""
    organization = sandbox.organization
    user = organization.users[organization.admin_id]
    before = {organization.groups[each].name for each in user.groups}
    support = str(named(sandbox, "Support").id)
    user.groups.add(named(sandbox, "Marketing").id)
    await groups_of_user(ADMIN, add=("Sales", support), remove=("Marketing",))
    names = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]
    assert set(names) == before | {"Sales", "Support"}
    assert names == sorted(names, key=str.casefold)
    assert sandbox.count(WRITE) == 1
    await groups_of_user(str(user.id), add=("Sales",), remove=("Marketing",), as_json=True)
    assert [group["name"] for group in json.loads(capsys.readouterr().out)] == names
    assert sandbox.count(WRITE) == 1


@pytest.mark.usefixtures("login")
async def test_what_is_no_change_of_groups(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="in --add and in --remove: 'Sales'"):
        await groups_of_user(ADMIN, add=("Sales",), remove=(str(named(sandbox, "Sales").id),))
    with pytest.raises(ExternalGroup):
        await groups_of_user(ADMIN, add=("Sales", "WVD Printers"))
    with pytest.raises(ValueError, match="no group is named 'Salse': did you mean 'Sales'"):
        await groups_of_user(ADMIN, add=("Salse",))
    assert sandbox.count(WRITE) == 0
    await groups_of_user(ADMIN, add=("WVD Printers",), allow_external=True)
    assert sandbox.count(WRITE) == 1


async def test_options_that_are_given_twice(login: dict[str, str], sandbox: Sandbox) -> None:
    ran = await ezeep("users", "groups", ADMIN, "--add", "Sales", "--add", "Support", env=login)
    assert (ran.code, ran.err) == (0, "")
    names = {line.split("\t")[1] for line in ran.out.splitlines()}
    assert names >= {"Sales", "Support"}
    assert all(line.count("\t") == 2 for line in ran.out.splitlines())


# --- names that look the same --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("login")
async def test_a_name_that_looks_like_another_is_said(capsys: Capture, sandbox: Sandbox) -> None:
    sales = named(sandbox, "Sales")
    await create_group("sales")
    shown = capsys.readouterr()
    assert shown.out.startswith("created 'sales'\n")
    assert shown.err == f"ezeep: there is also a group 'Sales', whose name looks the same: {sales.id}\n"
    await create_group("sales")  # it is there already: no news
    assert capsys.readouterr().err == ""
    await rename_group("Support", "SALES", as_json=True)
    shown = capsys.readouterr()
    assert json.loads(shown.out)["name"] == "SALES"
    assert shown.err.count("whose name looks the same") == 2
    await rename_group("Reception", "reception")  # a group looks like itself
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("login")
async def test_no_group_gets_a_name_with_invisible_characters(capsys: Capture, sandbox: Sandbox) -> None:
    there = sandbox.organization.add_group("Crew\u200b")
    for give in (create_group("Sales\u200b"), rename_group("Support", "Sa\u2060les")):
        with pytest.raises(ValueError, match="has an invisible character at position"):
            await give
    await create_group("Crew\u200b")
    assert "exists already" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"no group is named 'Crew': did you mean 'Crew\\u200b'"):
        await show_group("Crew")
    await rename_group(str(there.id), "Crew")
    assert there.name == "Crew"
    assert sandbox.count("POST /printing/v1/groups/") == 0
