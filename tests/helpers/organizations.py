"""What the tests of `ezeep provision` ask a sandbox, and the files that they give the command."""

from __future__ import annotations

from pathlib import Path

from ezeep_async.sandbox import Sandbox


PATCH = "PATCH /printing/v1/users/{id}/"
ADMIN = "second.user@example.com"


def people(sandbox: Sandbox, count: int) -> list[str]:
    """Addresses of printing users who are in no group of the name "New"."""
    organization = sandbox.organization
    return [organization.people[user.id].email for user in organization.listed_users()[:count]]


def memberships(sandbox: Sandbox) -> dict[str, set[str]]:
    return {
        str(user.id): {sandbox.organization.groups[each].name for each in user.groups}
        for user in sandbox.organization.listed_users()
    }


def writes(sandbox: Sandbox) -> int:
    return sum(request.host == "api" and request.method != "GET" for request in sandbox.requests)


def write(path: Path, groups: dict[str, list[str]]) -> Path:
    rows = [f"{name},{member}" for name, members in groups.items() for member in members]
    path.write_text("\n".join(["group,member", *rows]) + "\n", "utf-8")
    return path
