"""JSON as tokens with line numbers. The standard decoder checks the syntax but reports no lines for the values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from ezeep_async.provisioning.inputs.documents import Kind, Malformed, Token
from ezeep_async.provisioning.names import shortened


EXCERPT_CHARACTERS = 20

_KINDS = {"{": Kind.MAPPING, "[": Kind.LIST, "}": Kind.END, "]": Kind.END}
# The last alternative matches a string that the end of the valid part cuts off.
_TOKEN = re.compile(r'[][{}]|[^][{}",:\s]+|"[^"\\]*(?:\\.[^"\\]*)*"|(".*)', re.DOTALL)
_LINE_END = re.compile(r"\r\n|\n|\r")


def json_tokens(text: str) -> Iterator[Token]:
    """Yield the tokens of one JSON value, up to the first syntax error. Raises `Malformed` there."""
    valid, error = text, None
    try:
        # int() refuses more than 4300 digits. Numbers are only shown, so float() is precise enough.
        json.loads(text, parse_int=float)
    except json.JSONDecodeError as failure:
        valid, error = text[: failure.pos], failure
    except RecursionError:
        pass  # `read_document` refuses this depth before it reaches a part that was not checked
    line, position = 1, 0
    for match in _TOKEN.finditer(valid):
        if match[1]:
            break
        raw = match[0]
        line += len(_LINE_END.findall(valid, position, match.start()))
        position = match.end()
        if raw in _KINDS:
            yield Token(_KINDS[raw], line)
        elif raw.startswith('"'):
            yield Token(Kind.TEXT, line, json.loads(raw))
        else:
            yield Token(Kind.OTHER, line, shortened(raw))
    if error is not None:
        line += len(_LINE_END.findall(valid, position))
        if not text.strip():
            raise Malformed(1, "the file is empty")
        excerpt = text[error.pos : error.pos + EXCERPT_CHARACTERS]
        raise Malformed(line, f"not JSON: {error.msg}, at {repr(excerpt) if excerpt else 'the end'}")
