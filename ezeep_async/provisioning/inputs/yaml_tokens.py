"""YAML as tokens with their lines (extra `yaml`). PyYAML reads the syntax; no value is built, expanded or guessed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, cast

from ezeep_async.provisioning.inputs.documents import Kind, Malformed, Token
from ezeep_async.provisioning.names import shortened


if TYPE_CHECKING:
    import yaml


_TAGS = "tag:yaml.org,2002:"
_TAKEN_FOR = {
    "bool": "true or false",
    "float": "a number",
    "int": "a number",
    "merge": "a merge",
    "timestamp": "a date",
    "value": "a default",
}
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


class _Resolver(Protocol):
    """What is used of `yaml.resolver.Resolver`."""

    def resolve(self, kind: object, value: str, implicit: tuple[bool, bool]) -> str: ...


def yaml_tokens(text: str) -> Iterator[Token]:
    """The tokens of one YAML document. `Malformed` at the first place that is not YAML, and at a second document.

    Raises `ImportError` at once when the extra `yaml` is not installed.
    """
    try:
        import yaml as _  # noqa: F401  # found out here, and not at the first token
    except ImportError as error:
        raise ImportError("YAML needs the package PyYAML: pip install 'ezeep_async[yaml]'") from error
    return _tokens(text)


def _tokens(text: str) -> Iterator[Token]:
    import yaml

    # What text without quotes stands for. Its own instance: what others add to PyYAML's loaders is theirs.
    resolver = cast("_Resolver", yaml.resolver.Resolver())
    events = _events(text)
    begun = False
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            if begun:
                raise Malformed(_line(event), "a second document begins here: one file is one document")
            begun = True
        elif isinstance(event, yaml.AliasEvent):
            # An alias may stand for a list that is full of aliases: few bytes, and no end of members.
            yield Token(Kind.OTHER, _line(event), f"the alias *{event.anchor}: write out what it stands for")
        elif isinstance(event, yaml.ScalarEvent):
            yield _scalar(event, resolver.resolve(yaml.ScalarNode, event.value, event.implicit))
        elif isinstance(event, yaml.CollectionStartEvent):
            if event.tag is not None:
                yield _tagged(event, event.tag)
                _skip(events)
            else:
                kind = Kind.MAPPING if isinstance(event, yaml.MappingStartEvent) else Kind.LIST
                yield Token(kind, _line(event))
        elif isinstance(event, yaml.CollectionEndEvent):
            yield Token(Kind.END, _line(event))
    if not begun:
        raise Malformed(1, "the file is empty")


def _events(text: str) -> Iterator[yaml.Event]:
    import yaml

    line = 1
    try:
        # The one in C is many times as fast, and not there on every platform.
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            line = _line(event)
            yield event
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Malformed(line if mark is None else mark.line + 1, f"not YAML: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        # Its position counts bytes or characters, whichever loader it is. This is the first character of its kind.
        character = chr(error.character)
        line = len(_LINE_END.findall(text[: text.find(character)])) + 1
        raise Malformed(line, f"not YAML: the character {character!r}") from None
    except (ValueError, OverflowError) as error:
        # Escapes and versions beyond all bounds, in the loader that is written in Python.
        raise Malformed(line, f"not YAML: {shortened(str(error))}") from None


def _skip(events: Iterator[yaml.Event]) -> None:
    """Goes past the end of the list or mapping that has begun."""
    import yaml

    depth = 1
    while depth:
        event = next(events)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)


def _scalar(event: yaml.ScalarEvent, resolved: str) -> Token:
    if event.tag not in {None, _TAGS + "str"}:
        return _tagged(event, event.tag or "")
    kind = resolved.removeprefix(_TAGS)
    if event.tag is not None or kind == "str":
        return Token(Kind.TEXT, _line(event), event.value)
    if kind == "null":
        return Token(Kind.OTHER, _line(event), f"nothing ({event.value})" if event.value else "nothing")
    told = f"{shortened(event.value)}, which YAML takes for {_TAKEN_FOR.get(kind, kind)}: put it in quotes"
    return Token(Kind.OTHER, _line(event), told)


def _tagged(event: yaml.Event, tag: str) -> Token:
    return Token(Kind.OTHER, _line(event), f"a value with the tag {shortened(tag)}")


def _line(event: yaml.Event) -> int:
    return 1 if event.start_mark is None else event.start_mark.line + 1
