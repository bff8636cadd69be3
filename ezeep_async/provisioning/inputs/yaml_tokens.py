"""YAML as tokens with line numbers (extra `yaml`).

PyYAML's events are read, not its nodes: the composer builds aliases into the tree and recurses for each level.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol, cast

from ezeep_async.provisioning.inputs.documents import Kind, Malformed, Token
from ezeep_async.provisioning.names import shortened


if TYPE_CHECKING:
    import yaml


_TAGS = "tag:yaml.org,2002:"
_READ_AS = {
    "bool": "true or false",
    "float": "a number",
    "int": "a number",
    "merge": "a merge key",
    "timestamp": "a date",
    "value": "a default key",
}
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


class _Resolver(Protocol):
    """The part of `yaml.resolver.Resolver` in use, which has no type hints."""

    def resolve(self, kind: object, value: str, implicit: tuple[bool, bool]) -> str: ...


def yaml_tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of one YAML document. Raises `Malformed` at a syntax error and at a second document.

    Raises `ImportError` at the call, not at the first token, if PyYAML is not installed.
    """
    try:
        import yaml as _  # noqa: F401
    except ImportError as error:
        raise ImportError("YAML needs the package PyYAML: pip install 'ezeep_async[yaml]'") from error
    return _tokens(text)


def _tokens(text: str) -> Iterator[Token]:
    import yaml

    # Resolves plain scalars. A new instance ignores resolvers that an application added to PyYAML's loaders.
    resolver = cast("_Resolver", yaml.resolver.Resolver())
    events = _events(text)
    started = False
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            if started:
                raise Malformed(_line(event), "a second document begins here: a file must have one document")
            started = True
        elif isinstance(event, yaml.AliasEvent):
            # Not expanded: nested aliases grow exponentially.
            yield Token(Kind.OTHER, _line(event), f"the alias *{event.anchor}: write out its value")
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
    if not started:
        raise Malformed(1, "the file is empty")


def _events(text: str) -> Iterator[yaml.Event]:
    import yaml

    line = 1
    try:
        # The C loader is much faster, but not available on every platform.
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            line = _line(event)
            yield event
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Malformed(line if mark is None else mark.line + 1, f"not YAML: {error.problem}") from None
    except yaml.reader.ReaderError as error:
        # `position` counts bytes in one loader and characters in the other, so search for the character.
        character = chr(error.character)
        line = len(_LINE_END.findall(text[: text.find(character)])) + 1
        raise Malformed(line, f"not YAML: the character {character!r}") from None
    except (ValueError, OverflowError) as error:
        # The Python loader overflows on huge escapes and versions.
        raise Malformed(line, f"not YAML: {shortened(str(error))}") from None


def _skip(events: Iterator[yaml.Event]) -> None:
    """Read to the end of the current list or mapping."""
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
        return Token(Kind.OTHER, _line(event), f"null ({event.value})" if event.value else "an empty value")
    description = (
        f"{shortened(event.value)}: YAML reads it as {_READ_AS.get(kind, kind)}, so put it in quotes"
    )
    return Token(Kind.OTHER, _line(event), description)


def _tagged(event: yaml.Event, tag: str) -> Token:
    return Token(Kind.OTHER, _line(event), f"a value with the tag {shortened(tag)}")


def _line(event: yaml.Event) -> int:
    return 1 if event.start_mark is None else event.start_mark.line + 1
