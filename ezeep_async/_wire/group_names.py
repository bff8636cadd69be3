"""Which characters a new group name may have, and which names look the same. No I/O."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator


_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Default_Ignorable_Code_Point (Unicode standard, DerivedCoreProperties.txt), as `re` has it."""
_BLANK = "\u115f\u1160\u2800\u3164\uffa0\U00016fe4\U0001d159"
"""Characters that are drawn as empty space and are no white space for Python."""
_VISIBLE_FORMAT = "\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
"""Signs of the category Cf that are drawn (Prepended_Concatenation_Mark)."""
_IS_IGNORABLE = re.compile(f"[{_IGNORABLE}{_BLANK}]")
_IS_VISIBLE_FORMAT = re.compile(f"[{_VISIBLE_FORMAT}]")
_INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

_ZWNJ, _ZWJ = "\u200c", "\u200d"
_PRESENTATION = "\ufe0e\ufe0f"
_SKIN_TONES = "\U0001f3fb-\U0001f3ff"
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f")
"""The flag of a region, as of Scotland: a black flag and letters of tags (Unicode Technical Standard 51)."""
_JOINING = re.compile(
    "[\u0620-\u06ff\u0710-\u077f\u07ca-\u07ea\u0840-\u0858\u0860-\u08c9\u1807\u1820-\u18aa]"
)
"""Letters of the scripts whose letters join: Arabic, Syriac, N'Ko, Mandaic, Mongolian."""
_VIRAMA = 9
"""The combining class of the sign after which Indic scripts have joiners (RFC 5892, appendix A)."""

_LIKE_ASCII = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b\u02bc\u2032\u00b4`", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212", "-"),
        "\u0131": "i",  # the i of Turkish
    }
)
_LIKE_LATIN = str.maketrans(
    # Cyrillic capitals and small letters, Greek capitals and omicron (Unicode Technical Standard 39, confusables.txt).
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0423\u0406\u0408\u0405"
    "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456\u0458\u0455"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u03bf",
    "ABEKMHOPCTXYIJSaeopcxyijsABEZHIKMNOPTYXo",
)


def checked_new_name(value: object, what: str) -> str:
    """Check the name of a new group: as `checked_name`, and without invisible characters.

    Args:
        value: The name.
        what: The name of the argument, for the message.

    Returns:
        The name, unchanged.

    Raises:
        ValueError: The name cannot be used.
    """
    from ezeep_async._wire.requests import checked_name  # the rest of this module is used without requests

    name = checked_name(value, what)
    if (problem := invisible_problem(name)) is not None:
        raise ValueError(f"{what} {problem}")
    return name


def invisible_problem(name: str) -> str | None:
    """Describe the first invisible character of a new group's name; None if it has none. The caller adds a subject.

    Control and format characters, bidi controls, tags, fillers and variation selectors are invisible. They are allowed
    where the script needs them: a joiner inside an emoji, either joiner next to a virama, a non-joiner between letters
    that would join (as in Persian), a presentation selector after a pictograph, the tags of a region's flag, and a
    variation selector after an ideograph or a Mongolian letter.
    """
    if name.isascii() and name.isprintable():
        return None
    flags = {place for flag in _FLAG.finditer(name) for place in range(*flag.span())}
    for place, character in enumerate(name):
        if is_invisible(character) and place not in flags and not _is_needed(name, place):
            label = unicodedata.name(character, "")
            return (
                f"{shown(name)} has an invisible character at position {place + 1}: U+{ord(character):04X}"
                f"{' ' if label else ''}{label}. Remove it"
            )
    return None


def shown(name: str) -> str:
    """A name in quotes for a message, with escapes for what cannot be seen."""
    return "'" + "".join(_shown(character) for character in name) + "'"


def looks_of(name: str) -> frozenset[str]:
    """Return comparison keys: two names look the same if they share a key.

    Case, white space, compatibility forms (NFKC), invisible characters, kinds of hyphens and quotation marks, and
    Cyrillic and Greek letters that look like Latin ones make no difference.
    """
    if name.isascii():
        return frozenset({_folded(name)})
    return frozenset({_folded(name), _folded(name.translate(_LIKE_LATIN))})


class LookAlikes:
    """Names, found by how they look."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._by_looks: dict[str, dict[str, None]] = {}
        for name in names:
            self.add(name)

    def add(self, name: str) -> None:
        for looks in looks_of(name):
            self._by_looks.setdefault(looks, {})[name] = None

    def of(self, name: str) -> list[str]:
        """Return the other names that look like this one."""
        found = dict.fromkeys(other for looks in looks_of(name) for other in self._by_looks.get(looks, ()))
        return [other for other in found if other != name]


def _folded(name: str) -> str:
    text = name.translate(_LIKE_ASCII)
    if not (text.isascii() and text.isprintable()):
        text = "".join(_visible(text))
        # As NFKC_Casefold of the Unicode standard (section 3.13): once is not enough for some characters.
        for _ in range(2):
            text = unicodedata.normalize("NFKC", unicodedata.normalize("NFD", text).casefold())
        # The capital I with a dot of Turkish is folded to an i with a dot above.
        text = text.replace("i\u0307", "i")
    return " ".join(text.casefold().split())


def _visible(text: str) -> Iterator[str]:
    for character in text:
        if character in _BLANK:
            yield " "
        elif character.isspace() or not is_invisible(character):
            yield character


def is_invisible(character: str) -> bool:
    """Whether a character is a control or format character, or drawn as nothing. A space is not invisible."""
    if _IS_IGNORABLE.match(character):
        return True
    return unicodedata.category(character) in _INVISIBLE_CATEGORIES and not _IS_VISIBLE_FORMAT.match(
        character
    )


def _is_needed(name: str, place: int) -> bool:
    """Whether the script needs the invisible character at that place."""
    character = name[place]
    before, after = name[place - 1 : place], name[place + 1 : place + 2]
    if not before:
        return False
    if character in _PRESENTATION:
        return _is_pictograph(before) or (before in "#*0123456789" and after == "\u20e3")
    if "\U000e0100" <= character <= "\U000e01ef":
        return unicodedata.name(before, "").startswith("CJK UNIFIED IDEOGRAPH")
    if "\u180b" <= character <= "\u180f":
        return "\u1820" <= before <= "\u18aa"  # the selectors of Mongolian, after its letters
    return character in {_ZWNJ, _ZWJ} and _joins(name[:place], character, after)


def _joins(before: str, joiner: str, after: str) -> bool:
    """Whether a joiner or non-joiner has an effect between these two."""
    # Bengali has the joiner before the virama as well.
    if unicodedata.combining(before[-1]) == _VIRAMA or (after and unicodedata.combining(after) == _VIRAMA):
        return True
    if joiner == _ZWNJ:
        letters = "".join(each for each in before if not unicodedata.combining(each))
        return bool(_JOINING.match(letters[-1:]) and _JOINING.match(after))
    base = re.sub(f"[{_PRESENTATION}{_SKIN_TONES}]+$", "", before)
    return _is_pictograph(base[-1:]) and _is_pictograph(after)


def _is_pictograph(character: str) -> bool:
    """Whether it may be an emoji: a symbol, or one of a few signs of other categories. Python has no emoji property."""
    if character in {"\u203c", "\u2049", "\u2139", "\u3030", "\u00a9", "\u00ae"}:
        return True
    if "\U0001f3fb" <= character <= "\U0001f3ff":
        return True
    return character >= "\u2000" and unicodedata.category(character) in {"So", "Sm"}


def _shown(character: str) -> str:
    if character == "\\" or (character.isprintable() and not is_invisible(character)):
        return character
    return character.encode("unicode_escape").decode("ascii")
