"""Hints: a new group, or an unknown person, whose name differs from an existing one by a typing error."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from helpers.provisioned import emails
from hypothesis import given
from hypothesis import strategies as st

from ezeep_async import EzeepSession, MissingPeople
from ezeep_async.provisioning import DesiredState, Plan
from ezeep_async.provisioning.plans.similar import MOST_NEW, similar_to
from ezeep_async.sandbox import Sandbox


@pytest.mark.parametrize(
    ("new", "existing"),
    [
        ("Salse", "Sales"),
        ("sale", "Sales"),
        ("SALESS", "sales"),
        ("Salas", "Sales"),
        ("asles", "Sales"),
        ("Nightshift", "Night shift"),
        ("Night-shift", "night  shift"),
        ("N\u00efght shift", "Night shift"),
        ("Buro", "B\u00fcro"),
        ("Cafe\u0301s", "Cafe"),
        ("\u041e\u0442\u0434\u0435\u043b\u044b", "\u043e\u0442\u0434\u0435\u043b"),
        ("Floor 12 west", "Flor 12 west"),
        ("ana@example.com", "anna@example.com"),
        ("anna@exmaple.com", "anna@example.com"),
    ],
)
def test_a_typing_error_is_found(new: str, existing: str) -> None:
    assert similar_to([new], ["Reception", existing]) == {new: [existing]}
    assert similar_to([existing], [new, "Reception"]) == {existing: [new]}


@pytest.mark.parametrize(
    ("new", "existing"),
    [
        ("Sales", "Finance"),
        ("Salsee", "Sales"),  # two
        ("Floor 1", "Floor 2"),
        ("Floor 1", "Floor 11"),
        ("Floor 01", "Floor 1"),
        ("Team A", "Team B"),
        ("Phase I", "Phase II"),
        ("j.smith@example.com", "k.smith@example.com"),
        ("Dev", "Devs"),
        ("IT", "HR"),
        ("SALES", "Sales"),  # it looks the same, which is a note
        ("Night\u00a0shift", "Night shift"),
        ("x" * 300, "x" * 299),
    ],
)
def test_other_names_are_not_similar(new: str, existing: str) -> None:
    assert similar_to([new], [existing]) == similar_to([existing], [new]) == {}


def edits(one: str, other: str) -> int:
    """The optimal string alignment distance, by its definition."""
    rows = [[*range(len(other) + 1)]]
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (a != b))
            if i > 1 and j > 1 and (a, b) == (other[j - 2], one[i - 2]):
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


WORDS = st.text("abc", min_size=4, max_size=7)


@given(st.lists(WORDS, max_size=5, unique=True), st.lists(WORDS, max_size=12, unique=True))
def test_it_finds_what_the_definition_says(new: list[str], existing: list[str]) -> None:
    expected = {one: [other for other in existing if edits(one, other) == 1] for one in new}
    assert similar_to(new, existing) == {one: others for one, others in expected.items() if others}


def test_memory_stays_in_proportion_to_the_number_of_names() -> None:
    new = [f"Department of {chr(97 + n % 26)}{'xyz' * (n % 7)} {n}" for n in range(MOST_NEW)]
    existing = [f"Department of {chr(97 + n % 26)}{'zyx' * (n % 5)} {n}" for n in range(10_000, 20_000)]
    tracemalloc.start()
    assert (
        similar_to([*new, "Salse"], [*existing, "Sales"]) == {}
    )  # the last new one is past the most that are compared
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * 1024 * 1024


# --- in plans ------------------------------------------------------------------------------------------------------


HINT = "the new group 'Recepton' is similar to 'Reception': did you mean that group?"


async def test_a_plan_has_the_hint_and_can_be_applied(
    sandbox: Sandbox, session: EzeepSession, caplog: pytest.LogCaptureFixture
) -> None:
    desired = DesiredState.from_mapping({"Recepton": emails(sandbox, 2), "Reception": emails(sandbox, 1)})
    plan = await session.provisioning.plan(desired)
    assert (plan.hints, plan.notes) == ((HINT,), ())
    assert next(plan.diff()) == f"! {HINT}"
    assert HINT.replace("'", "&#x27;") in plan.to_html()
    assert json.loads(plan.to_json())["hints"] == [HINT]
    assert Plan.from_json(plan.to_json()) == plan
    assert HINT in caplog.text
    (await session.provisioning.apply(plan)).raise_for_failures()
    assert (await session.provisioning.plan(desired)).hints == ()


async def test_a_plan_without_hints_is_saved_as_before(sandbox: Sandbox, session: EzeepSession) -> None:
    plan = await session.provisioning.plan(DesiredState.from_mapping({"Brand new": emails(sandbox, 1)}))
    assert not {"hints", "undoes"} & json.loads(plan.to_json()).keys()
    assert "Typing errors?" not in plan.to_html()


async def test_a_group_that_may_not_be_created_names_the_similar_one(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    desired = DesiredState.from_mapping({"Recepton": emails(sandbox, 1)})
    with pytest.raises(ValueError, match=r"no such group: 'Recepton' \(there is a group 'Reception'\)"):
        await session.provisioning.plan(desired, create_groups=False)


async def test_unknown_people_near_known_ones(sandbox: Sandbox, session: EzeepSession) -> None:
    sandbox.organization.add_user(email="anna.miller@example.com")
    desired = DesiredState.from_mapping({"Reception": ["anna.miler@example.com", "someone@example.com"]})
    with pytest.raises(MissingPeople) as caught:
        await session.provisioning.plan(desired)
    assert str(caught.value) == (
        "not in the organization: anna.miler@example.com (similar: anna.miller@example.com), someone@example.com"
    )
    assert list(caught.value.people) == ["anna.miler@example.com", "someone@example.com"]
    hint = (
        "anna.miler@example.com is not in the organization, and similar to anna.miller@example.com: "
        "did you mean that person?"
    )
    for on_missing in ("skip", "invite"):
        plan = await session.provisioning.plan(
            desired, on_missing="skip" if on_missing == "skip" else "invite"
        )
        assert plan.hints == (hint,)
