"""The session that the commands use: made from the environment."""

from __future__ import annotations

import os

from ezeep_async.session import EzeepSession


NEEDED = ("EZEEP_CLIENT_ID", "EZEEP_TOKEN_FILE")
"""Without these there is no login to use; the other variables have defaults."""


def session_from_env() -> EzeepSession:
    """A session for the login that the environment names. Raises `ValueError` when it names none."""
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ValueError(
            f"{' and '.join(missing)} {verb} not set: they say whose login to use "
            "(`ezeep sandbox --token-file FILE` prints a set to try)"
        )
    return EzeepSession.from_env()
