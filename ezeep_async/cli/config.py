"""What the commands know without being told: the environment, and the file `config.toml`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

from ezeep_async._text.cleaning import cleaned, refuse_control, variable
from ezeep_async._text.text_files import text_of
from ezeep_async.auth.stores.paths import expanded, folder_for


Setting = Literal[
    "client_id",
    "client_secret",
    "client_secret_file",
    "redirect_uri",
    "token_file",
    "token_store",
    "account_url",
    "api_url",
]
SETTINGS: tuple[Setting, ...] = Setting.__args__  # type: ignore[attr-defined]  # typeshed has no type for a Literal
PATHS = frozenset({"client_secret_file", "token_file"})
LARGEST_FILE = 1024 * 1024
"""Bytes."""
_BACKSLASHES = (
    "In double quotes TOML takes a backslash for the beginning of an escape (\\t is a tab): write a Windows path in single "
    "quotes, as in 'C:\\temp\\login.json'"
)


def config_path(environ: Mapping[str, str]) -> Path:
    """Where the file is: what `EZEEP_CONFIG` says, or where the system keeps such files."""
    given = variable(environ, "EZEEP_CONFIG", is_path=True)
    return expanded(given) if given else folder_for("config") / "config.toml"


class Configuration:
    """Settings by name: from the environment as `EZEEP_<NAME>`, else from the file. Raises `ValueError` for a bad file.

    What is in the file is not shown in messages: a secret may be.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = dict(os.environ if environ is None else environ)
        self.path = config_path(self._environ)
        self._file = _read(
            self.path, required=variable(self._environ, "EZEEP_CONFIG", is_path=True) is not None
        )

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment that was looked at."""
        return self._environ

    def get(self, name: Setting) -> str | None:
        """The value, None where nobody set one."""
        return self.in_environment(name) or self._file.get(name)

    def in_environment(self, name: Setting) -> str | None:
        """The value, if it comes from the environment. Raises `ValueError` for one that no setting can be."""
        return variable(self._environ, f"EZEEP_{name.upper()}", is_path=name in PATHS)


def _read(path: Path, *, required: bool) -> Mapping[str, str]:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE)
    except FileNotFoundError:
        if required:
            raise
        return {}
    try:
        values: dict[str, object] = tomllib.loads(text_of(text))
    except (ValueError, RecursionError) as error:
        # The parser's sentence, like that of `NotText`, has a line and nothing of the text.
        where = "too many brackets" if isinstance(error, RecursionError) else str(error)
        hint = f". {_BACKSLASHES}" if isinstance(error, tomllib.TOMLDecodeError) and b"\\" in text else ""
        raise ValueError(f"{path} cannot be read: {where}{hint}") from None
    if unknown := sorted(values.keys() - set(SETTINGS)):
        raise ValueError(f"{path} has settings that are not known: {', '.join(unknown)}")
    if wrong := sorted(name for name, value in values.items() if not isinstance(value, str)):
        raise ValueError(f"{path}: {', '.join(wrong)} must be text, in quotes")
    return {name: _cleaned(value, name, path) for name, value in cast("dict[str, str]", values).items()}


def _cleaned(value: str, name: str, path: Path) -> str:
    try:
        if name in PATHS and value.strip():
            # Before it is cleaned: the tab that "C:\t" ends with is no white space around a path.
            refuse_control(value, f"{path}: {name}")
        clean = cleaned(value, f"{path}: {name}", is_path=name in PATHS)
    except ValueError as error:
        raise ValueError(f"{error}. {_BACKSLASHES}" if name in PATHS else str(error)) from None
    # As people write them: from the file's own folder on.
    return str(expanded(clean, path.parent)) if name in PATHS and clean else clean
