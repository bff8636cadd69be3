"""The commands of a shell script, and whether `ezeep` understands them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence

from ezeep_async.cli.app import app
from ezeep_async.cli.options import without_hyphens


ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
EZEEP = (["ezeep"], [".venv/bin/ezeep"], ["python", "-m", "ezeep_async"], ["python3", "-m", "ezeep_async"])


def _tokens(text: str) -> Iterator[str]:
    """Words and operators, with `;` at the end of each line. Quotes may go over several lines."""
    line = ""
    for part in text.splitlines():
        line += part
        if line.endswith("\\"):
            line = line[:-1]
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        try:
            found = [*lexer]
        except ValueError:  # an open quote
            line += "\n"
            continue
        yield from found
        yield ";"
        line = ""
    if line:
        raise ValueError(f"this line has no end: {line!r}")


def commands_of(text: str) -> list[list[str]]:
    """The words of each command of a script, without assignments and redirections."""
    commands: list[list[str]] = []
    words: list[str] = []
    is_target = False
    for token in _tokens(text):
        if is_target:
            is_target = False
        elif set(token) <= set("<>&|;()") and token:
            if set(token) & set("<>"):
                if words and words[-1] in {"1", "2"}:
                    words.pop()
                is_target = True
            elif words:
                commands.append(words)
                words = []
        elif words or not ASSIGNMENT.match(token):
            words.append(token)
    return commands


def arguments_of(command: Sequence[str]) -> list[str] | None:
    """The arguments of `ezeep`; None for another command."""
    for beginning in EZEEP:
        if list(command[: len(beginning)]) == beginning:
            return list(command[len(beginning) :])
    return None


def understand(arguments: Sequence[str]) -> object:
    """Parse a command line as `ezeep` does, without running it. Returns the function of the command."""
    command, bound, _ = app.meta.parse_args(list(arguments), print_error=False, exit_on_error=False)
    if command in {app.help_print, app.version_print}:
        return command
    command, _, _ = app.parse_args(without_hyphens(bound.args), print_error=False, exit_on_error=False)
    return command
