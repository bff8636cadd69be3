"""`ezeep provision` with an input that has no rows: in mode exact it is more likely an export that failed than a wish."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.command_line import ezeep
from helpers.organizations import writes

from ezeep_async.sandbox import Sandbox


pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]  # many commands, one after the other

EMPTY = {
    "empty.csv": "group,member\n",
    "wide.csv": "member,groups\n",
    "empty.json": "{}",
    "empty.yaml": "[]\n",
}


@pytest.mark.parametrize("name", [*EMPTY, "-"])
async def test_7_6_an_empty_input_is_refused_in_mode_exact_in_one_sentence(
    login: dict[str, str], sandbox: Sandbox, tmp_path: Path, name: str
) -> None:
    """Exit code 1, from plan and from apply: nothing to do is not what a nightly job may conclude from it."""
    if name != "-":
        (tmp_path / name).write_text(EMPTY[name], "utf-8")
    for command in (["plan"], ["apply", "--yes"]):
        arguments = ("provision", *command, name, "--mode", "exact")
        ran = await ezeep(*arguments, env=login, folder=tmp_path, stdin=EMPTY["empty.csv"])
        assert "exact" in ran.refused()
        assert ran.out == ""
    assert writes(sandbox) == 0
    ran = await ezeep("provision", "plan", name, env=login, folder=tmp_path, stdin=EMPTY["empty.csv"])
    assert (ran.code, ran.err) == (0, "")
