"""Settings as people give them: in the environment, in a file, as an option, or in code. All are cleaned here.

White space around a value does not count, and neither do quotes around all of it, which `docker --env-file` and some
secret stores keep. A control character inside a value is a mistake, and is refused with the name of the setting. The
value itself is never shown: it may be a secret.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path


_QUOTES = ('"', "'")
_BEARER = "bearer "


def cleaned(value: str, name: str, *, is_path: bool = False) -> str:
    """The value as it is meant. Raises `ValueError` that names the setting and not its value.

    Args:
        value: What was given.
        name: What to call it in the message: a variable, an option or a field.
        is_path: Paths may hold bytes that are not UTF-8, which Python represents by surrogates.
    """
    value = value.removeprefix("\ufeff").strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in _QUOTES:
        value = value[1:-1].strip()
    refuse_control(value, name)
    if is_path:
        return value
    for position, character in enumerate(value, 1):
        if (category := unicodedata.category(character)) == "Cs":
            raise ValueError(f"{name} is not UTF-8 text: write it in UTF-8")
        if category == "Cf":  # as web pages have them around what is copied
            raise ValueError(
                f"{name} has an invisible character (U+{ord(character):04X}, at {position}): remove it"
            )
    return value


def refuse_control(value: str, name: str) -> None:
    """Raise `ValueError` for control characters, and for the line ends of Unicode."""
    for position, character in enumerate(value, 1):
        if unicodedata.category(character) in {"Cc", "Zl", "Zp"}:
            raise ValueError(f"{name} has a control character ({character!r}, at {position}): remove it")


def cleaned_path(path: str | os.PathLike[str], name: str) -> Path:
    """A path as it is meant. Raises `TypeError` for what is no path, and `ValueError`.

    A `Path` keeps its white space: it comes from a program.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(text := os.fspath(path), str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise TypeError(f"{name} is a path, a str or a pathlib.Path, not {type(path).__name__}")
    clean = cleaned(text, name, is_path=True)
    if not clean:
        raise ValueError(f"{name} needs a name: the path is empty")
    if isinstance(path, str):
        return Path(clean)
    refuse_control(text, name)
    return Path(path)


def cleaned_token(value: str, name: str) -> str:
    """A token as it is meant: `Bearer x`, copied out of a header, is `x`. Raises `ValueError`."""
    value = cleaned(value, name)
    if value[: len(_BEARER)].casefold() == _BEARER:
        value = cleaned(value[len(_BEARER) :], name)
    if any(character.isspace() for character in value) or value.casefold() == _BEARER.strip():
        raise ValueError(f"{name} is not a token: it has white space in it. Give the token alone")
    return value


def variable(environ: Mapping[str, str], name: str, *, is_path: bool = False) -> str | None:
    """The value of an environment variable, None where it is not set or empty. Raises `ValueError`."""
    value = environ.get(name)
    return (cleaned(value, name, is_path=is_path) or None) if value else None


def checked_seconds(value: float, name: str) -> float:
    """A number of seconds from 0 up. Raises `TypeError` for what is no number, `ValueError` for one below."""
    if not isinstance(value, int | float) or isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers without a type checker
        raise TypeError(f"{name} is a number of seconds, not {type(value).__name__}")
    if not value >= 0:
        raise ValueError(f"{name} is a number of seconds from 0 up, not {value!r}")
    return value


def check_kind(value: object, kind: type, name: str, advice: str) -> None:
    """Raise `TypeError` for an argument of another class, with what to give instead. The value is not shown."""
    if not isinstance(value, kind):
        found = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise TypeError(f"{name} is of the class {kind.__name__}, and not {found}: {advice}")
