"""Names that `session.groups` accepts for a group, and names that look like others."""

from __future__ import annotations

import pytest
from helpers.provisioned import names, writes

from ezeep_async import EzeepSession
from ezeep_async._wire.group_names import LookAlikes, invisible_problem, looks_of, shown
from ezeep_async.sandbox import Sandbox


INVISIBLE = [
    "Sales\u200b",
    "Sa\u00adles",
    "Sales\u202e",
    "Sales\ufe0f",
    "\u3164",
    "Sales\U000e0041",
    "Sa\tles",
]


@pytest.mark.parametrize("name", INVISIBLE, ids=ascii)
async def test_a_name_with_an_invisible_character_is_refused(
    sandbox: Sandbox, session: EzeepSession, name: str
) -> None:
    organization = sandbox.organization.organization_id
    there = sandbox.organization.add_group("There")
    for give in (
        lambda: session.groups.create(name, organization),
        lambda: session.groups.ensure(name, organization),
        lambda: session.groups.update(there.id, name=name),
    ):
        with pytest.raises(ValueError, match=r"name .* has an invisible character at position"):
            await give()
    assert writes(sandbox) == []


async def test_an_existing_name_with_an_invisible_character_is_accepted(
    sandbox: Sandbox, session: EzeepSession
) -> None:
    name, organization = "Sales\u200b", sandbox.organization.organization_id
    there = sandbox.organization.add_group(name)
    assert (await session.groups.get(there.id)).name == name
    assert [group.id for group in await session.groups.find(name)] == [there.id]
    group, created = await session.groups.ensure(name, organization)
    assert (group.id, created) == (there.id, False)
    assert (await session.groups.update(there.id, description="x")).name == name
    assert (await session.groups.update(there.id, name="Sales 2")).name == "Sales 2"
    await session.groups.delete(there.id)
    assert there.id not in sandbox.organization.groups


async def test_ensure_warns_of_a_group_that_looks_the_same(
    sandbox: Sandbox, session: EzeepSession, caplog: pytest.LogCaptureFixture
) -> None:
    organization = sandbox.organization.organization_id
    await session.groups.ensure("Sales", organization)
    assert "there is a group" not in caplog.text
    _, created = await session.groups.ensure("sales", organization)
    assert created
    assert "there is a group 'Sales'" in caplog.text
    caplog.clear()
    await session.groups.ensure("sales", organization)  # it exists: nothing new to say
    assert caplog.text == ""
    assert {"Sales", "sales"} <= set(names(sandbox))


def test_what_looks_the_same_shares_a_key_and_other_names_do_not() -> None:
    same = ["Sales", "sales", "SALES", "S\u0430les", "\uff33ales", " Sales ", "Sa\u200bles", "Sales\u2800"]
    index = LookAlikes(same)
    for name in same:
        assert set(index.of(name)) == set(same) - {name}
    assert index.of("Sale") == index.of("Sal\u00e9s") == []
    assert not looks_of("A B") & looks_of("AB")


def test_visible_characters_of_every_script_are_allowed() -> None:
    for name in (
        "Caf\u00e9",
        "\u6771\u4eac",
        "\u0627\u0644\u0645\u0628\u064a\u0639\u0627\u062a",
        "A\u00a0B",
        "\u0605\u0661",
        "\u2713 R&D",
        "\ue000",
    ):
        assert invisible_problem(name) is None, ascii(name)


def test_a_name_is_shown_without_what_cannot_be_seen() -> None:
    assert shown("Sa\u200bles\u3164\ufe0f\u00a0x") == "'Sa\\u200bles\\u3164\\ufe0f\\xa0x'"
    assert shown("Caf\u00e9") == "'Caf\u00e9'"


@pytest.mark.parametrize(
    "name", ["Finance ", " Finance", "\tFinance", "Finance\n", "Finance\u00a0", "\u2003"]
)
async def test_6_4_a_name_that_the_server_would_change_is_refused_unsent(
    sandbox: Sandbox, session: EzeepSession, name: str
) -> None:
    """6-4: a server that strips white space would keep another name, and `ensure` would create a group each time."""
    organization = sandbox.organization.organization_id
    existing = sandbox.organization.add_group("New").id
    for call in (
        session.groups.ensure(name, organization),
        session.groups.create(name, organization),
        session.groups.update(existing, name=name),
    ):
        with pytest.raises(ValueError, match=r"name (has white space|must not be empty)"):
            await call
    assert sandbox.requests == []
