"""Groups, members and printers in JSON and YAML (extra `yaml`). Both become a tree of nodes that have line numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs

from ezeep_async.provisioning.inputs.csv_tables import GROUP, GROUPS, MEMBER, PRINTER
from ezeep_async.provisioning.inputs.problems import Collector, Kind
from ezeep_async.provisioning.names import shortened


if TYPE_CHECKING:
    import yaml


MAX_DEPTH = 100
"""Nested mappings and lists; a valid document has four levels at most."""

_EITHER = f"either {GROUP} and {{0}}, or {{0}} and {GROUPS}"
_PARTS: dict[str, Kind] = {"members": MEMBER, "printers": PRINTER}
"""Fields of a group in the long form of a document, and what they contain."""
_WANTED = f"{' and '.join(_PARTS)} (lists)"

# Group 1 is a line end. Group 2 is a string that the end of the valid part cuts off.
_JSON = re.compile(r'(\r\n|\n|\r)|[][{}]|[^][{}",:\s]+|"[^"\\]*(?:\\.[^"\\]*)*"|(".*)', re.DOTALL)

_TAGS = "tag:yaml.org,2002:"


@attrs.frozen(eq=False, repr=False)
class Node:
    """A value in a document. Its repr is for messages."""

    kind: Literal["text", "list", "mapping", "other"]
    line: int
    """Counted from 1."""
    text: str = ""
    """The text; of another value, its description."""
    children: list[Node] | None = None
    """Items of a list, or keys and values of a mapping in turn. None if the value can have none."""

    def __repr__(self) -> str:
        if self.kind == "text":
            return repr(shortened(self.text))
        return self.text or f"a {self.kind}"

    @property
    def plain(self) -> object:
        """The text; another value is the node itself."""
        return self.text if self.kind == "text" else self


class Malformed(Exception):
    """The document cannot be read past a line. The arguments are that line and a message."""


def read_document(nodes: Iterator[Node | None], collector: Collector) -> None:
    """Read a mapping from groups to members, or a list of records. None in `nodes` ends a list or a mapping."""
    try:
        if (document := next(nodes, None)) is None:
            collector.note_problem(1, "the file is empty")
            return
        children = _children(document, nodes)
        if document.kind == "mapping":
            _read_mapping(children, collector)
        elif document.kind == "list":
            for record in children:
                _read_record(record, collector)
        else:
            wanted = "a mapping from groups to members or a list of records"
            collector.note_problem(document.line, f"the document must be {wanted}, not {document!r}")
        for _ in nodes:  # raises `Malformed` for content after the end
            pass
    except Malformed as error:
        collector.note_problem(*error.args)


def _children(document: Node, nodes: Iterator[Node | None]) -> Iterator[Node]:
    """Build the keys and values, or the items, of the document. Only one of them is in memory at a time."""
    built = cast("list[Node]", document.children)
    path = [document]
    try:
        for node in nodes:
            if node is None:
                path.pop()
            else:
                cast("list[Node]", path[-1].children).append(node)
                if node.children is not None:
                    path.append(node)
            if not path:
                return
            if len(path) == 1:
                yield built.pop()
            elif len(path) > MAX_DEPTH:
                raise Malformed(
                    path[-1].line, f"mappings and lists are nested more than {MAX_DEPTH} levels deep"
                )
    except Malformed:
        if document.kind == "mapping":
            yield from built  # the members before the syntax error
        raise


def _read_mapping(children: Iterator[Node], collector: Collector) -> None:
    """Read the short form, group names to members, or the long form: `groups` to group names to members and printers."""
    long: Node | None = None
    others: list[Node] = []
    for key, value in zip(children, children, strict=False):
        # In the short form a group may be named "groups": its value is a list.
        if value.kind == "mapping" and key.text.strip().casefold() == GROUPS and long is None:
            long = key
            below = iter(value.children or ())
            # A syntax error leaves a key without a value.
            for name, parts in zip(below, below, strict=False):
                _read_parts(name, parts, collector)
        else:
            others += [key] if not others else []
            _read_group(key, value, collector)
    if long is not None and others:
        message = f"a document with {GROUPS!r} has no other fields: put {others[0]!r} below {GROUPS!r}"
        collector.note_problem(others[0].line, message)


def _read_group(key: Node, value: Node, collector: Collector) -> None:
    name = collector.check_group(key.plain, key.line)
    hint = ""
    if value.kind == "mapping" and any(
        child.text.strip().casefold() in _PARTS for child in value.children or ()
    ):
        hint = f"; members and printers of groups stand below {GROUPS!r}"
    _read_list(MEMBER, key, value, name, collector, hint)


def _read_parts(key: Node, parts: Node, collector: Collector) -> None:
    """Read the members and printers of a group in the long form. A part that is left out is not planned."""
    if parts.kind != "mapping":
        collector.note_problem(
            parts.line, f"the group {key!r} must be a mapping with {_WANTED}, not {parts!r}"
        )
        return
    name = collector.check_group(key.plain, key.line)
    children = iter(parts.children or ())
    known = False
    for field, value in zip(children, children, strict=False):
        if (kind := _PARTS.get(field.text.strip().casefold())) is None:
            collector.note_problem(
                field.line, f"the group {key!r} has the field {field!r}; it may have {_WANTED}"
            )
            continue
        known = True
        _read_list(kind, key, value, name, collector)
    if not known and not parts.children:
        collector.note_problem(parts.line, f"the group {key!r} has neither {' nor '.join(_PARTS)}")


def _read_list(
    kind: Kind, key: Node, value: Node, name: str | None, collector: Collector, hint: str = ""
) -> None:
    check, table = collector.part(kind)
    if name is not None:
        table.setdefault(name, {})
    if value.kind not in {"text", "list"}:
        message = f"the {kind}s of {key!r} must be a list ([] for none), not {value!r}{hint}"
        collector.note_problem(value.line, message)
        return
    for item in [value] if value.kind == "text" else value.children or ():
        collector.add_pair(name, check(item.plain, item.line), table)


def _read_record(record: Node, collector: Collector) -> None:
    if record.kind != "mapping":
        collector.note_problem(
            record.line, f"a record with {_EITHER.format(MEMBER)} must be a mapping, not {record!r}"
        )
        return
    children = iter(record.children or ())
    fields = [(key.text.strip().casefold(), value) for key, value in zip(children, children, strict=True)]
    names = sorted(name for name, _ in fields)
    item = PRINTER if PRINTER in names and MEMBER not in names else MEMBER
    if names not in ([GROUP, item], [GROUPS, item]):
        present = ", ".join(shortened(name) for name, _ in fields) or "none of them"
        collector.note_problem(record.line, f"a record needs {_EITHER.format(item)}; this one has {present}")
    check, table = collector.part(item)
    items: list[str | None] = []
    groups: list[str | None] = []
    for name, value in fields:
        if name == item:
            items.append(check(value.plain, value.line))
        elif name == GROUP:
            groups.append(collector.check_group(value.plain, value.line))
        elif name == GROUPS and value.kind == "list":
            groups += [collector.check_group(item.plain, item.line) for item in value.children or ()]
        elif name == GROUPS:
            collector.note_problem(value.line, f"the field {GROUPS} must be a list, not {value!r}")
    for group in groups:
        for each in items:
            collector.add_pair(group, each, table)


def json_nodes(text: str) -> Iterator[Node | None]:
    """Yield the nodes of one JSON value. Raises `Malformed` at a syntax error.

    The standard decoder checks the syntax, but reports no lines for the values.
    """
    if not text.strip():
        return
    valid, error = text, None
    try:
        # int() refuses more than 4300 digits. Numbers are only shown, so float() is precise enough.
        json.loads(text, parse_int=float)
    except json.JSONDecodeError as failure:
        valid, error = text[: failure.pos], failure
    except RecursionError:
        pass  # `read_document` refuses this depth before it reaches a part that was not checked
    line = 1
    for match in _JSON.finditer(valid):
        if match[1]:
            line += 1
        elif match[2]:
            break
        elif match[0] in "]}":
            yield None
        else:
            yield _json_node(match[0], line)
    if error is not None:
        rest = shortened(text[error.pos :])
        raise Malformed(line, f"not JSON: {error.msg}, at {repr(rest) if rest else 'the end'}")


def _json_node(source: str, line: int) -> Node:
    if source in "[{":
        return Node("list" if source == "[" else "mapping", line, children=[])
    if source.startswith('"'):
        # Decoding is slow, and few strings have escapes.
        return Node("text", line, json.loads(source) if "\\" in source else source[1:-1])
    return Node("other", line, shortened(source))


def yaml_nodes(text: str) -> Iterator[Node | None]:
    """Yield the nodes of one YAML document. Raises `Malformed` at a syntax error and at a second document.

    PyYAML's events are read, not its nodes: the composer builds aliases into the tree and recurses for each level.
    """
    try:
        import yaml
    except ImportError as error:
        raise ImportError("YAML needs the package PyYAML: pip install 'ezeep_async[yaml]'") from error
    # A new instance ignores resolvers that an application added to PyYAML's loaders.
    resolver = yaml.resolver.Resolver()
    line = 1
    started = False
    try:
        # The C loader is much faster, but not available on every platform.
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            line = event.start_mark.line + 1 if event.start_mark else line
            if isinstance(event, yaml.DocumentStartEvent):
                if started:
                    raise Malformed(line, "a second document begins here: a file must have one document")
                started = True
            elif isinstance(event, yaml.CollectionEndEvent):
                yield None
            elif isinstance(event, yaml.NodeEvent):
                yield _yaml_node(event, line, resolver)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _not_yaml(error, text, line) from None


def _not_yaml(error: Exception, text: str, line: int) -> Malformed:
    import yaml

    # The Python loader overflows on huge escapes and versions.
    reason = shortened(str(error))
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = line if mark is None else mark.line + 1
        reason = str(error.problem)
    elif isinstance(error, yaml.reader.ReaderError):
        # `position` counts bytes in one loader and characters in the other, so search for the character.
        character = chr(error.character)
        line = len(text[: text.find(character) + 1].splitlines())
        reason = f"the character {character!r}"
    return Malformed(line, f"not YAML: {reason}")


def _yaml_node(event: yaml.NodeEvent, line: int, resolver: Any) -> Node:
    import yaml

    if isinstance(event, yaml.CollectionStartEvent) and event.tag is None:
        return Node("mapping" if isinstance(event, yaml.MappingStartEvent) else "list", line, children=[])
    if isinstance(event, yaml.ScalarEvent) and event.tag in {None, _TAGS + "str"}:
        value = event.value
        tag: str = event.tag or resolver.resolve(yaml.ScalarNode, value, event.implicit)
        if tag == _TAGS + "str":
            return Node("text", line, value)
        read_as = f"{shortened(value)}: YAML reads it as {tag.removeprefix(_TAGS)}, so put it in quotes"
        return Node("other", line, read_as if value else "an empty value")
    if isinstance(event, yaml.AliasEvent):
        # Not expanded: nested aliases grow exponentially.
        return Node("other", line, f"the alias *{event.anchor}: write out its value")
    children: list[Node] | None = [] if isinstance(event, yaml.CollectionStartEvent) else None
    return Node("other", line, f"a value with the tag {shortened(getattr(event, 'tag', ''))}", children)
