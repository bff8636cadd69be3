"""What the commands know without being told: the environment, and the file `config.toml`."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

from ezeep_async.auth.stores.places import expanded, folder_for


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


def config_path(environ: Mapping[str, str]) -> Path:
    """Where the file is: what `EZEEP_CONFIG` says, or where the system keeps such files."""
    given = environ.get("EZEEP_CONFIG")
    return expanded(given) if given else folder_for("config") / "config.toml"


class Configuration:
    """Settings by name: from the environment as `EZEEP_<NAME>`, else from the file. Raises `ValueError` for a bad file.

    What is in the file is not shown in messages: a secret may be.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self.path = config_path(self._environ)
        self._file = _read(self.path, required=bool(self._environ.get("EZEEP_CONFIG")))

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment that was looked at."""
        return self._environ

    def get(self, name: Setting) -> str | None:
        """The value, None where nobody set one."""
        return self._environ.get(f"EZEEP_{name.upper()}") or self._file.get(name)

    def in_environment(self, name: Setting) -> str | None:
        """The value, if it comes from the environment."""
        return self._environ.get(f"EZEEP_{name.upper()}") or None


def _read(path: Path, *, required: bool) -> Mapping[str, str]:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE)
    except FileNotFoundError:
        if required:
            raise
        return {}
    try:
        values: dict[str, object] = tomllib.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        # The parser's sentence has a line and a column and nothing of the text; that of the decoder quotes bytes.
        where = str(error) if isinstance(error, tomllib.TOMLDecodeError) else "it is not UTF-8 text"
        raise ValueError(f"{path} cannot be read: {where}") from None
    if unknown := sorted(values.keys() - set(SETTINGS)):
        raise ValueError(f"{path} has settings that are not known: {', '.join(unknown)}")
    if wrong := sorted(name for name, value in values.items() if not isinstance(value, str)):
        raise ValueError(f"{path}: {', '.join(wrong)} must be text, in quotes")
    found = cast("dict[str, str]", values)
    # As people write them: from the file's own folder on.
    return {
        name: str(path.parent / expanded(value)) if name in PATHS and value else value
        for name, value in found.items()
    }
