"""Help texts, without a Markdown parser: that takes longer to import than the rest of `ezeep --help` takes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text


if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from cyclopts.help.formatters import DefaultFormatter
    from rich.console import ConsoleOptions

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
        self._formatter.render_usage(console, options, usage)

    def render_description(self, console: Console, options: ConsoleOptions, description: object) -> None:
        """Show the description."""
        _join_lines(description)
        self._formatter.render_description(console, options, description)


def _join_lines(description: object) -> None:
    text = getattr(description, "primary_renderable", None)
    if isinstance(text, Text):
        text.plain = _LINE_BREAK.sub(" ", text.plain)


class WithExamples(App):
    """The commands. The help of each ends with its examples."""

    def help_print(
        self,
        tokens: Annotated[str | Iterable[str] | None, Parameter(show=False)] = None,
        *,
        console: Annotated[Console | None, Parameter(parse=False)] = None,
    ) -> None:
        """Show the help of a command, then its examples. These are not wrapped, so that people can copy them."""
        from ezeep_async.cli.examples import examples_of

        super().help_print(tokens, console=console)
        names, _, _ = self.parse_commands(tokens)
        if text := examples_of(names):
            (console or self.console).print(Text(f"\nExamples:\n\n{text}"), soft_wrap=True)
