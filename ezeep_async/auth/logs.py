"""Log lines that name their token set: a process may use many."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any, TypeAlias

from ezeep_async.auth.tokens import TokenStore


Log: TypeAlias = "logging.Logger | logging.LoggerAdapter[logging.Logger]"

logger = logging.getLogger("ezeep_async.auth")


class _OfTokenSet(logging.LoggerAdapter[logging.Logger]):
    def __init__(self, name: str) -> None:
        super().__init__(logger, None)
        self._name = name

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        # Messages without a placeholder have no arguments, so logging does not format them.
        name = self._name.replace("%", "%%") if "%" in msg else self._name
        return f"{msg} ({name})", kwargs


def log_of(client_id: str, store: TokenStore) -> Log:
    """The log of one session: each line ends with the client id and the token store."""
    # Of stores from outside this package only the class: their repr may contain secrets.
    is_ours = type(store).__module__.startswith("ezeep_async.")
    return _OfTokenSet(f"client {client_id!r}, {repr(store) if is_ours else type(store).__name__}")
