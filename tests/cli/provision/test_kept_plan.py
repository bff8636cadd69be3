"""`ezeep provision` with a plan that was kept: its rules are saved with it, and no option changes them later."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.command_line import ezeep
from helpers.organizations import writes

from ezeep_async.cli.provision.commands import Planning
from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]  # many commands, one after the other

OPTIONS = {
    "--printers": ["printers.csv"],
    "--mode": ["add"],
    "--organization-id": ["00000000-0000-0000-0000-000000000009"],
    "--no-create-groups": [],
    "--on-missing": ["error"],
    "--allow-external": [],
    "--max-removals": ["0.1"],
    "--protect-user": ["*@nowhere.example"],
    "--protect-group": ["nothing"],
}
"""Each option of a plan, with its default where it has one."""


async def test_7_2_a_kept_plan_takes_no_option_of_a_plan_not_even_with_its_default(
    login: dict[str, str], sandbox: Sandbox, emptying: Path
) -> None:
    """--mode add removes no memberships. A plan that removes some must not be applied under it."""
    assert {"--" + name.replace("_", "-") for name in Planning.__annotations__} == set(OPTIONS)
    arguments = ("--mode", "exact", "--max-removals", "99", "--out", "plan.json")
    ran = await ezeep("provision", "plan", str(emptying), *arguments, env=login)
    assert (ran.code, "  - Reception" in ran.out) == (2, True)
    for command in (["apply", "--yes"], ["plan"]):
        for option, value in OPTIONS.items():
            ran = await ezeep("provision", *command, "plan.json", option, *value, env=login)
            assert ran.refused() == f"plan.json is a saved plan: {option} cannot change it. Plan again"
    assert writes(sandbox) == 0
    ran = await ezeep("provision", "apply", "plan.json", "--yes", env=login)
    assert (ran.code, "memberships removed: 14" in ran.out) == (0, True)
