"""What the tests of logins share."""

from __future__ import annotations

import pytest
from helpers.support import Clock

from ezeep_async.auth import keep_alive


PAUSES = {"LONGEST_SLEEP_S": 0.01, "SHORTEST_SLEEP_S": 0.005, "FIRST_PAUSE_S": 0.005, "LONGEST_PAUSE_S": 0.02}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """All pauses are short: what is to be seen are the steps, and time is the clock's that jumps."""
    for name, seconds in PAUSES.items():
        monkeypatch.setattr(keep_alive, name, seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()
