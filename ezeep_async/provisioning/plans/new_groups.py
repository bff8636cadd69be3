"""What is checked of groups that are to be created: no invisible characters, and a note where a name looks like another."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from ezeep_async._wire.group_names import LookAlikes, invisible_problem, shown
from ezeep_async.models.groups import Group
from ezeep_async.provisioning.inputs.problems import InvalidInput, Problem
from ezeep_async.provisioning.plans.changes import CreateGroup


def check_new_groups(creations: Iterable[CreateGroup], groups: Iterable[Group]) -> list[str]:
    """Check the names of groups that are to be created against those that exist.

    Returns:
        A sentence for each pair of names that look the same: of a new group and an existing one, or of two new ones.

    Raises:
        InvalidInput: A new name has invisible characters. `problems` has all of these names.
    """
    wanted = list(creations)
    if not wanted:
        return []
    there: dict[UUID, LookAlikes] = {}
    for group in groups:
        there.setdefault(group.organization_id, LookAlikes()).add(group.name)
    problems: list[Problem] = []
    notes: list[str] = []
    new: dict[UUID, LookAlikes] = {}
    for creation in wanted:
        name, organization_id = creation.name, creation.organization_id
        existing = there.get(organization_id, LookAlikes()).of(name)
        before = new.setdefault(organization_id, LookAlikes())
        if (problem := invisible_problem(name)) is not None:
            hint = "".join(f"; {there_is(other, name)}" for other in existing[:1])
            problems.append(Problem("input", None, f"the new group {problem}{hint}"))
        notes += [
            f"the new group {_told(name, other)} looks the same as another: {there_is(other, name)}"
            for other in existing
        ]
        notes += [
            f"the new group {_told(name, other)} looks the same as another: the input names {_told(other, name)} too"
            for other in before.of(name)[:1]
        ]
        before.add(name)
    if problems:
        raise InvalidInput(problems)
    return notes


def there_is(other: str, name: str) -> str:
    """That there is a group of another name, told so that it can be told from `name`."""
    return f"there is a group {_told(other, name)}"


def _told(name: str, other: str) -> str:
    # Letters of two scripts that are drawn alike look the same in a message as well.
    told = shown(name)
    return f"{told} ({name!a})" if other.isascii() and not told.isascii() else told
