"""Whether a plan may still be applied to an organization that went on living (requirements 7-2, 7-5 to 7-7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from uuid import UUID

from ezeep_async.errors import StalePlan
from ezeep_async.models.groups import Group
from ezeep_async.provisioning.names import normalize_group_name
from ezeep_async.provisioning.plans.changes import ChangeMemberships, CreateGroup, DeleteGroup, TargetGroup
from ezeep_async.provisioning.plans.compare import OWN_USER
from ezeep_async.provisioning.plans.plan import Plan
from ezeep_async.provisioning.wording import some


def check_plan(plan: Plan, groups: Sequence[Group], me: UUID | None) -> dict[str, Group]:
    """What has to hold before the first write, by the numbers of now. Gives the groups that came into being meanwhile.

    Raises `StalePlan` for drift that may do harm: a group that is gone, has another name, belongs to another directory,
    or exists several times; somebody who is protected now. Raises `SafetyLimitExceeded` for too many removals. What others
    changed about the users themselves is merged, when each of them is written, and raises nothing.
    """
    by_id = {group.id: group for group in groups}
    appeared, problems = _appeared(plan, groups)
    problems += _changed(plan, by_id)
    problems += _protected(plan, me)
    problems += _deletions(plan, by_id)
    if problems:
        raise StalePlan(
            f"the organization has changed since the plan was made: {some(problems)}. Plan again",
            drift=problems,
        )
    if plan.removals:
        plan.check_limits(sum(group.num_members for group in groups if group.id in plan.groups))
    return appeared


def _targets(plan: Plan) -> Iterator[TargetGroup]:
    seen: set[TargetGroup] = set()
    for change in plan.changes:
        if isinstance(change, ChangeMemberships):
            for target in (*change.add, *change.remove):
                if target not in seen:
                    seen.add(target)
                    yield target


def _changed(plan: Plan, by_id: Mapping[UUID, Group]) -> list[str]:
    problems: list[str] = []
    for target in _targets(plan):
        if target.id is None:
            continue
        group = by_id.get(target.id)
        if group is None:
            problems.append(f"group {target.name!r} is gone")
        elif normalize_group_name(group.name) != normalize_group_name(target.name):
            problems.append(f"group {target.name!r} is named {group.name!r} now")
        elif group.origin.is_external and not plan.allow_external:
            problems.append(f"group {target.name!r} belongs to {group.origin.provider} now")
    return problems


def _appeared(plan: Plan, groups: Iterable[Group]) -> tuple[dict[str, Group], list[str]]:
    """Groups that the plan creates, or has no id for, and that exist by now: adopted, where there is one that may be."""
    wanted = {
        change.name: change.organization_id for change in plan.changes if isinstance(change, CreateGroup)
    }
    without_id = {target.name: wanted.get(target.name) for target in _targets(plan) if target.id is None}
    by_name: dict[str, list[Group]] = {}
    for group in groups:
        by_name.setdefault(normalize_group_name(group.name), []).append(group)
    found: dict[str, Group] = {}
    times = Counter(
        normalize_group_name(change.name) for change in plan.changes if isinstance(change, CreateGroup)
    )
    problems = [
        f"the plan creates {number} groups named {name!r}" for name, number in times.items() if number > 1
    ]
    for name, organization_id in {**without_id, **wanted}.items():
        candidates = [
            group
            for group in by_name.get(normalize_group_name(name), [])
            if organization_id in {None, group.organization_id}
        ]
        if len(candidates) > 1:
            problems.append(f"there are {len(candidates)} groups named {name!r} now")
        elif candidates and candidates[0].origin.is_external and not plan.allow_external:
            problems.append(f"there is a group {name!r} of {candidates[0].origin.provider} now")
        elif candidates:
            found[name] = candidates[0]
        elif name not in wanted:
            problems.append(f"there is no group {name!r}")
    return found, problems


def _protected(plan: Plan, me: UUID | None) -> list[str]:
    """Also for plans that were written or edited by hand: nobody is taken out whom the plan itself protects."""
    problems: list[str] = []
    if plan.mode == "add" and plan.removals:
        problems.append('it takes people out of groups, and its mode is "add"')
    for change in plan.changes:
        if not isinstance(change, ChangeMemberships) or not change.remove:
            continue
        reason = plan.kept_users.get(change.user_id)
        if reason is None and change.user_id == me and plan.mode != "undo":
            reason = OWN_USER
        if reason is not None:
            problems.append(f"{change.member} is protected: {reason}")
        if plan.mode != "undo" and any(group.id is None for group in change.remove):
            problems.append(f"{change.member} is taken out of a group that is named and has no id")
        problems += [
            f"group {group.name!r} is protected: {plan.kept_groups[group.id]}"
            for group in change.remove
            if group.id is not None and group.id in plan.kept_groups
        ]
    return problems


def _deletions(plan: Plan, by_id: Mapping[UUID, Group]) -> list[str]:
    """Groups are deleted to undo their creation only, and only those that still are what was created."""
    problems: list[str] = []
    for change in plan.changes:
        if not isinstance(change, DeleteGroup):
            continue
        group = by_id.get(change.id)
        if plan.mode != "undo":
            problems.append(f"it deletes group {change.name!r}, and its mode is {plan.mode!r}")
        elif change.id in plan.kept_groups:
            problems.append(f"group {change.name!r} is protected: {plan.kept_groups[change.id]}")
        elif group is None:
            continue  # it is gone already
        elif normalize_group_name(group.name) != normalize_group_name(change.name):
            problems.append(f"group {change.name!r} is named {group.name!r} now")
        elif group.origin.is_external and not plan.allow_external:
            problems.append(f"group {change.name!r} belongs to {group.origin.provider} now")
    return problems
