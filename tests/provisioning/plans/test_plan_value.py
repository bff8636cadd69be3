"""`Plan` as JSON and pickle, its text for people, and damaged plans."""

from __future__ import annotations

import json
import pickle
from datetime import UTC
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest
from helpers.provisioned import add_team, emails, members, new_team, state
from hypothesis import given, settings
from hypothesis import strategies as st

from ezeep_async import EzeepSession, Plan
from ezeep_async.provisioning import (
    ChangeMemberships,
    CreateGroup,
    DeleteGroup,
    DesiredState,
    HeldBack,
    InvitePerson,
    TargetGroup,
)
from ezeep_async.sandbox import Sandbox


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ids = st.uuids()
targets = st.builds(TargetGroup, texts, st.none() | ids)
several = st.lists(targets, max_size=3).map(tuple)
changes = st.one_of(
    st.builds(CreateGroup, texts, ids),
    st.builds(InvitePerson, texts),
    st.builds(ChangeMemberships, ids, texts, several, several, st.frozensets(ids, max_size=3)),
    st.builds(DeleteGroup, ids, texts),
)
plans = st.builds(
    Plan,
    changes=st.lists(changes, max_size=5).map(tuple),
    mode=st.sampled_from(["add", "exact", "undo"]),
    memberships=st.integers(0, 10**6),
    groups=st.frozensets(ids, max_size=3),
    members=st.dictionaries(ids, st.frozensets(ids, max_size=3), max_size=2),
    members_now=st.integers(0, 10**6),
    max_removals=st.floats(0, 0.999) | st.integers(0, 10**6),
    skipped=st.lists(texts, max_size=2).map(tuple),
    waiting=st.lists(texts, max_size=2).map(tuple),
    held_back=st.lists(st.builds(HeldBack, texts, texts, texts), max_size=2).map(tuple),
    kept_users=st.dictionaries(ids, texts, max_size=2),
    kept_groups=st.dictionaries(ids, texts, max_size=2),
    allow_external=st.booleans(),
    made_at=st.datetimes(timezones=st.just(UTC)),
)

FULL = Plan(
    changes=(
        CreateGroup("Night shift", UUID(int=1)),
        InvitePerson("new@example.com"),
        ChangeMemberships(
            UUID(int=2),
            "a@example.com",
            (TargetGroup("Night shift"), TargetGroup("Sales", UUID(int=3))),
            (TargetGroup("Support", UUID(int=4)),),
            frozenset({UUID(int=4), UUID(int=5)}),
        ),
        DeleteGroup(UUID(int=6), "Old"),
    ),
    mode="exact",
    members={UUID(int=3): frozenset({UUID(int=2), UUID(int=7)})},
    memberships=4,
    groups=frozenset({UUID(int=3), UUID(int=4)}),
    members_now=7,
    skipped=("b@example.com",),
    waiting=("c@example.com",),
    held_back=(HeldBack("d@example.com", "Sales", "it has to be"),),
    kept_users={UUID(int=7): "it has to be"},
    kept_groups={UUID(int=8): "this too"},
)


@pytest.mark.slow
@pytest.mark.timeout(120)
@given(plans)
@settings(max_examples=settings().max_examples * 2)
def test_any_plan_round_trips_through_json_and_pickle(plan: Plan) -> None:
    assert Plan.from_json(plan.to_json()) == plan
    assert Plan.from_json(plan.to_json().encode()) == plan
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert hash(plan) == hash(Plan.from_json(plan.to_json()))


def test_a_plan_is_plain_values() -> None:
    """What `json` writes of them is read as a plan."""
    values = FULL.to_dict()
    assert json.loads(FULL.to_json()) == values
    assert Plan.from_json(json.dumps(values)) == FULL


def test_several_invitations_are_of_people() -> None:
    invitations = tuple(InvitePerson(f"{name}@example.com") for name in "ab")
    assert Plan(changes=invitations).summary() == "invite 2 people"


def test_diff_summary_and_str() -> None:
    assert "\n".join(FULL.diff()) == (
        "+ group Night shift\n"
        "+ invitation new@example.com\n"
        "~ a@example.com\n"
        "  + Night shift\n"
        "  + Sales\n"
        "  - Support\n"
        "- group Old\n"
        "! b@example.com: not in the organization, skipped\n"
        "! c@example.com: not a user yet, waiting\n"
        "! d@example.com stays in 'Sales': it has to be"
    )
    assert FULL.summary() == (
        "create 1 group, invite 1 person, change 1 user, add 2 memberships, remove 1 membership, delete 1 group "
        "(1 person skipped, 1 person waiting, 1 removal held back)"
    )
    assert [str(change) for change in FULL.changes] == [
        "create group 'Night shift'",
        "invite new@example.com",
        "a@example.com: add to 'Night shift', 'Sales', remove from 'Support'",
        "delete group 'Old'",
    ]
    assert list(Plan().diff()) == []


# --- damaged -------------------------------------------------------------------------------------------------------


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths to everything in a document."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            found += places(item, (*path, number))
    return found


DOCUMENT = json.loads(FULL.to_json())
KEYS = [
    path
    for path in places(DOCUMENT)
    if isinstance(path[-1], str) and "kept" not in str(path[-2:-1]) and path[-2:-1] != ("members",)
]
VALUES = [path for path in places(DOCUMENT) if path[0] not in {"format", "version"}]


def parent(document: Any, path: tuple[str | int, ...]) -> Any:
    for step in path[:-1]:
        document = document[step]
    return document


def test_a_missing_field_is_refused() -> None:
    """A plan that lost its protections must not be read as a plan without protections."""
    for path in KEYS:
        document = json.loads(FULL.to_json())
        del parent(document, path)[path[-1]]
        with pytest.raises(ValueError, match=rf"\b{path[-1]}\b|not a plan|version"):
            Plan.from_json(json.dumps(document))


@pytest.mark.parametrize("wrong", [None, "x", 1.5, True, [], {}, [[]], -1])
def test_a_value_of_another_type_is_refused(wrong: object) -> None:
    refused = 0
    for path in VALUES:
        document = json.loads(FULL.to_json())
        place = parent(document, path)
        before, place[path[-1]] = place[path[-1]], wrong
        try:
            plan = Plan.from_json(json.dumps(document))
        except ValueError as error:
            refused += 1
            # The place is named, by its own name or by that of the list that it is in.
            assert str(path[-1]) in str(error) or str(path[0]) in str(error)
        else:
            # Only what is as good a value as the one before is taken, and for what it expected.
            kinds = {type(before), type(wrong)}
            assert len(kinds) == 1 or kinds <= {int, float} or (path[-1] == "id" and wrong is None)
            assert json.loads(plan.to_json()) == document
    assert refused > len(VALUES) / 2


@pytest.mark.parametrize("path", [(), ("changes", 0), ("changes", 2, "add", 0), ("held_back", 0)], ids=str)
def test_an_unknown_field_is_refused(path: tuple[str | int, ...]) -> None:
    """For example a plan of a later version, or a misspelled field name."""
    document = json.loads(FULL.to_json())
    parent(document, (*path, ""))["surprise"] = 1
    with pytest.raises(ValueError, match="surprise is unknown at \\$"):
        Plan.from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "not a plan"),
        ("{", "not JSON"),
        ("[]", "not a plan"),
        ("null", "not a plan"),
        ("{}", "not a plan"),
        ("\ud800", "not JSON"),
        (b"\xff\xfe", "UTF-16: save it as UTF-8"),
        (b"\xef\xbb\xbf \n", "not a plan: it is empty"),
        ("[" * 100_000, "not JSON"),
        ('{"format": "ezeep provisioning plan", "version": 4}', "version 4"),
        ('{"format": "ezeep provisioning plan"}', "version None"),
        (FULL.to_json()[:-40], "not JSON"),
    ],
)
def test_text_that_is_not_a_plan_is_refused(text: str | bytes, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Plan.from_json(text)


@pytest.mark.parametrize("kind", ["delete_everything", "", 7, None])
def test_an_unknown_kind_of_change_is_named(kind: object) -> None:
    document = json.loads(FULL.to_json())
    document["changes"][1]["kind"] = kind
    with pytest.raises(ValueError, match=r"changes\[1\]"):
        Plan.from_json(json.dumps(document))


# --- applied later -------------------------------------------------------------------------------------------------


async def test_7_1_a_plan_from_json_is_applied_in_another_session(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    text = (await session.provisioning.plan(new_team(sandbox))).to_json()
    async with EzeepSession(
        sandbox.oauth_app, tokens=sandbox.tokens(), endpoints=sandbox.endpoints
    ) as another:
        (await another.provisioning.apply(Plan.from_json(text))).raise_for_failures()
    assert members(sandbox, "Team") == set(emails(sandbox, 8))


async def test_7_15_a_plan_of_undo_takes_the_memberships_back(
    sandbox: Sandbox, session: EzeepSession, tmp_path: Path
) -> None:
    """7-15: protection from the plan does not prevent reverting it."""
    log = tmp_path / "audit.jsonl"
    team = add_team(sandbox, 6)
    sandbox.organization.users[sandbox.organization.admin_id].groups.add(team.id)
    people = emails(sandbox)
    admin = sandbox.organization.people[sandbox.organization.admin_id].email
    before = state(sandbox)
    plan = await session.provisioning.plan(
        DesiredState.from_mapping({"Team": people[4:9], "New": [*people[:9], admin], "Test": people[:2]}),
        mode="exact",
        protect_groups=["test"],
        protect_users=[people[0]],
        max_removals=100,
    )
    assert plan.held_back
    assert plan.removals > 2
    (await session.provisioning.apply(plan, audit_log=log)).raise_for_failures()
    assert state(sandbox) != before
    back = Plan.from_json((await session.provisioning.undo(log)).to_json())
    assert (back.mode, back.removals, back.max_removals) == ("undo", plan.additions, plan.additions)
    assert attrs.evolve(back, changes=()).removal_limit == plan.additions
    (await session.provisioning.apply(back)).raise_for_failures()
    assert state(sandbox) == before
