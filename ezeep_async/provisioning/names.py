"""Group names, members and printers: normalization and checks."""

from __future__ import annotations

import re
import unicodedata


LONGEST_GROUP_NAME = 255
"""Characters (docs/ezeep-api.md#groups)."""
LONGEST_EMAIL = 254
"""Characters (RFC 5321 section 4.5.3.1.3, without the angle brackets)."""
LONGEST_SHOWN = 80
"""Characters of an input that a message repeats."""

_EMAIL = re.compile(r'[^@,;"<>]+@[^@,;"<>]+')
_HYPHENATED_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def normalize_email(text: str) -> str:
    """Normalize an address for comparison: trimmed, case-folded, NFC.

    Args:
        text: The address, as in an input or a response.

    Returns:
        The address to compare.
    """
    return fold(text)


def fold(text: str) -> str:
    """Normalize a text for comparison without regard to case: trimmed, case-folded, NFC."""
    if text.isascii():  # most texts; much faster
        return text.strip().lower()
    # NFD first: composed and decomposed forms must fold to the same text (Unicode standard, D145).
    folded = unicodedata.normalize("NFD", text.strip()).casefold()
    return unicodedata.normalize("NFC", folded).strip()


def normalize_group_name(text: str) -> str:
    """Normalize a group name for comparison: trimmed, NFC. Case is kept.

    Args:
        text: The name, as in an input or a response.

    Returns:
        The name to compare.
    """
    return unicodedata.normalize("NFC", text.strip()).strip()


def group_name_problem(name: str) -> str | None:
    """Describe why a normalized group name is invalid; None if it is valid."""
    if len(name) > LONGEST_GROUP_NAME:
        return f"the group name has {len(name)} characters, at most {LONGEST_GROUP_NAME} are allowed"
    return _name_problem(name, "group name")


def normalize_printer(text: str) -> str:
    """Normalize the name or the id of a printer for comparison: as a group name, and an id in lower case."""
    name = normalize_group_name(text)
    return lower if is_hyphenated_uuid(lower := name.lower()) else name


def printer_problem(printer: str) -> str | None:
    """Describe why a normalized printer is invalid; None if it is valid."""
    return _name_problem(printer, "printer")


def is_hyphenated_uuid(text: str) -> bool:
    """Whether the text is a UUID in lower case, with four hyphens."""
    return _HYPHENATED_UUID.fullmatch(text) is not None


def member_problem(member: str) -> str | None:
    """Describe why a normalized member is invalid; None if it is valid.

    A user id is a UUID with four hyphens. Other spellings (`urn:`, braces, digits only) are refused.
    """
    if not member:
        return "the member is blank"
    if _HYPHENATED_UUID.fullmatch(member) or _is_email(member):
        return None
    return f"the member {shortened(member)!r} is neither an e-mail address nor a user id"


def shortened(text: str) -> str:
    """Cut a text to `LONGEST_SHOWN` characters for a message."""
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."


def _name_problem(name: str, what: str) -> str | None:
    if not name:
        return f"the {what} is blank"
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
        return f"the {what} {shortened(name)!r} has a control character"
    return None


def _is_email(text: str) -> bool:
    return len(text) <= LONGEST_EMAIL and _EMAIL.fullmatch(text) is not None and not _has_hidden(text)


def _has_hidden(text: str) -> bool:
    """Whether a text has control, format or unassigned characters (categories C), or separators (Z)."""
    if text.isascii():  # most texts; much faster
        return " " in text or not text.isprintable()
    return any(unicodedata.category(character)[0] in "CZ" for character in text)
