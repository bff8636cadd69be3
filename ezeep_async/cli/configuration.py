"""The configuration file with its profiles, and the environment."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from ezeep_async._text.cleaning import cleaned, refuse_control, variable
from ezeep_async._text.text_files import text_of
from ezeep_async.auth.stores.paths import expanded, folder_for


PATHS = frozenset({"client_secret_file", "token_file"})
URLS = ("account_url", "api_url", "print_url")
SETTINGS = PATHS | {"client_id", "client_secret", "redirect_uri", "scope", "token_store", *URLS}
SECRETS = frozenset({"client_secret", "client_secret_file"})
LARGEST_FILE = 1024 * 1024
"""Bytes that are read of a file."""
_PROFILE_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII | re.IGNORECASE)
_BACKSLASHES = (
    "In double quotes TOML takes a backslash for the beginning of an escape (\\t is a tab): write a Windows path in single "
    "quotes, as in 'C:\\temp\\login.json'"
)


_Settings = Mapping[str, str]


class Configuration:
    """Settings by name: from the environment as `EZEEP_<NAME>`, else from the profile, else from the top level of the file.

    Raises `ValueError` for a bad file and for an unknown profile. Messages do not show values from the file: they may be
    secrets. The configuration sources of cyclopts do, and they do not report which source a value has.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, *, profile: str | None = None) -> None:
        self.environ = dict(os.environ if environ is None else environ)
        given = variable(self.environ, "EZEEP_CONFIG", is_path=True)
        self.path = expanded(given) if given else folder_for("config") / "config.toml"
        self._file, self.profiles = _read(self.path, required=given is not None)
        chosen = variable(self.environ, "EZEEP_PROFILE") if profile is None else cleaned(profile, "--profile")
        self.profile = chosen or ""
        """The name of the profile; empty for none."""
        if self.profile:
            self._file = self._file_of(self.profile)

    def _file_of(self, profile: str) -> Mapping[str, str]:
        """The settings of a profile, and those of the top level that it takes over."""
        known = self.profiles.get(profile)
        if known is None:
            names = ", ".join(sorted(self.profiles))
            known_ones = f"--profile takes {names}" if names else "there are no profiles"
            raise ValueError(f"no profile is named {profile!r} in {self.path}: {known_ones}")
        own = {"token_file"}  # a login belongs to one profile, and a secret to one client
        if known.keys() & {"client_id", *SECRETS}:
            own |= SECRETS
        return {**{name: value for name, value in self._file.items() if name not in own}, **known}

    def overridden(self) -> list[str]:
        """Variables of the environment that are used instead of a setting of the profile."""
        names = sorted({"token_file", *self.profiles.get(self.profile, ())})
        found = [f"EZEEP_{name.upper()}" for name in names if self.in_environment(name)]
        token = variable(self.environ, "EZEEP_ACCESS_TOKEN")
        return [*found, "EZEEP_ACCESS_TOKEN"] if token and "EZEEP_TOKEN_FILE" not in found else found

    def get(self, name: str) -> str | None:
        """Return the value, None if it is not set."""
        return self.in_environment(name) or self._file.get(name)

    def in_environment(self, name: str) -> str | None:
        """Return the value of the environment variable, None if it is not set or empty. Raises `ValueError`."""
        return variable(self.environ, f"EZEEP_{name.upper()}", is_path=name in PATHS)


def _read(path: Path, *, required: bool) -> tuple[_Settings, Mapping[str, _Settings]]:
    """Read the top level of the file, and its profiles."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE)
    except FileNotFoundError:
        if required:
            raise
        return {}, {}
    try:
        values: dict[str, object] = tomllib.loads(text_of(content))
    except (ValueError, RecursionError) as error:
        # The parser's message, like that of `NotText`, contains a line number and nothing of the text.
        problem = "too many brackets" if isinstance(error, RecursionError) else str(error)
        hint = f". {_BACKSLASHES}" if isinstance(error, tomllib.TOMLDecodeError) and b"\\" in content else ""
        raise ValueError(f"{path} cannot be read: {problem}{hint}") from None
    tables = values.pop("profiles", {})
    if not isinstance(tables, dict):
        raise ValueError(f"{path}: profiles must be tables, such as [profiles.sales]")
    profiles: dict[str, _Settings] = {}
    for name, table in cast("dict[str, object]", tables).items():
        if not _PROFILE_NAME.fullmatch(name) or name.lower() in map(str.lower, profiles):
            raise ValueError(
                f"{path}: {name!r} cannot be the name of a profile: use letters, digits, '.', '_' and '-', and no name "
                "twice, also not in capitals"
            )
        if not isinstance(table, dict):
            raise ValueError(f"{path}: profiles.{name} must be a table: [profiles.{name}]")
        profiles[name] = _checked(cast("dict[str, object]", table), path, f"profiles.{name}.")
    return _checked(values, path), profiles


def _checked(values: Mapping[str, object], path: Path, prefix: str = "") -> _Settings:
    if unknown := sorted(prefix + name for name in values.keys() - SETTINGS):
        raise ValueError(f"{path} has settings that are not known: {', '.join(unknown)}")
    if wrong := sorted(prefix + name for name, value in values.items() if not isinstance(value, str)):
        raise ValueError(f"{path}: {', '.join(wrong)} must be text, in quotes")
    return {name: _cleaned(value, name, path) for name, value in cast("_Settings", values).items()}


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
