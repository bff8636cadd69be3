"""Help texts, without a Markdown parser: that takes longer to import than the rest of `ezeep --help` takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from cyclopts import App
from rich.text import Text


if TYPE_CHECKING:
    import inspect

    from cyclopts.help import HelpPanel
    from cyclopts.help.formatters import DefaultFormatter
    from rich.console import Console, ConsoleOptions

_LINE_BREAK = re.compile(r"(?<=\S)\n *(?=\S)")
"""A line break inside a paragraph of a docstring, with the indentation of the next line. Blank lines stay."""


class HelpFormatter:
    """Formats help as cyclopts does, for `help_format="plaintext"`, with paragraphs that fill the lines."""

    @cached_property
    def _formatter(self) -> DefaultFormatter:
        from cyclopts.help.formatters import DefaultFormatter

        return DefaultFormatter()

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Show a panel."""
        for entry in panel.entries:
            _join_lines(entry.description)
        self._formatter(console, options, panel)

    def render_usage(self, console: Console, options: ConsoleOptions, usage: object) -> None:
        """Show the usage."""
        if isinstance(usage, Text):
            usage.plain = with_names(usage.plain)
        self._formatter.render_usage(console, options, usage)

    def render_description(self, console: Console, options: ConsoleOptions, description: object) -> None:
        """Show the description."""
        _join_lines(description)
        self._formatter.render_description(console, options, description)


def with_names(usage: str) -> str:
    """A usage with the name of the argument that may be left out, the last one. cyclopts calls it ARGS."""
    if "[ARGS" not in usage:
        return usage
    from ezeep_async.cli.app import app

    command = app
    for word in usage.split()[1:]:
        if word not in command:
            break
        command = command[word]
    names = [
        each.name
        for each in command.assemble_argument_collection()
        if not each.required and not each.name.startswith(("-", "*"))
    ]
    return usage.replace("ARGS", names[-1])


def _join_lines(description: object) -> None:
    text = getattr(description, "primary_renderable", None)
    if isinstance(text, Text):
        text.plain = _LINE_BREAK.sub(" ", text.plain)


def call(command: Callable[..., object], bound: inspect.BoundArguments) -> object:
    """Call a command, and show its examples after its help. They are not wrapped, so that people can copy them."""
    result = command(*bound.args, **bound.kwargs)
    owner = getattr(command, "__self__", None)
    if isinstance(owner, App) and command == owner.help_print:
        from ezeep_async.cli.examples import examples_of

        names, _, _ = owner.parse_commands(bound.arguments.get("tokens", ()))
        if text := examples_of(names):
            owner.console.print(Text(f"\nExamples:\n\n{text}"), soft_wrap=True)
    return result
