"""Names and addresses: the fast paths for ASCII give what the rules for all characters give."""

from __future__ import annotations

import sys
import unicodedata

from ezeep_async.provisioning.inputs.problems import Collector
from ezeep_async.provisioning.names import _has_hidden


def test_hidden_characters_are_those_of_unicode() -> None:
    """Control, format and unassigned characters (C), and separators (Z)."""
    for code in range(0x3000):
        character = chr(code)
        assert _has_hidden(character) == (unicodedata.category(character)[0] in "CZ"), hex(code)
    assert _has_hidden("a b")
    assert not _has_hidden("a.b@example.com")
    assert _has_hidden(chr(sys.maxunicode))


def test_every_spelling_of_a_member_is_one_object() -> None:
    """Also after the normalized spelling was read, which is found without normalizing it again."""
    collector = Collector("rows")
    spellings = ["a@example.com", "A@Example.com", " a@example.com ", "a@example.com"]
    found = {id(collector.check_member(text, None)) for text in spellings}
    assert len(found) == 1
    composed = "\N{LATIN SMALL LETTER E WITH ACUTE}@example.com"
    decomposed = unicodedata.normalize("NFD", composed)
    assert collector.check_member(decomposed, None) == composed
    assert collector.check_member(composed, None) == composed
    assert collector.problem_count == 0
