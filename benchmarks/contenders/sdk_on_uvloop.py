"""The SDK on uvloop. Its blocking calls never run on uvloop, so they are not measured here."""

from __future__ import annotations

import uvloop
from sdk import contender
from worker import main


if __name__ == "__main__":
    main(contender, uvloop.new_event_loop)
