"""What the tests of lost logins saw, as a table: `EVIDENCE=FILE nox -s tests`, then `python tests/evidence.py FILE`."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

from ezeep_async.sandbox import Sandbox


def note(fault: str, sandbox: Sandbox, *, lost: bool) -> None:
    """One refresh under one fault: how many refresh requests the server saw, and whether a person has to log in."""
    if path := os.environ.get("EVIDENCE"):
        behaviour = sandbox.behaviour
        row = [
            fault,
            bool(behaviour.grace_window),
            behaviour.reuse_protection,
            sandbox.refresh_requests,
            lost,
        ]
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
