"""What the tests of the print commands share."""

from __future__ import annotations

import pytest

from ezeep_async.cli import signals
from ezeep_async.cli.printing import documents
from ezeep_async.sandbox import Sandbox


LASER = "Front desk laser"
QUEUE = "Pull queue"
LABEL = "Warehouse label"


@pytest.fixture(autouse=True)
def _quick(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs end at their first status, unless a test says otherwise."""
    sandbox.behaviour.job_seconds = 0
    monkeypatch.setattr(documents, "INTERVAL_S", 0.01)
    monkeypatch.setattr(signals, "_ending", signals.Ending())
