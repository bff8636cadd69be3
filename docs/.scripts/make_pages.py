"""Makes the pages that list what is in the code: `python docs/.scripts/make_pages.py`. A test compares them.

- docs/reference/commands.md: the commands, from the command line parser
- docs/reference/settings.md: the fields of `Settings` and of other options, from their classes
"""

from __future__ import annotations

import inspect
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast, get_origin

import attrs
import griffe
from cyclopts import App
from rich.console import Console
from rich.text import Text

from ezeep_async import Endpoints, OAuthApp, SessionPool, Settings
from ezeep_async.cli.app import COMMANDS, app
from ezeep_async.cli.examples import examples_of
from ezeep_async.cli.terminal.help import with_names
from ezeep_async.sandbox import Behaviour


ROOT = Path(__file__).parents[2]
HINT = "<!-- Made by docs/.scripts/make_pages.py from the code. Changes here are lost. -->"
LONGEST_MEANING = 180
"""Characters in a cell of a table. The entry of the class has the whole text."""

# --- commands ----------------------------------------------------------------------------------------------------------

COMMANDS_INTRO = """# Commands and options

Every command of `ezeep`, with its arguments, options, defaults and examples. [Command line](command-line.md) explains the
configuration file, profiles and the forms of output, [Exit codes](exit-codes.md) what a script can test.

`ezeep --help` lists the commands, and `ezeep COMMAND --help` shows what is here. `ezeep --version` shows the version.
"""
# The panels of every help: shown once, at the beginning of the page.
SHARED = {
    "Global options": (
        "Options of every command",
        "They stand before or after the name of the command. A command that has an option of the same name keeps its own.",
    ),
    "Connection": (
        "Connection options",
        "Options of the commands that call the service. Each stands after the name of the command.",
    ),
}


class _Recorder:
    """A formatter of cyclopts that keeps what a help consists of."""

    def __init__(self) -> None:
        self.usage = self.description = ""
        self.panels: list[Any] = []

    def __call__(self, _console: Console, _options: object, panel: Any) -> None:
        self.panels.append(panel)

    def render_usage(self, _console: Console, _options: object, usage: object) -> None:
        # The application behind the global options calls itself by the name of its function.
        self.usage = re.sub(r"^(Usage: )?\w+", "ezeep", _plain(usage))

    def render_description(self, _console: Console, _options: object, description: object) -> None:
        self.description = _plain(description)


def _plain(text: object) -> str:
    """A text of a help, with its paragraphs and without its line breaks."""
    inner = getattr(text, "primary_renderable", text)
    plain = inner.plain if isinstance(inner, Text) else str(inner)
    paragraphs = re.split(r"\n[ \t]*\n", plain.strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _help(*names: str) -> _Recorder:
    recorder = _Recorder()
    # The help of a command is that of the first of its applications that has a formatter.
    applications = [app, app.meta, *_below(app)]
    before = [each.help_formatter for each in applications]
    try:
        for each in applications:
            each.help_formatter = cast("Any", recorder)
        app.meta.help_print(list(names), console=Console(file=io.StringIO()))
    finally:
        for each, formatter in zip(applications, before, strict=True):
            each.help_formatter = formatter
    return recorder


def _below(parent: App) -> list[App]:
    """The commands below an application, and those below them."""
    children = [parent[name] for name in parent if name not in {*parent.help_flags, *parent.version_flags}]
    return [each for child in children for each in (child, *_below(child))]


def _names(parent: App, *before: str) -> Iterator[tuple[tuple[str, ...], bool]]:
    """The words of each command, in the order of the help, and whether it only has others below it."""
    hidden = {*parent.help_flags, *parent.version_flags}
    for name in parent:
        if name not in hidden:
            child = parent[name]
            words = (*before, name)
            yield words, child.default_command is None
            yield from _names(child, *words)


def _at(words: tuple[str, ...]) -> App:
    found = app
    for word in words:
        found = found[word]
    return found


def commands_page() -> str:
    """docs/reference/commands.md."""
    parts = [COMMANDS_INTRO, HINT, _table()]
    shared = {_plain(panel.title): panel for panel in _help("groups", "list").panels}
    for title, (heading, text) in SHARED.items():
        parts += [f"## {heading}", text, _entries(shared[title])]
    for words, is_group in _names(app):
        parts += _command(words, is_group=is_group)
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _table() -> str:
    rows = ["| command | does |", "| --- | --- |"]
    for name, (_, text) in COMMANDS.items():
        rows.append(f"| [`ezeep {name}`](#{_slug(f'ezeep {name}')}) | {_text(text)} |")
    return "\n".join(rows)


def _command(words: tuple[str, ...], *, is_group: bool) -> list[str]:
    help_ = _help(*words)
    parts = [f"{'#' * (len(words) + 1)} ezeep {' '.join(words)}", _text(help_.description)]
    panels = {_plain(panel.title): panel for panel in help_.panels}
    if is_group:
        names = [" ".join(("ezeep", *words, *names)) for names, _ in _names(_at(words))]
        parts.append(", ".join(f"[`{name}`](#{_slug(name)})" for name in names))
    else:
        parts.append(f"```text\n{with_names(help_.usage)}\n```")
        own = {title: panel for title, panel in panels.items() if title not in SHARED}
        for title, panel in own.items():
            label = "Options" if title == "Parameters" else title
            if panel.format == "parameter" and panel.entries:
                parts += [f"**{label}**", _entries(panel)]
        if "Connection" in panels:
            parts.append("It also takes the [connection options](#connection-options).")
    if examples := examples_of(words):
        parts += ["**Examples**", *_examples(examples)]
    return parts


def _slug(heading: str) -> str:
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower())).strip("-")


def _entries(panel: Any) -> str:
    lines = []
    for entry in panel.entries:
        label = ", ".join(f"`{each}`" for each in entry.display_labels_with_metavar)
        facts = [_text(_plain(entry.description))] if entry.description else []
        if entry.choices:
            facts.append(f"One of {', '.join(f'`{each}`' for each in entry.choices)}.")
        if entry.default:
            facts.append(f"Default: `{entry.default}`.")
        if entry.required:
            facts.append("Required.")
        # A list item without a text would be read as the end of the list by some tools.
        lines.append(f"- {label}" + (f": {' '.join(facts)}" if facts else ""))
    return "\n".join(lines)


_LITERAL = re.compile(r"(?<![\w`-])(--[a-z][a-z-]+|-[a-z]\b|EZEEP_[A-Z_]+)")


def _text(text: str) -> str:
    """Markdown for a text of the help, which has none."""
    escaped = re.sub(r"([\\*<>\[\]|])", r"\\\1", text)
    return _LITERAL.sub(r"`\1`", escaped)


def _examples(text: str) -> list[str]:
    """Indented lines are commands, the others are sentences."""
    parts = []
    for paragraph in re.split(r"\n\s*\n", text):
        lines = paragraph.splitlines()
        if all(line.startswith("    ") for line in lines):
            parts.append("```sh\n" + "\n".join(line.removeprefix("    ") for line in lines) + "\n```")
        else:
            parts.append(_text(" ".join(lines)))
    return parts


# --- settings ----------------------------------------------------------------------------------------------------------

SETTINGS_INTRO = """# Settings

Every setting with its type, default and unit. The [entries of the classes](api/settings.md) have the details of each.

```python
from ezeep_async import EzeepSession, Settings, run_sync

settings = Settings(deadline=60.0, retries=2, concurrency=8)
with run_sync(EzeepSession.from_env(settings=settings)) as session:
    print(len(session.groups.list().collect()), "groups")
```

Numbers are checked when the object is made: a wrong one raises `ValueError`. Times count only while the process runs, not while
it is suspended.
"""
SETTINGS_CLASSES: dict[type, str] = {
    Settings: """
Time limits, retries, rate limits and connections: `EzeepSession(app, settings=Settings(...))`, or for a pool
`SessionPool(app, store, settings=Settings(...))`. Five of them can be set [for one call](../how-to/calls.md) with
`session.with_options`: `deadline`, `connect_timeout`, `read_timeout`, `retries` and `max_retry_after`.
""",
    Endpoints: "The addresses of the service: `EzeepSession(app, endpoints=Endpoints(...))`.",
    OAuthApp: "The client that is registered with ezeep: the first argument of a session or a pool.",
    SessionPool: """
Arguments of [`SessionPool`][ezeep_async.SessionPool]. [Thousands of logins](../how-to/many-logins.md) shows how to choose
`max_open`.
""",
    Behaviour: """
Keywords of [`Sandbox`][ezeep_async.sandbox.Sandbox], and of the marker `ezeep_sandbox` of the pytest plugin.
[Test and mock](../how-to/testing.md) shows how to use them.
""",
}
# The unit of each number, also of those whose name has it.
UNITS = {
    "Settings": {
        "connect_timeout": "seconds",
        "read_timeout": "seconds",
        "deadline": "seconds",
        "retries": "retries",
        "max_retry_after": "seconds",
        "concurrency": "requests",
        "requests_per_second": "requests per second",
        "leeway": "seconds",
        "refresh_timeout": "seconds",
    },
    "SessionPool": {"max_open": "sessions"},
    "Behaviour": {
        "expires_in": "seconds",
        "refresh_expires_in": "seconds",
        "grace_window": "seconds",
        "max_page_size": "rows",
        "default_page_size": "rows",
        "max_parallel": "requests",
        "max_per_second": "requests per second",
        "retry_after": "seconds",
        "latency": "seconds",
        "report_polls": "requests",
        "pairing_interval": "seconds",
        "job_seconds": "seconds",
        "url_not_ready": "responses",
        "upload_expires_in": "seconds",
        "port": "port number",
    },
}


def settings_page() -> str:
    """docs/reference/settings.md."""
    parts = [SETTINGS_INTRO, HINT]
    for cls, text in SETTINGS_CLASSES.items():
        rows = _rows(cls, _described(cls))
        # On a narrow screen docs/assets/api.css shows each row below the other.
        table = "\n".join(rows)
        parts += [
            f"## {cls.__name__}",
            text,
            f'<div class="doc-table doc-settings" markdown>\n\n{table}\n\n</div>',
        ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _described(cls: type) -> griffe.Class:
    path = Path(inspect.getfile(cls))
    module = griffe.visit(cls.__module__, filepath=path, code=path.read_text("utf-8"))
    found = module[cls.__name__]
    assert isinstance(found, griffe.Class)
    return found


def _rows(cls: type, described: griffe.Class) -> list[str]:
    texts = _descriptions(described)
    units = UNITS.get(cls.__name__, {})
    has_units = bool(units)
    header = ["name", "type", "default", *(["unit"] if has_units else []), "meaning"]
    rows = [f"| {' | '.join(header)} |", f"| {' | '.join('---' for _ in header)} |"]
    for name, parameter in inspect.signature(cls).parameters.items():
        kind = _kind(cls, str(parameter.annotation))
        if not has_units or name in units:
            unit = units.get(name, "")
        elif re.search(r"\b(int|float)\b", kind):
            raise ValueError(
                f"{cls.__name__}.{name} is a number: write its unit in UNITS of {Path(__file__).name}"
            )
        else:
            unit = ""
        default = _default(parameter.default)
        types = " or ".join(f"`{each}`" for each in kind.split(" | "))
        cells = [f"`{name}`", types, default, *([unit] if has_units else []), texts[name]]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _kind(cls: type, annotation: str) -> str:
    """The annotation; for a name of several literals, these."""
    named = vars(sys.modules[cls.__module__]).get(annotation)
    return str(named).removeprefix("typing.") if get_origin(named) is Literal else annotation


def _default(value: object) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    if type(value).__module__.startswith("ezeep_async"):
        return "the system's"  # a clock
    return f"`{value!r}`" if value is not attrs.NOTHING else ""


def _descriptions(described: griffe.Class) -> dict[str, str]:
    """The beginning of the text on each field or argument, without its default."""
    texts = {
        each.name: each.docstring.value
        for each in described.members.values()
        if isinstance(each, griffe.Attribute) and each.docstring
    }
    sections = griffe.parse_google(described.docstring, warnings=False) if described.docstring else []
    for section in sections:
        if isinstance(section, griffe.DocstringSectionParameters):
            texts |= {item.name: item.description for item in section.value}
    return {name: _first(text) for name, text in texts.items()}


def _first(text: str) -> str:
    paragraph = re.sub(r"\s*Default: .*$", "", " ".join(text.partition("\n\n")[0].split()))
    sentences = re.split(r"(?<=\.) (?=[A-Z])", paragraph)
    kept = sentences[:1]
    for sentence in sentences[1:]:
        if len(" ".join([*kept, sentence])) > LONGEST_MEANING:
            break
        kept.append(sentence)
    return " ".join(kept)


PAGES = {"docs/reference/commands.md": commands_page, "docs/reference/settings.md": settings_page}


def main() -> None:
    """Write the pages."""
    for path, make in PAGES.items():
        (ROOT / path).write_text(make(), "utf-8")


if __name__ == "__main__":
    main()
