"""docs/reference/command-line.md agrees with the command."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from helpers import documents

from ezeep_async.cli.app import COMMANDS
from ezeep_async.cli.configuration import SETTINGS
from ezeep_async.cli.printing.documents import Outcome


pytestmark = pytest.mark.may_block

PAGE = "docs/reference/command-line.md"
TEXT = (documents.ROOT / PAGE).read_text("utf-8")


def test_the_outcomes_are_those_of_ezeep_print() -> None:
    rows = re.findall(r"^\| ([a-z ]+) \| `(\w+)` \|", TEXT, re.MULTILINE)
    assert [json for _, json in rows] == list(get_args(Outcome))
    assert [json.replace("_", " ") for _, json in rows] == [name for name, _ in rows]


def test_the_table_of_tasks_names_every_command() -> None:
    """Also those that have a section of their own."""
    named = set(re.findall(r"`ezeep ((?:--)?[a-z-]+)", TEXT)) | {
        line.split()[1]
        for block in documents.blocks(PAGE)
        for line in block.text.splitlines()
        if line.startswith("ezeep ")
    }
    assert set(COMMANDS) - named == set(), f"{PAGE} names no such command: add it to the table of tasks"


def test_the_page_names_every_setting_of_the_file(tmp_path: Path) -> None:
    """In its blocks, or in the text."""
    tables = [tomllib.loads(block.text) for block in documents.blocks(PAGE) if block.language == "toml"]
    assert [sorted(table.get("profiles", {})) for table in tables] == [
        [],
        ["customer-a", "customer-b", "test"],
    ]
    named = set().union(*tables) | set(re.findall(r"\b[a-z]+_[a-z_]+\b", TEXT))
    assert SETTINGS - named == set(), f"{PAGE} does not name these settings of the configuration file"
    assert {name for table in tables for name in table} - {"profiles"} <= SETTINGS


def test_the_secret_is_no_option() -> None:
    """As the page says."""
    commands = (documents.ROOT / "docs/reference/commands.md").read_text("utf-8")
    assert "`--client-secret-file PATH`" in commands
    assert "`--client-secret " not in commands
