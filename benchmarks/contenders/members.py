"""The memberships that provisioning writes."""

from __future__ import annotations


WRITERS = 16
GROUPS = 200
EACH = 3
"""Groups of each user."""


def desired(users: int) -> dict[str, list[str]]:
    """Names of groups to addresses of their members."""
    groups: list[list[str]] = [[] for _ in range(GROUPS)]
    for number in range(users):
        for step in range(EACH):
            groups[(number + step * 67) % GROUPS].append(f"user{number}@benchmark.example")
    return {f"Group {number:03}": members for number, members in enumerate(groups)}
