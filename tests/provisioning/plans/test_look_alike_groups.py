"""New groups: a name that looks like another is noted in the plan, a name with invisible characters is refused."""

from __future__ import annotations

import unicodedata

import attrs
import pytest
from helpers.provisioned import POST_GROUP, add_team, emails, members, names, writes

from ezeep_async import EzeepSession
from ezeep_async.provisioning import CreateGroup, DesiredState, InvalidInput, Plan
from ezeep_async.sandbox import Sandbox


def wants(sandbox: Sandbox, *groups: str) -> DesiredState:
    """Two people in each group."""
    return DesiredState.from_mapping({name: emails(sandbox, 2) for name in groups})


LOOK_ALIKES = [
    "night shift",
    "NIGHT SHIFT",
    "Night\u00a0shift",
    "Night  shift",
    "Night\u2003shift",
    "Night\u3000shift",
    "\uff2eight shift",
    "\U0001d40dight shift",
    "N\u0456ght shift",  # a Cyrillic i
    "\u039dight shift",  # a Greek Nu
    "N\u0131ght shift",
]


@pytest.mark.parametrize("name", LOOK_ALIKES, ids=ascii)
async def test_a_name_that_looks_like_another_is_noted_in_the_plan(
    sandbox: Sandbox, session: EzeepSession, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.organization.add_group("Night shift")
    plan = await session.provisioning.plan(wants(sandbox, name))
    (note,) = plan.notes
    assert "there is a group 'Night shift'" in note
    assert f"! {note}" in list(plan.diff())
    assert note in caplog.text
    assert Plan.from_json(plan.to_json()).notes == (note,)


@pytest.mark.parametrize(
    ("there", "name"),
    [
        ("Director's office", "Director\u2019s office"),
        ("Floor 2-3", "Floor 2\u20133"),
        ("Floor 2-3", "Floor 2\u20113"),
        ("\u0130nsan Kaynaklar\u0131", "insan kaynaklar\u0131"),
        ("Stra\u00dfe", "STRASSE"),
        ("Sales", "\u0405ales"),
        ("\u041e\u0442\u0434\u0435\u043b", "\u043e\u0442\u0434\u0435\u043b"),
        ("\u2764", "\u2764\ufe0f"),
        ("\u0633\u0644\u0627\u0645\u0647\u0627", "\u0633\u0644\u0627\u0645\u200c\u0647\u0627"),
        ("Cr\u200bew", "Crew"),
        ("Crew\u3164", "Crew"),
        ("Crew\u2800", "crew"),
        ("\ufb01nance", "Finance"),
    ],
    ids=ascii,
)
async def test_other_ways_to_look_the_same(
    sandbox: Sandbox, session: EzeepSession, there: str, name: str
) -> None:
    sandbox.organization.add_group(there)
    plan = await session.provisioning.plan(wants(sandbox, name))
    (note,) = plan.notes
    assert "there is a group" in note


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Day shift", "Night shift 2", "Nightshift", "N\u00efght shift"], ids=ascii)
async def test_other_names_are_not_noted(sandbox: Sandbox, session: EzeepSession, name: str) -> None:
    sandbox.organization.add_group("Night shift")
    plan = await session.provisioning.plan(wants(sandbox, name))
    assert plan.notes == ()


@pytest.mark.parametrize(
    "name",
    [unicodedata.normalize("NFD", "Caf\u00e9"), "Caf\u00e9\u3000", "\u2003Caf\u00e9", "Caf\u00e9\u00a0"],
    ids=ascii,
)
async def test_a_name_that_compares_equal_is_the_existing_group(
    sandbox: Sandbox, session: EzeepSession, name: str
) -> None:
    sandbox.organization.add_group("Caf\u00e9")
    plan = await session.provisioning.plan(wants(sandbox, name))
    assert not any(isinstance(change, CreateGroup) for change in plan.changes)
    assert plan.notes == ()


async def test_the_order_of_combining_marks_makes_no_difference(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    sandbox.organization.add_group("q\u0307\u0323")
    plan = await session.provisioning.plan(wants(sandbox, "q\u0323\u0307"))
    assert not any(isinstance(change, CreateGroup) for change in plan.changes)


async def test_two_new_names_of_one_input_that_look_the_same(sandbox: Sandbox, session: EzeepSession) -> None:
    plan = await session.provisioning.plan(wants(sandbox, "Crew", "crew", "CREW"))
    assert len(plan.notes) == 2
    assert all("the input" in note and "'Crew'" in note for note in plan.notes)


async def test_two_existing_groups_that_look_the_same_are_not_noted(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    sandbox.organization.add_group("Crew")
    sandbox.organization.add_group("crew")
    plan = await session.provisioning.plan(wants(sandbox, "Crew", "crew"))
    assert plan.notes == ()


async def test_a_missing_group_that_may_not_be_created_names_its_look_alike(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    sandbox.organization.add_group("Crew")
    with pytest.raises(ValueError, match="no such group: 'crew' \\(there is a group 'Crew'\\)"):
        await session.provisioning.plan(wants(sandbox, "crew"), create_groups=False)


INVISIBLE = [
    "Sales\u200b",
    "Sa\u200dles",
    "Sa\u200cles",
    "\u2060Sales",
    "Sales\ufeff",
    "Sa\u00adles",
    "Sales\u034f",
    "Sales\u202e",
    "\u200fSales",
    "Sales\u2066",
    "Sales\U000e0053",
    "Sales\ufe0f",
    "Sales\U000e0100",
    "Sales\u180e",
    "Sales\u115f",
    "Sales\u3164",
    "\uffa0Sales",
    "Sales\u2800",
    "Sales\U0001d173",
    "Sales\u2028x",
    "Sales\u061c",
    "Sales\u206f",
    "Sales\ufff9x",
    "\u200b",
    "\u2764\ufe0f\ufe0f",
    "\U0001f3f4\U000e0067\U000e0062x",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", INVISIBLE, ids=ascii)
async def test_a_group_with_an_invisible_character_in_its_name_is_not_created(
    sandbox: Sandbox, session: EzeepSession, name: str
) -> None:
    with pytest.raises(InvalidInput, match=r"invisible character at position \d+: U\+[0-9A-F]{4}") as refused:
        await session.provisioning.plan(wants(sandbox, name, "Crew"))
    assert str(refused.value).isprintable()
    assert refused.value.count == 1
    assert writes(sandbox) == []


async def test_the_refusal_names_the_group_that_was_probably_meant(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    with pytest.raises(InvalidInput, match=r"'Sales\\u200b'.* there is a group 'Sales'"):
        await session.provisioning.plan(wants(sandbox, "Sales\u200b"))


@pytest.mark.parametrize(
    "name",
    [
        "\U0001f469\u200d\U0001f4bb team",
        "\U0001f9d1\U0001f3fd\u200d\U0001f680",
        "\U0001f3f3\ufe0f\u200d\U0001f308",
        "\U0001f642\u200d\u2194\ufe0f",
        "1\ufe0f\u20e3 floor",
        "\u2764\ufe0f",
        "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u0915\u094d\u200d\u0937",
        "\u09b0\u200d\u09cd\u09af\u09be\u09ac",
        "\u0d05\u0d35\u0d28\u0d4d\u200d",
        "\u845b\U000e0100\u57ce",
        "\u182a\u180b",
    ],
    ids=ascii,
)
async def test_joiners_and_selectors_that_the_script_needs_are_allowed(
    sandbox: Sandbox, session: EzeepSession, name: str
) -> None:
    plan = await session.provisioning.plan(wants(sandbox, name))
    assert plan.notes == ()
    (await session.provisioning.apply(plan)).raise_for_failures()
    assert name in names(sandbox)


async def test_an_existing_group_with_an_invisible_character_is_planned_by_its_exact_name(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    add_team(sandbox, 4, "Sales\u200b")
    before = members(sandbox, "Sales")
    plan = await session.provisioning.plan(wants(sandbox, "Sales\u200b"), mode="exact")
    assert (plan.removals, plan.notes) == (2, ())
    (await session.provisioning.apply(plan)).raise_for_failures()
    assert members(sandbox, "Sales\u200b") == set(emails(sandbox, 2))
    assert members(sandbox, "Sales") == before


async def test_a_look_alike_that_appears_between_plan_and_apply_is_a_warning_of_the_report(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    plan = await session.provisioning.plan(wants(sandbox, "Crew", "sales"))
    sandbox.organization.add_group("CREW")
    report = await session.provisioning.apply(plan)
    assert report.ok
    (warning,) = report.warnings
    assert "there is a group 'CREW'" in warning


async def test_a_kept_plan_that_creates_an_invisible_name_writes_nothing(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    plan = await session.provisioning.plan(wants(sandbox, "Crew", "Team"))
    spoiled = attrs.evolve(
        plan,
        changes=tuple(
            attrs.evolve(change, name="Crew\u200b")
            if isinstance(change, CreateGroup) and change.name == "Crew"
            else change
            for change in plan.changes
            if isinstance(change, CreateGroup)
        ),
    )
    with pytest.raises(InvalidInput, match="invisible character"):
        await session.provisioning.apply(spoiled)
    assert sandbox.count(POST_GROUP) == 0
    # A group of exactly this name came into being in the meantime: there is nothing to create.
    sandbox.organization.add_group("Crew\u200b")
    report = await session.provisioning.apply(spoiled)
    assert report.counts == {"adopted": 1, "created": 1}
