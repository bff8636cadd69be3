"""Each help ends with examples, and they work."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App
from helpers.command_line import Ran, ezeep
from helpers.shell_lines import understand
from helpers.support import put

from ezeep_async import FileTokenStore
from ezeep_async.cli.app import COMMANDS, app
from ezeep_async.cli.examples import EXAMPLES, examples_of
from ezeep_async.sandbox import Sandbox


Capture = pytest.CaptureFixture[str]


def commands(parent: App = app, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that has a help, as the words after `ezeep`."""
    yield names
    for name in parent:
        if name not in {"--help", "-h", "--version"} and (not names or not name.startswith("-")):
            yield from commands(parent[name], (*names, name))


def lines_of(text: str) -> list[str]:
    """The commands of an example."""
    return [line.strip() for line in text.splitlines() if line.startswith("    ")]


def test_every_command_has_examples() -> None:
    every = {" ".join(names) for names in commands()}
    assert every >= {"", "groups list", "provision undo", "--install-completion"}
    assert EXAMPLES.keys() == every
    assert all(1 <= len(lines_of(examples_of(name.split()))) <= 7 for name in every)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_can_be_parsed(name: str) -> None:
    for line in lines_of(EXAMPLES[name]):
        first, *words = shlex.split(line)
        assert first == "ezeep"
        assert understand(words) != app.help_print, line


@pytest.mark.parametrize("name", ["", "groups", "groups list", "provision", "--install-completion"])
async def test_a_help_ends_with_its_examples(name: str) -> None:
    ran = await ezeep(*name.split(), "--help", env={"COLUMNS": "40"})
    assert ran.out.endswith(f"\nExamples:\n\n{examples_of(name.split())}\n")
    assert all(line in ran.out for line in lines_of(EXAMPLES[name]))  # they are not wrapped
    assert "╭─ Global options ─" in ran.out


async def test_the_connection_is_the_last_group() -> None:
    for name in ("groups list", "provision apply", "print", "users invite", "login"):
        ran = await ezeep(*name.split(), "--help")
        titles = [line for line in ran.out.splitlines() if line.startswith("╭─")]
        assert titles[-1].startswith("╭─ Connection ─"), name


NOT_RUN = {
    "",
    "login",
    "keep-alive",
    "demo",
    "sandbox",
    "logout",
    "--install-completion",
    "--show-completion",
}
"""They need a browser, run until Ctrl-C, or have tests of their own."""
PLACEHOLDERS = {"AUDIT_LOG", "JOB", "WEBHOOK"}
"""What the user of an example replaces."""
ASKING = {"groups delete", "users delete", "webhooks delete", "provision apply", "provision undo"}


def prepare(sandbox: Sandbox, words: list[str]) -> None:
    """Let there be the people of the examples, and the group that one changes."""
    organization = sandbox.organization
    for email in ("anna@example.com", "dora@example.com"):
        if organization.person_with_email(email) is None:
            organization.add_user(email=email)
    names = {group.name for group in organization.groups.values()}
    if words[0] == "groups" and words[1] in {"rename", "delete"} and words[2] not in names:
        organization.add_group(words[2])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the files that examples read and do not write."""
    (tmp_path / "invoice.pdf").write_bytes(b"%PDF-1.4\n")
    (tmp_path / "letter.txt").write_text("Dear reader")
    (tmp_path / "config.toml").write_text("[profiles.customer-a]\n")
    return tmp_path


@pytest.mark.slow
async def test_the_examples_run(login: dict[str, str], sandbox: Sandbox, files: Path) -> None:
    """In their order, against one sandbox: each finds what those before it have written."""
    sandbox.behaviour.job_seconds = 0
    await put(
        FileTokenStore(login["EZEEP_TOKEN_FILE"]), sandbox.tokens(scope=" ".join(sandbox.behaviour.scopes))
    )
    environment = login | {"EZEEP_CONFIG": str(files / "config.toml")}
    failed: list[tuple[str, Ran]] = []
    ran_lines = 0
    for name, text in EXAMPLES.items():
        for line in lines_of(text) if name not in NOT_RUN else []:
            words = shlex.split(line)[1:]
            if PLACEHOLDERS.intersection(words):
                continue
            prepare(sandbox, words)
            if " ".join(words[:2]) in ASKING and "--yes" not in words and "--dry-run" not in words:
                words.append("--yes")
            ran = await ezeep(*words, env=environment, folder=files, stdin="secret\n")
            ran_lines += 1
            if ran.code not in {0, 2}:  # 2: a plan with changes
                failed.append((line, ran))
    assert failed == []
    assert ran_lines > 60


def test_the_examples_name_commands_that_exist() -> None:
    assert {name.split()[0] for name in EXAMPLES if name} == COMMANDS.keys()
