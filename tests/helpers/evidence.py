"""What the tests of lost logins saw, as a table: `EVIDENCE=FILE nox -s tests`, then `python tests/evidence.py FILE`."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

from ezeep_async import EzeepSession, ReauthorizationRequired
from ezeep_async.sandbox import Sandbox


async def survives(fault: str, sandbox: Sandbox, session: EzeepSession) -> bool:
    """Whether the token set works after a fault, for a call and for one more refresh. Adds a row to the evidence."""
    refreshes = sandbox.refresh_requests
    try:
        await session.accounts.me()
        await session.oauth.refresh()
        works = True
    except ReauthorizationRequired:
        works = False
    note(fault, sandbox, refreshes, lost=not works)
    return works


def note(fault: str, sandbox: Sandbox, refreshes: int, *, lost: bool) -> None:
    """How many refresh requests the server saw because of one fault, and whether a person has to log in after it.

    Both as they were measured, by a call after the fault: never as the test expects them.
    """
    if path := os.environ.get("EVIDENCE"):
        behaviour = sandbox.behaviour
        row = [fault, bool(behaviour.grace_window), behaviour.reuse_protection, refreshes, lost]
        with Path(path).open("a") as file:
            file.write(json.dumps(row) + "\n")


def main(path: str) -> None:
    """Print it in Markdown."""
    runs = Counter[tuple[str, bool, bool, int]]()
    lost = Counter[tuple[str, bool, bool, int]]()
    for line in Path(path).read_text().splitlines():
        *key, gone = json.loads(line)
        runs[tuple(key)] += 1
        lost[tuple(key)] += gone
    print("| fault | grace window | reuse protection | refresh requests | runs | logins lost |")
    print("| --- | --- | --- | --- | --- | --- |")
    for key in sorted(runs):
        fault, grace, protection, requests = key
        switches = " | ".join("on" if each else "off" for each in (grace, protection))
        print(f"| {fault} | {switches} | {requests} | {runs[key]} | {lost[key]} |")


if __name__ == "__main__":
    main(sys.argv[1])
