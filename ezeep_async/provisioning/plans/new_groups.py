"""Checks of groups that a plan creates: invisible characters, and names that look alike."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from ezeep_async._wire.group_names import LookAlikes, invisible_problem, shown
from ezeep_async.models.groups import Group
from ezeep_async.provisioning.inputs.problems import InvalidInput, Problem
from ezeep_async.provisioning.plans.changes import CreateGroup


def check_new_group_names(creations: Iterable[CreateGroup], groups: Iterable[Group]) -> list[str]:
    """Check the names of new groups against each other and against existing groups.

    Returns:
        One note for each new name that looks the same as an existing or another new name.

    Raises:
        InvalidInput: A new name has invisible characters. `problems` lists all of them.
    """
    new_groups = list(creations)
    if not new_groups:
        return []
    by_organization: dict[UUID, LookAlikes] = {}
    for group in groups:
        by_organization.setdefault(group.organization_id, LookAlikes()).add(group.name)
    problems: list[Problem] = []
    notes: list[str] = []
    new: dict[UUID, LookAlikes] = {}
    for creation in new_groups:
        name, organization_id = creation.name, creation.organization_id
        existing = by_organization.get(organization_id, LookAlikes()).of(name)
        before = new.setdefault(organization_id, LookAlikes())
        if (problem := invisible_problem(name)) is not None:
            hint = "".join(f"; {mention_existing(other, name)}" for other in existing[:1])
            problems.append(Problem("input", None, f"the new group {problem}{hint}"))
        notes += [
            f"the new group {_spelled(name, other)} looks the same as another: {mention_existing(other, name)}"
            for other in existing
        ]
        notes += [
            f"the new group {_spelled(name, other)} looks the same as another: the input names {_spelled(other, name)} too"
            for other in before.of(name)[:1]
        ]
        before.add(name)
    if problems:
        raise InvalidInput(problems)
    return notes


def mention_existing(other: str, name: str) -> str:
    """Mention an existing group, spelled so that it differs visibly from `name`."""
    return f"there is a group {_spelled(other, name)}"


def _spelled(name: str, other: str) -> str:
    # Letters of other scripts may look like ASCII letters in the message too: add the escapes.
    text = shown(name)
    return f"{text} ({name!a})" if other.isascii() and not text.isascii() else text
