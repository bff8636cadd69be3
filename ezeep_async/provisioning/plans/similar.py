"""New names and addresses that differ from an existing one by one typing error. No I/O."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import islice

from ezeep_async._wire.group_names import looks_of, shown
from ezeep_async.provisioning.wording import some


SIMILAR_SHOWN = 3
SHORTEST, LONGEST = 4, 64
"""Characters of a name that is compared. The time and the memory for a name grow with the square of its length."""
MOST_NEW = 2000
"""New names that are compared: those after them have no hints."""
LONGEST_LABEL = 2
"""Characters of a word such as the last ones of "Team A" and "Phase II": two that differ are no typing error."""

_DIGITS = re.compile(r"\d+")
_WORDS = re.compile(r"[^\W_]+")


def group_hints(new: Iterable[str], existing: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each new group whose name is similar to that of existing ones."""
    for name, others in similar_to(new, existing).items():
        names = some([shown(other) for other in others], SIMILAR_SHOWN)
        yield f"the new group {shown(name)} is similar to {names}: did you mean that group?"


def people_hints(unknown: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each unknown address that is similar to known ones."""
    for email, others in similar_to(unknown, known).items():
        yield (
            f"{email} is not in the organization, and similar to {some(others, SIMILAR_SHOWN)}: did you mean that person?"
        )


def similar_to(new: Iterable[str], existing: Iterable[str]) -> dict[str, list[str]]:
    """Map new names to the existing ones that are similar; those without any are left out.

    Similar are names that differ by a character, or by two that are swapped, and those that differ only in accents. Names
    that differ in their digits are not, such as "Floor 1" and "Floor 2". Names that look the same are left out: `LookAlikes`
    finds them.

    Takes time in proportion to the number of names, because names with one difference become equal when each loses the
    right character: only those are compared that have such a form in common.
    """
    forms: dict[str, list[tuple[str, str]]] = {}
    lengths = set[int]()
    for name in islice(dict.fromkeys(new), MOST_NEW):
        if SHORTEST <= len(key := _key(name)) <= LONGEST:
            lengths.update((len(key) - 1, len(key), len(key) + 1))
            for form in _forms(key):
                forms.setdefault(form, []).append((name, key))
    found: dict[str, list[str]] = {}
    if not forms:
        return found
    for other in existing:
        other_key = _key(other)
        if len(other_key) not in lengths or len(other_key) < SHORTEST:
            continue
        candidates = {each for form in _forms(other_key) for each in forms.get(form, ())}
        for name, key in sorted(candidates):
            if _is_typing_error(key, other_key) and not looks_of(name) & looks_of(other):
                found.setdefault(name, []).append(other)
    return found


def _key(name: str) -> str:
    """The name without regard to case, kinds of spaces and accents."""
    if name.isascii():  # most names; much faster
        return " ".join(name.lower().split())
    key = min(looks_of(name))
    return "".join(each for each in unicodedata.normalize("NFKD", key) if not unicodedata.combining(each))


def _forms(key: str) -> set[str]:
    """The key, and the key without one of its characters."""
    return {key, *(key[:at] + key[at + 1 :] for at in range(len(key)))}


def _is_typing_error(one: str, other: str) -> bool:
    if not _is_one_edit(one, other) or _DIGITS.findall(one) != _DIGITS.findall(other):
        return False
    words, others = _WORDS.findall(one), _WORDS.findall(other)
    return len(words) != len(others) or not any(
        word != each and max(len(word), len(each)) <= LONGEST_LABEL
        for word, each in zip(words, others, strict=True)
    )


def _is_one_edit(one: str, other: str) -> bool:
    """Whether they are equal, or a character is added, lost or another one, or two neighbours are swapped."""
    at = next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    rest, rest_of_other = one[at:], other[at:]
    return (
        rest[1:] == rest_of_other[1:]
        or rest[1:] == rest_of_other
        or rest == rest_of_other[1:]
        or (rest[:2] == rest_of_other[1::-1] and rest[2:] == rest_of_other[2:])
    )
