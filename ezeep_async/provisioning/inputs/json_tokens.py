"""JSON as tokens with their lines. The standard decoder reads the values, and knows no lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from ezeep_async.provisioning.inputs.documents import Kind, Malformed, Token
from ezeep_async.provisioning.names import shortened


_BLANKS = re.compile(r"[ \t\r\n]*")
_LINE_END = re.compile(r"\r\n|\n|\r")
# float() takes what int() refuses, which is thousands of digits; the number itself matters to nobody.
_DECODER = json.JSONDecoder(parse_int=float)
_CLOSED_BY = {"{": "}", "[": "]"}
_KINDS = {"{": Kind.MAPPING, "[": Kind.LIST}


def json_tokens(text: str) -> Iterator[Token]:
    """The tokens of one JSON value. `Malformed` at the first place that is not JSON."""
    scanner = _Scanner(text)
    closing: list[str] = []
    """What closes each list and mapping that is open."""
    first = False
    """Whether one was just opened, and may be closed again at once."""
    if not scanner.mark():
        raise Malformed(1, "the file is empty")
    while True:
        mark = scanner.mark()
        if first and mark == closing[-1]:
            yield scanner.end(closing)
        else:
            if closing and closing[-1] == "}":
                yield scanner.key()
                mark = scanner.mark()
            if mark in _KINDS:
                closing.append(_CLOSED_BY[mark])
                first = True
                yield scanner.take(_KINDS[mark])
                continue
            yield scanner.value()
        first = False
        while closing and scanner.mark() == closing[-1]:
            yield scanner.end(closing)
        if not closing:
            break
        scanner.expect(",", closing[-1])
    if scanner.mark():
        raise Malformed(scanner.line, f"not JSON: {scanner.excerpt()} after the end")


class _Scanner:
    """Where in the text the reading is."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.line = 1

    def mark(self) -> str:
        """The next character that is no blank; nothing at the end."""
        blanks = _BLANKS.match(self._text, self._at)
        if blanks is not None and blanks.end() > self._at:
            self.line += len(_LINE_END.findall(blanks.group()))
            self._at = blanks.end()
        return self._text[self._at : self._at + 1]

    def take(self, kind: Kind) -> Token:
        """A token of one character."""
        self._at += 1
        return Token(kind, self.line)

    def end(self, closing: list[str]) -> Token:
        """The end of the innermost list or mapping."""
        closing.pop()
        return self.take(Kind.END)

    def key(self) -> Token:
        """A text with a colon behind it."""
        if self.mark() != '"':
            raise Malformed(
                self.line, f"not JSON: a key in double quotes has to be here, and not {self.excerpt()}"
            )
        token = self.value()
        self.mark()
        self.expect(":")
        return token

    def value(self) -> Token:
        """A text, or a value of another kind that has no parts."""
        start = self._at
        try:
            value, self._at = _DECODER.raw_decode(self._text, start)
        except json.JSONDecodeError as error:
            raise Malformed(self.line, f"not JSON: {error.msg}, at {self.excerpt()}") from None
        if isinstance(value, str):
            return Token(Kind.TEXT, self.line, value)
        return Token(Kind.OTHER, self.line, shortened(self._text[start : self._at]))

    def expect(self, mark: str, *others: str) -> None:
        """Goes past a character that has to be here, if none of the others is."""
        if self._text[self._at : self._at + 1] != mark:
            told = " or ".join(repr(one) for one in (mark, *others))
            raise Malformed(self.line, f"not JSON: {told} has to be here, and not {self.excerpt()}")
        self._at += 1

    def excerpt(self) -> str:
        """What is here, for a message."""
        return repr(self._text[self._at : self._at + 20]) if self._at < len(self._text) else "the end"
