"""`ezeep groups delete`: the confirmation is for what the question named."""

from __future__ import annotations

import pytest
from helpers.terminal import at_a_terminal

from ezeep_async.sandbox import Sandbox


pytestmark = pytest.mark.slow


QUESTION = "Delete group 'Project' with {members} and 0 printers? [y/N] "
DELETE = "DELETE /printing/v1/groups/{id}/"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("change", "now"),
    [
        ("members", "'Project' of Ezeep with 7 members and 0 printers"),
        ("name", "'Management' of Ezeep with 0 members and 0 printers"),
        ("origin", "'Project' of Azure with 0 members and 0 printers"),
        ("gone", ""),
    ],
)
async def test_7_14_a_group_that_changed_while_the_question_stood_is_not_deleted(
    login: dict[str, str], sandbox: Sandbox, change: str, now: str, force: bool
) -> None:
    """With --force too: the yes was one to fewer members, or to another group."""
    organization = sandbox.organization
    group = organization.add_group("Project")
    arguments = ["--force"] if force else []
    async with at_a_terminal("groups", "delete", "Project", *arguments, env=login) as terminal:
        await terminal.shows(QUESTION.format(members="0 members"))
        if change == "members":
            for user in organization.listed_users()[:7]:
                user.groups.add(group.id)
        elif change == "name":
            group.name = "Management"
        elif change == "origin":
            group.origin = {"provider": "Azure", "foreign_id": "x"}
        else:
            organization.groups.pop(group.id)
        terminal.type("y\n")
        assert await terminal.ended() == 1
    if change == "gone":
        assert "404" in terminal.text
    else:
        says = f"ezeep: nothing was deleted: it has changed since the question, and is now {now}\n"
        assert terminal.text.endswith(says)
        assert group.id in organization.groups
    assert sandbox.count(DELETE) == 0


async def test_7_14_a_group_that_is_as_it_was_is_deleted(login: dict[str, str], sandbox: Sandbox) -> None:
    organization = sandbox.organization
    group = organization.add_group("Project")
    organization.listed_users()[0].groups.add(group.id)
    async with at_a_terminal("groups", "delete", "Project", "--force", env=login) as terminal:
        await terminal.shows(QUESTION.format(members="1 member"))
        terminal.type("y\n")
        assert await terminal.ended() == 0
    assert group.id not in organization.groups
