"""The tutorial, typed along from the first page to the last: in one folder, with one sandbox."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from helpers.command_line import EZEEP, environment
from helpers.documents import ROOT, Block, blocks, marked
from helpers.support import four_free_ports, reserved_port


typed_along = pytest.importorskip(
    "helpers.typed_along", reason="needs pseudo-terminals", exc_type=ImportError
)

pytestmark = [pytest.mark.may_block, pytest.mark.slow, pytest.mark.timeout(120)]

# By page and mark: the file that the block is written to (after a "+": added to), or the exit code of the command.
PAGES: Mapping[str, Mapping[str, str | int]] = {
    "docs/tutorial/log-in.md": {
        "login": 0,
        "whoami": "whoami.py",
        "run-whoami": 0,
        "login-in-code": "login.py",
        "run-login-in-code": 0,
    },
    "docs/tutorial/list.md": {
        "groups": "list_groups.py",
        "run-groups": 0,
        "people": "list_people.py",
        "run-people": 0,
        "blocking": "list_blocking.py",
        "run-blocking": 0,
    },
    "docs/tutorial/groups.md": {
        "shift": "shift.py",
        "run-shift": 0,
        "run-shift-again": 0,
        "leave": "leave.py",
        "run-leave": 0,
        "command": 0,
    },
    "docs/tutorial/print.md": {
        "invoice": "invoice.txt",
        "print": "print_invoice.py",
        "run-print": 0,
        "large": "print_large.py",
        "run-large": 0,
        "command": 0,
    },
    "docs/tutorial/provision.md": {
        "people": "people.csv",
        "typo": 1,
        "plan": 2,
        "apply": 0,
        "plan-again": 0,
        "undo": 0,
        "in-python": "provision.py",
        "run-in-python": 0,
    },
    "docs/tutorial/test.md": {
        "sandbox": "test_shift.py",
        "run-sandbox": 0,
        "fault": "+test_shift.py",
        "fake": "+test_shift.py",
        "run-all": 0,
    },
}
# Blocks of the first page that prepare the rest.
FIRST = "docs/tutorial/log-in.md"
FOLDER = marked("docs/tutorial/log-in.md", "folder")
FOLDER_ON_WINDOWS = marked("docs/tutorial/log-in.md", "folder-on-windows")
VARIABLES = marked("docs/tutorial/log-in.md", "variables")
VARIABLES_ON_WINDOWS = marked("docs/tutorial/log-in.md", "variables-on-windows")
SANDBOX = marked("docs/tutorial/log-in.md", "sandbox")
PREPARING = {"folder", "folder-on-windows", "sandbox", "variables", "variables-on-windows"}


def exports() -> dict[str, str]:
    """The variables of the page, for a POSIX shell."""
    _, *lines = VARIABLES.splitlines()
    pairs = [shlex.split(line)[1] for line in lines]
    return dict(pair.split("=", 1) for pair in pairs)


class Tutorial:
    """A folder and a sandbox, at addresses of their own in the place of those of the pages."""

    def __init__(self, folder: Path, port: int, redirect_port: int) -> None:
        self.folder = folder
        self._ports = {8500: port, 8501: port + 1, 8502: port + 2, 8400: redirect_port}
        self.environment = {name: self._moved(value) for name, value in exports().items()}

    def _moved(self, text: str) -> str:
        return re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda port: str(self._ports[int(port[0])]), text)

    def type(self, command: str) -> tuple[int, str]:
        """The exit code of a command, and what it shows."""
        if command.startswith("python -m pytest"):
            # The reader has no other plugins. tests/testing/test_registration.py shows that pytest finds this one.
            arguments = [
                *shlex.split(command)[1:],
                "-p",
                "ezeep_async.testing.plugin",
                "-p",
                "no:cacheprovider",
            ]
            done = subprocess.run(
                [sys.executable, "-W", "error", *arguments],
                cwd=self.folder, env=environment({"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}),
                capture_output=True, text=True, check=False,
            )  # shorter than one item a line  # fmt: skip
            return done.returncode, done.stdout + done.stderr
        return typed_along.typed(command, self.folder, self.environment)

    def as_shown(self, text: str) -> str:
        """The text with the addresses and the folder of the pages."""
        for shown, real in self._ports.items():
            text = text.replace(f"127.0.0.1:{real}", f"127.0.0.1:{shown}")
        return text.replace(str(self.folder), "/home/you/ezeep-tutorial")


@pytest.fixture
def tutorial(tmp_path: Path) -> Iterator[Tutorial]:
    """With the sandbox that the first page starts."""
    with reserved_port() as redirect_port:
        tutorial = Tutorial(tmp_path, four_free_ports(), redirect_port)
        redirect_uri = tutorial.environment["EZEEP_REDIRECT_URI"]
        command = shlex.split(SANDBOX)
        assert command == ["ezeep", "sandbox", "--port", "8500"]
        port = str(tutorial._ports[8500])
        with subprocess.Popen(
            [*EZEEP, "sandbox", "--port", port, "--redirect-uri", redirect_uri, "--job-seconds", "0"],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as server:  # shorter than one item a line  # fmt: skip
            assert server.stdout is not None
            assert server.stderr is not None
            try:
                serving = server.stderr.readline()
                tutorial.serving = "".join(server.stdout.readline() for _ in range(6)) + serving
                yield tutorial
            finally:
                server.terminate()
                server.communicate()


def steps(page: str) -> Iterator[tuple[Block, str]]:
    """The marked blocks of a page, and the output that follows."""
    found = blocks(page)
    for block, following in zip(found, [*found[1:], None], strict=True):
        if block.mark:
            is_output = following is not None and following.language == "text" and not following.mark
            yield block, following.text if is_output else ""


def test_the_tutorial(tutorial: Tutorial) -> None:
    """Every program and every command of the six pages, in their order, with the output that the pages show."""
    for page, actions in PAGES.items():
        found = [*steps(page)]
        marks = [block.mark for block, _ in found if block.mark not in PREPARING or page != FIRST]
        assert marks == [*actions], f"{page}: its marks (left) are not those of PAGES in this test (right)"
        for block, expected in found:
            if page == FIRST and block.mark in PREPARING:
                if block.mark == "sandbox":
                    typed_along.check(tutorial.as_shown(tutorial.serving), expected, block.where)
                continue
            action = actions[block.mark]
            if isinstance(action, int):
                code, shown = tutorial.type(block.text)
                if code != action:
                    pytest.fail(
                        f"{block.where}: exit code {code} instead of {action}\n{shown}", pytrace=False
                    )
                assert expected, f"{block.where}: show the output in a ```text block below the command"
                typed_along.check(tutorial.as_shown(shown), expected, block.where)
            elif action.startswith("+"):
                with (tutorial.folder / action[1:]).open("a", encoding="utf-8") as file:
                    file.write("\n\n" + block.text)
            else:
                assert (
                    block.language != "python" or f'```python title="{action}"' in (ROOT / page).read_text()
                )
                (tutorial.folder / action).write_text(block.text, "utf-8")
            if block.mark == "typo":  # the reader corrects it
                people = tutorial.folder / "people.csv"
                people.write_text(people.read_text().replace("theo.somer.4@", "theo.sommer.4@"))


def test_the_preparation_is_the_same_on_windows() -> None:
    """Where nothing can run it: the same variables, and the same commands but for the environment."""
    activate, *lines = VARIABLES_ON_WINDOWS.splitlines()
    assert activate == r".venv\Scripts\Activate.ps1"
    assignments = [re.fullmatch(r"\$env:(\w+) = '([^']*)'", line) for line in lines]
    assert {each[1]: each[2] for each in assignments} == exports()
    assert VARIABLES.splitlines()[0] == ". .venv/bin/activate"
    posix = FOLDER.replace("python3 -m venv", "py -3 -m venv").replace(
        ". .venv/bin/activate", r".venv\Scripts\Activate.ps1"
    )
    assert FOLDER_ON_WINDOWS == posix
