"""The programs and scripts of the documents run as they stand, each in a folder with a login of its own sandbox."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.documents import Block, all_blocks
from helpers.programs import Programs, prepared


pytestmark = [pytest.mark.slow, pytest.mark.may_block, pytest.mark.timeout(60)]


def is_marked(block: Block) -> bool:
    """Until all pages have their marks: programs that ask, and tests, are run by tests of their own."""
    return bool(block.mark) or "input(" in block.text or "pytest" in block.text


@pytest.fixture(scope="module")
def programs() -> Iterator[Programs]:
    server = Programs()
    yield server
    server.close()


PROGRAMS = [each for each in all_blocks("python") if not is_marked(each) and not each.is_included]
SCRIPTS = [each for each in all_blocks("sh") if each.mark == "run"]


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.name)
def test_a_program_runs(block: Block, programs: Programs, tmp_path: Path) -> None:
    with prepared(tmp_path) as here:
        ran = programs.python(block.text, here.folder, here.environment)
    assert (ran.code, ran.err) == (0, ""), block.where
    assert ran.out, f"{block.where} prints nothing"


@pytest.mark.skipif(os.name != "posix", reason="scripts for bash")
@pytest.mark.parametrize("block", SCRIPTS, ids=lambda block: block.name)
def test_a_script_runs(block: Block, programs: Programs, tmp_path: Path) -> None:
    with prepared(tmp_path) as here:
        ran = programs.bash(block.text, here.folder, here.environment)
    assert ran.code == 0, (block.where, ran.out, ran.err)
