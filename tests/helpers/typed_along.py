"""Types the commands of a page in this process: at a terminal of 80 columns, with a person at the keyboard and a browser."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import fcntl
import os
import re
import runpy
import shlex
import struct
import sys
import termios
import threading
import warnings
import webbrowser
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest import mock

import aiohttp
import pytest
from helpers.browser import decide

from ezeep_async.cli.main import main


COLUMNS = 80
_SEQUENCE = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[[?>][0-9;]*[A-Za-z]|\x1b\[[0-9;]*m|\r\n|\r|\n")
# Numbers that differ from run to run.
_CHANGING = [
    (re.compile(r"\d+/s \d:\d\d:\d\d"), "RATE"),
    (re.compile(r"(?<![\d.])\d+\.\d\d(?![\d.])"), "SECONDS"),
    (re.compile(r"node-.*#\d+:\d+"), "JOB"),
]
_PERSON = re.compile(r"^~ .*\n(?:  [+-] .*\n)+", re.MULTILINE)
_PEOPLE = re.compile(rf"(?:{_PERSON.pattern})+", re.MULTILINE)


def _sorted(people: re.Match[str]) -> str:
    return "".join(sorted(_PERSON.findall(people[0])))


def check(shown: str, expected: str, where: str) -> None:
    """Compare what is shown with a page. Lines may be broken elsewhere; three points stand for any text.

    The people of a plan may have another order: an audit log has them as their changes ended.
    """
    for pattern, name in _CHANGING:
        shown, expected = pattern.sub(name, shown), pattern.sub(name, expected)
    shown, expected = (_PEOPLE.sub(_sorted, text) for text in (shown, expected))
    text = re.escape(" ".join(expected.split())).replace(re.escape("..."), ".*?")
    if re.fullmatch(text, " ".join(shown.split())) is None:
        lines = difflib.unified_diff(
            expected.splitlines(), shown.splitlines(), "on the page", "shown", lineterm=""
        )
        pytest.fail("\n".join([f"{where}: the page shows another output", *lines]), pytrace=False)


def shown(raw: str) -> str:
    """What a terminal shows in the end, without colours: bars are drawn over and over again."""
    lines, row, column, place = [""], 0, 0, 0
    for match in [*_SEQUENCE.finditer(raw), None]:
        text = raw[place : match.start() if match else None]
        lines[row] = lines[row].ljust(column)[:column] + text + lines[row][column + len(text) :]
        column += len(text)
        if match is None:
            break
        place = match.end()
        if match[0] == "\r":
            column = 0
        elif match[0] in {"\n", "\r\n"}:
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif match[2] == "K":
            lines[row] = "" if match[1] == "2" else lines[row][:column]
        elif match[2] == "A":
            row = max(0, row - int(match[1] or 1))
    return "".join(f"{line.rstrip()}\n" for line in lines).rstrip("\n") + "\n"


async def _approve(url: str) -> str:
    """Allow the application, and return the address of the redirect."""
    _, location = await decide(url)
    return location


async def _visit(url: str) -> None:
    async with aiohttp.ClientSession() as browser, browser.get(await _approve(url)) as response:
        assert "You are logged in" in await response.text()


class _Person(threading.Thread):
    """Reads a terminal, types what it asks for, and gives programs the address that the browser shows."""

    def __init__(self, master: int) -> None:
        super().__init__(daemon=True)
        self._master = master
        self.raw = ""

    def run(self) -> None:
        answered = 0
        with contextlib.suppress(OSError):  # the other end is closed
            while piece := os.read(self._master, 65536):
                self.raw += piece.decode("utf-8", "replace")
                question = self.raw[answered:]
                answer = ""
                if question.endswith("[y/N] "):
                    answer = "y"
                elif question.endswith("redirect: "):
                    (*_, url) = re.findall(r"http://\S+/authorize/\S+", question)
                    answer = asyncio.run(_approve(url))
                if answer:
                    self.raw += f"{answer}\n"  # the terminal shows nothing that is typed
                    answered = len(self.raw)
                    os.write(self._master, f"{answer}\n".encode())


@contextlib.contextmanager
def _terminal() -> Iterator[_Person]:
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    mode = termios.tcgetattr(slave)
    mode[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(slave, termios.TCSANOW, mode)
    person = _Person(master)
    person.start()
    files = [os.fdopen(os.dup(slave), kind, encoding="utf-8", closefd=True) for kind in ("r", "w", "w")]
    try:
        with mock.patch.multiple(sys, stdin=files[0], stdout=files[1], stderr=files[2]):
            yield person
    finally:
        for file in files:
            file.close()
        os.close(slave)
        person.join(5)
        os.close(master)


def _is_of(module: object, folder: Path) -> bool:
    return str(getattr(module, "__file__", None) or "").startswith(str(folder))


def typed(command: str, folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run `ezeep ...` or `python FILE ...` in this process, warnings as errors. Returns the exit code, and what is shown."""
    name, *arguments = shlex.split(command, comments=True)
    visits: list[threading.Thread] = []

    def browse(url: str) -> bool:
        visits.append(threading.Thread(target=lambda: asyncio.run(_visit(url)), daemon=True))
        visits[-1].start()
        return True

    with (
        contextlib.chdir(folder),
        mock.patch.dict(
            os.environ, {**environment, "TERM": "xterm-256color", "COLUMNS": "", "NO_COLOR": "1"}
        ),
        mock.patch.object(webbrowser, "open", browse),
        mock.patch.object(sys, "path", [str(folder), *sys.path]),
        _terminal() as person,
    ):
        if name == "ezeep":
            code = main(arguments)
        else:
            assert name == "python", command
            with mock.patch.object(sys, "argv", arguments), warnings.catch_warnings():
                warnings.simplefilter("error")
                try:
                    runpy.run_path(str(folder / arguments[0]), run_name="__main__")
                    code = 0
                except SystemExit as end:
                    code = int(end.code or 0)
        for visit in visits:
            visit.join(5)
        for module in [name for name, each in sys.modules.items() if _is_of(each, folder)]:
            del sys.modules[module]
    return code, shown(person.raw)
