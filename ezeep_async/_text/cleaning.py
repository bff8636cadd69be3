"""Cleans settings that people type: environment variables, files, options and arguments.

White space around a value is removed, and quotes around all of it, which `docker --env-file` and some secret stores keep.
Control characters inside a value are refused. Messages contain the name of the setting and never its value, which may be
a secret.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from types import GeneratorType
from typing import cast


_BEARER = "bearer "


def cleaned(value: str, name: str, *, is_path: bool = False) -> str:
    """Return the value without surrounding white space and quotes. Raises `ValueError` that names `name`.

    `is_path` allows bytes that are not UTF-8 (surrogates in Python) and invisible characters, as in file names.
    """
    value = value.removeprefix("\ufeff").strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1].strip()
    refuse_control(value, name)
    for position, character in enumerate("" if is_path else value, 1):
        if (category := unicodedata.category(character)) == "Cs":
            raise ValueError(f"{name} is not UTF-8 text: write it in UTF-8")
        if category == "Cf":  # often copied from web pages
            raise ValueError(
                f"{name} has an invisible character (U+{ord(character):04X}, at {position}): remove it"
            )
    return value


def refuse_control(value: str, name: str) -> None:
    """Raise `ValueError` for control characters and Unicode line separators."""
    for position, character in enumerate(value, 1):
        if unicodedata.category(character) in {"Cc", "Zl", "Zp"}:
            raise ValueError(f"{name} has a control character ({character!r}, at {position}): remove it")


def cleaned_path(path: str | os.PathLike[str], name: str) -> Path:
    """Return a path, cleaned if it is a str. A `Path` keeps its white space. Raises `TypeError` and `ValueError`."""
    if not isinstance(path, (str, os.PathLike)) or not isinstance(text := os.fspath(path), str):
        raise TypeError(f"{name} must be a str or a pathlib.Path, not {type(path).__name__}")
    clean = cleaned(text, name, is_path=True)
    if not clean:
        raise ValueError(f"{name} needs a name: the path is empty")
    if isinstance(path, str):
        return Path(clean)
    refuse_control(text, name)
    return Path(path)


def cleaned_token(value: str, name: str) -> str:
    """Return a token without the prefix `Bearer` of a copied header. Raises `ValueError`."""
    value = cleaned(value, name)
    if value[: len(_BEARER)].casefold() == _BEARER:
        value = cleaned(value[len(_BEARER) :], name)
    if any(character.isspace() for character in value) or value.casefold() == _BEARER.strip():
        raise ValueError(f"{name} is not a token: it contains white space. Give the token alone")
    return value


def variable(environ: Mapping[str, str], name: str, *, is_path: bool = False) -> str | None:
    """Return the value of an environment variable, None if it is not set or empty. Raises `ValueError`."""
    value = environ.get(name)
    return (cleaned(value, name, is_path=is_path) or None) if value else None


def checked_seconds(value: float, name: str) -> float:
    """Return a number of seconds, at least 0. Raises `TypeError` if it is not a number, `ValueError` if it is negative."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not value >= 0:
        raise ValueError(f"{name} must be a number of seconds from 0 up, not {value!r}")
    return value


def is_used_up(values: object) -> bool:
    """Whether this is a generator that was read to its end. It would look like an empty list, which removes everything."""
    return isinstance(values, GeneratorType) and cast("GeneratorType[object]", values).gi_frame is None


def check_unread(values: object, name: str) -> None:
    """Raise `ValueError` for a generator that was read before."""
    if is_used_up(values):
        raise ValueError(f"{name} is a generator that was read before, and is empty now: pass a list")


def check_kind(value: object, kind: type, name: str, advice: str) -> None:
    """Raise `TypeError` with advice for an argument of another class. The message does not contain the value."""
    if not isinstance(value, kind):
        found = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise TypeError(f"{name} must be an instance of {kind.__name__}, not {found}: {advice}")
