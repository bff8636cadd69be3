"""Protections and limits cannot be bypassed (7-5 to 7-7)."""

from __future__ import annotations

import logging
from uuid import UUID

import attrs
import pytest
from helpers.provisioned import emails, group_named, members, names, writes

from ezeep_async import DesiredState, EzeepSession, SafetyLimitExceeded, StalePlan
from ezeep_async.provisioning import ChangeMemberships, CreateGroup, DeleteGroup, Plan, TargetGroup
from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.state.organization import ORGANIZATION_ID


def _team(sandbox: Sandbox, many: int, name: str) -> UUID:
    organization = sandbox.organization
    group = organization.add_group(name)
    for user in [user for user in organization.listed_users() if user.id != organization.admin_id][:many]:
        user.groups.add(group.id)
    return group.id


async def _emptied(session: EzeepSession, sandbox: Sandbox, name: str, **options) -> Plan:
    """The plan that leaves one member in a group."""
    keeper = sorted(members(sandbox, name))[:1]
    desired = DesiredState.from_mapping({name: keeper})
    return await session.provisioning.plan(desired, mode="exact", max_removals=50, **options)


@pytest.mark.parametrize("name", ["Board [EU]", "What?", "All * of us"])
async def test_7_7_a_whole_name_matches_before_its_glob(
    sandbox: Sandbox, session: EzeepSession, name: str
) -> None:
    """7-7: brackets in a name are not always a set of letters."""
    _team(sandbox, 6, name)
    plan = await _emptied(session, sandbox, name, protect_groups=[name])
    assert (plan.removals, len(plan.held_back)) == (0, 5)


@pytest.mark.parametrize("form", ["{}", "{{{}}}", "urn:uuid:{}", " {} "])
async def test_7_7_an_id_protects_in_every_spelling(
    sandbox: Sandbox, session: EzeepSession, form: str
) -> None:
    """7-7: with and without hyphens, in braces, as a URN, in capitals; of users and of groups."""
    group_id = _team(sandbox, 2, "Team")
    (user_id,) = sorted(
        user for user in sandbox.organization.members(group_id)
        if sandbox.organization.people[user].email != min(members(sandbox, "Team"))
    )  # shorter than one item a line  # fmt: skip
    for text in (str(user_id), user_id.hex, str(user_id).upper()):
        assert (await _emptied(session, sandbox, "Team", protect_users=[form.format(text)])).removals == 0
    assert (
        await _emptied(session, sandbox, "Team", protect_groups=[form.format(group_id.hex)])
    ).removals == 0


@pytest.mark.parametrize("pattern", [None, 5, b"a@b.c", " "])
async def test_7_7_a_value_that_is_not_a_pattern_is_refused(session: EzeepSession, pattern: object) -> None:
    """7-7: before anything is read."""
    with pytest.raises(ValueError, match=r"protect_users (must )?contain"):
        await session.provisioning.plan(
            DesiredState.from_mapping({"Sales": []}), mode="exact", protect_users=[pattern]
        )  # shorter than one item a line  # fmt: skip


async def test_7_7_a_pattern_without_a_match_is_logged(
    sandbox: Sandbox, session: EzeepSession, caplog: pytest.LogCaptureFixture
) -> None:
    """7-7: it may be misspelled."""
    _team(sandbox, 2, "Team")
    options = {"protect_users": ["absent@*", "*@example.com"], "protect_groups": ["Teem", "Team"]}
    with caplog.at_level(logging.WARNING, "ezeep_async.provisioning"):
        await _emptied(session, sandbox, "Team", **options)
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "protect_users contains 'absent@*'",
        "protect_groups contains 'teem'",
    ]


async def test_7_6_an_empty_input_is_refused_in_mode_exact(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-6: the export may have failed. In mode "add" an empty input is an empty plan."""
    nothing = DesiredState.from_mapping({})
    with pytest.raises(SafetyLimitExceeded, match="contains no groups"):
        await session.provisioning.plan(nothing, mode="exact")
    assert (await session.provisioning.plan(nothing)).is_empty


async def test_7_6_a_session_that_cannot_list_people_removes_no_memberships(sandbox: Sandbox) -> None:
    """7-6, 7-7: the directory lists an ordinary user only itself, so no address of the input can be found."""
    _team(sandbox, 6, "Team")
    person = next(
        person for person in sandbox.organization.listed_people()
        if person.id in sandbox.organization.members(group_named(sandbox, "Team").id)
    )  # shorter than one item a line  # fmt: skip
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(person.id), endpoints=sandbox.endpoints
    ) as session:
        plan = await _emptied(session, sandbox, "Team", on_missing="skip")
    assert plan.removals == 0
    assert plan.held_back


async def test_7_7_a_removal_by_name_does_not_bypass_protection(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-7: in an edited plan, only the id identifies the group."""
    _team(sandbox, 6, "Board")
    plan = await _emptied(session, sandbox, "Board")
    edited = attrs.evolve(
        plan,
        kept_groups={group_named(sandbox, "Board").id: "asked for"},
        changes=tuple(
            attrs.evolve(change, remove=tuple(TargetGroup(group.name) for group in change.remove))
            for change in plan.changes
            if isinstance(change, ChangeMemberships)
        ),
    )
    with pytest.raises(StalePlan, match="has no id"):
        await session.provisioning.apply(edited)
    assert writes(sandbox) == []


async def test_7_7_a_plan_deletes_only_groups_that_a_run_created(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    """7-5, 7-7: not in another mode, under another name, of another directory, or if it is protected."""
    ours, theirs = _team(sandbox, 0, "Ours"), _team(sandbox, 0, "Theirs")
    group_named(sandbox, "Theirs").origin = {"provider": "Azure", "foreign_id": str(theirs)}
    for plan, reason in (
        (Plan(changes=(DeleteGroup(ours, "Ours"),)), "its mode is 'add'"),
        (Plan(changes=(DeleteGroup(ours, "Mine"),), mode="undo"), "is named 'Ours' now"),
        (Plan(changes=(DeleteGroup(theirs, "Theirs"),), mode="undo"), "belongs to Azure"),
        (
            Plan(changes=(DeleteGroup(ours, "Ours"),), mode="undo", kept_groups={ours: "asked for"}),
            "is protected",
        ),
    ):
        with pytest.raises(StalePlan, match=reason):
            await session.provisioning.apply(plan)
    assert writes(sandbox) == []
    report = await session.provisioning.apply(Plan(changes=(DeleteGroup(ours, "Ours"),), mode="undo"))
    assert report.counts == {"deleted": 1}


async def test_7_10_one_plan_creates_one_group_of_a_name(sandbox: Sandbox, session: EzeepSession) -> None:
    """7-10: in every spelling of the name."""
    before = names(sandbox)
    twice = [
        CreateGroup(name, ORGANIZATION_ID) for name in ("Café", "Cafe\N{COMBINING ACUTE ACCENT}", " Café ")
    ]
    with pytest.raises(StalePlan, match="creates 3 groups"):
        await session.provisioning.apply(Plan(changes=tuple(twice)))
    assert names(sandbox) == before
    assert emails(sandbox)


@pytest.mark.parametrize(
    "options", [{"allow_external": "false"}, {"create_groups": "no"}, {"create_groups": None}]
)
async def test_a_flag_must_be_a_bool(
    sandbox: Sandbox, session: EzeepSession, options: dict[str, object]
) -> None:
    """ "false" is true in Python."""
    with pytest.raises(ValueError, match="must be True or False"):
        await session.provisioning.plan(DesiredState.from_mapping({"Sales": []}), **options)
    assert sandbox.requests == []


async def test_arguments_of_other_types_are_refused(sandbox: Sandbox, session: EzeepSession) -> None:
    """A mapping in place of a `DesiredState`, and a callback that would never be awaited."""
    with pytest.raises(ValueError, match="from_mapping"):
        await session.provisioning.plan({"Sales": []})

    async def follow(_: object) -> None:
        pass

    with pytest.raises(ValueError, match="not awaited"):
        await session.provisioning.apply(Plan(), on_event=follow)
    assert sandbox.requests == []
