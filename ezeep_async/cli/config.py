"""Settings of the commands from the environment and from `config.toml`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from ezeep_async._text.cleaning import cleaned, refuse_control, variable
from ezeep_async._text.text_files import text_of
from ezeep_async.auth.stores.paths import expanded, folder_for


PATHS = frozenset({"client_secret_file", "token_file"})
SETTINGS = PATHS | {"client_id", "client_secret", "redirect_uri", "token_store", "account_url", "api_url"}
LARGEST_FILE = 1024 * 1024
"""Bytes that are read of a file."""
_BACKSLASHES = (
    "In double quotes TOML takes a backslash for the beginning of an escape (\\t is a tab): write a Windows path in single "
    "quotes, as in 'C:\\temp\\login.json'"
)


class Configuration:
    """Settings by name: from the environment as `EZEEP_<NAME>`, else from the file. Raises `ValueError` for a bad file.

    Messages do not show values from the file: they may be secrets. The configuration sources of cyclopts do, and they
    do not report which source a value has.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.environ = dict(os.environ if environ is None else environ)
        given = variable(self.environ, "EZEEP_CONFIG", is_path=True)
        self.path = expanded(given) if given else folder_for("config") / "config.toml"
        self._file = _read(self.path, required=given is not None)

    def get(self, name: str) -> str | None:
        """Return the value, None if it is not set."""
        return self.in_environment(name) or self._file.get(name)

    def in_environment(self, name: str) -> str | None:
        """Return the value of the environment variable, None if it is not set or empty. Raises `ValueError`."""
        return variable(self.environ, f"EZEEP_{name.upper()}", is_path=name in PATHS)


def _read(path: Path, *, required: bool) -> Mapping[str, str]:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE)
    except FileNotFoundError:
        if required:
            raise
        return {}
    try:
        values: dict[str, object] = tomllib.loads(text_of(content))
    except (ValueError, RecursionError) as error:
        # The parser's message, like that of `NotText`, contains a line number and nothing of the text.
        problem = "too many brackets" if isinstance(error, RecursionError) else str(error)
        hint = f". {_BACKSLASHES}" if isinstance(error, tomllib.TOMLDecodeError) and b"\\" in content else ""
        raise ValueError(f"{path} cannot be read: {problem}{hint}") from None
    if unknown := sorted(values.keys() - SETTINGS):
        raise ValueError(f"{path} has settings that are not known: {', '.join(unknown)}")
    if wrong := sorted(name for name, value in values.items() if not isinstance(value, str)):
        raise ValueError(f"{path}: {', '.join(wrong)} must be text, in quotes")
    return {name: _cleaned(value, name, path) for name, value in cast("dict[str, str]", values).items()}


def _cleaned(value: str, name: str, path: Path) -> str:
    if name not in PATHS:
        return cleaned(value, f"{path}: {name}")
    try:
        if value.strip():
            # Before it is cleaned: the tab at the end of "C:\t" is not white space around a path.
            refuse_control(value, f"{path}: {name}")
        clean = cleaned(value, f"{path}: {name}", is_path=True)
    except ValueError as error:
        raise ValueError(f"{error}. {_BACKSLASHES}") from None
    return str(expanded(clean, path.parent)) if clean else ""
