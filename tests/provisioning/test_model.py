"""Plans against a model, for any organization, input, rules and interference.

The model consists of sets. `compare` is tested against it with many examples, the sandbox with fewer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

import attrs
import pytest
from helpers.provisioned import state
from helpers.support import QUICK
from hypothesis import given, settings
from hypothesis import strategies as st

from ezeep_async import EzeepSession, SafetyLimitExceeded, StalePlan
from ezeep_async.models.groups import Group
from ezeep_async.provisioning import ChangeMemberships, CreateGroup, DesiredState, Plan
from ezeep_async.provisioning.plans.compare import Protection, Rules, compare
from ezeep_async.provisioning.plans.snapshot import Snapshot
from ezeep_async.sandbox import Sandbox
from ezeep_async.sandbox.state.organization import ORGANIZATION_ID


pytestmark = pytest.mark.slow


PEOPLE = 8
EXISTING = ("A", "B", "C", "D")
NAMES = (*EXISTING, "New", "Newer")

Model = dict[int, frozenset[str]]
"""The names of the groups of each user."""


@attrs.frozen
class Case:
    """The current state, the desired state and the rules. People are numbers, groups are names."""

    now: Model
    wanted: dict[str, frozenset[int]]
    mode: Literal["add", "exact"]
    protected_users: frozenset[int]
    protected_groups: frozenset[str]
    me: int
    admins: frozenset[int]

    def held_back(self, user: int, group: str) -> bool:
        return (
            group in self.protected_groups
            or user in self.protected_users
            or user == self.me
            or self.admins == {user}
        )

    def goal(self) -> Model:
        """The state after the run, as the requirements define it."""
        return {
            user: frozenset(
                group
                for group in NAMES
                if user in self.wanted.get(group, ())
                or (
                    group in groups
                    and (self.mode == "add" or group not in self.wanted or self.held_back(user, group))
                )
            )
            for user, groups in self.now.items()
        }


numbers = st.integers(0, PEOPLE - 1)
cases = st.builds(
    Case,
    now=st.lists(st.frozensets(st.sampled_from(EXISTING)), min_size=PEOPLE, max_size=PEOPLE).map(
        lambda each: dict(enumerate(each))
    ),
    wanted=st.dictionaries(st.sampled_from(NAMES), st.frozensets(numbers), max_size=len(NAMES)),
    mode=st.sampled_from(["add", "exact"]),
    protected_users=st.frozensets(numbers, max_size=2),
    protected_groups=st.frozensets(st.sampled_from(NAMES), max_size=1),
    me=numbers,
    admins=st.frozensets(numbers, max_size=2),
).filter(lambda case: case.wanted or case.mode == "add")  # exact, and nothing named, is refused


# --- the plain function --------------------------------------------------------------------------------------------


def user_id(number: int) -> UUID:
    return UUID(int=1000 + number)


def email(number: int) -> str:
    return f"person.{number}@example.com"


def group_id(name: str) -> UUID:
    return UUID(int=2000 + NAMES.index(name))


def snapshot(case: Case, now: Model, *, applied: bool = False) -> Snapshot:
    names = {*EXISTING, *(case.wanted if applied else ())}
    return Snapshot(
        tuple(Group(id=group_id(name), name=name, organization_id=ORGANIZATION_ID) for name in sorted(names)),
        {user_id(user): frozenset(map(group_id, groups)) for user, groups in now.items()},
        {user_id(user): email(user) for user in now},
        frozenset(map(user_id, case.admins)),
        user_id(case.me),
    )


def rules(case: Case) -> Rules:
    return Rules(
        mode=case.mode,
        max_removals=10**6,
        protect_users=Protection.of(map(email, case.protected_users), "protect_users"),
        protect_groups=Protection.of(case.protected_groups, "protect_groups"),
    )


def desired(case: Case, spelling: Mapping[int, str | UUID]) -> DesiredState:
    return DesiredState.from_mapping(
        {name: [spelling[user] for user in sorted(users)] for name, users in case.wanted.items()}
    )


def simulated(plan: Plan, now: Model, numbers_of: Mapping[UUID, int]) -> Model:
    """The model after the plan."""
    after = dict(now)
    for change in plan.changes:
        if isinstance(change, ChangeMemberships) and numbers_of[change.user_id] in after:
            user = numbers_of[change.user_id]
            add = {group.name for group in change.add}
            after[user] = (after[user] | add) - {group.name for group in change.remove}
    return after


@pytest.mark.slow
@pytest.mark.timeout(120)
@given(cases, st.data())
@settings(max_examples=settings().max_examples * 3)
def test_7_1_the_plan_is_the_difference(case: Case, data: st.DataObject) -> None:
    """7-1, 7-4, 7-7, 7-10: the plan reaches the goal and is minimal, and the second plan is empty."""
    spelling = {
        user: data.draw(st.sampled_from([email(user), user_id(user)]), label=str(user))
        for user in range(PEOPLE)
    }
    wish = desired(case, spelling)
    plan = compare(wish, snapshot(case, case.now), rules(case))
    numbers_of = {user_id(user): user for user in range(PEOPLE)}
    after = simulated(plan, case.now, numbers_of)
    assert after == case.goal()

    # Minimal: one change for each user, no change without effect.
    changes = [change for change in plan.changes if isinstance(change, ChangeMemberships)]
    assert len({change.user_id for change in changes}) == len(changes)
    for change in changes:
        groups = case.now[numbers_of[change.user_id]]
        assert change.before == frozenset(map(group_id, groups))
        assert change.add or change.remove
        assert not groups & {group.name for group in change.add}
        assert groups >= {group.name for group in change.remove}
        assert all((group.id is None) == (group.name not in EXISTING) for group in change.add)
    assert plan.additions + plan.removals == sum(
        len(case.now[user] ^ groups) for user, groups in after.items()
    )
    created = [change.name for change in plan.changes if isinstance(change, CreateGroup)]
    assert sorted(created) == sorted(set(case.wanted) - set(EXISTING))
    if case.mode == "add":
        assert (plan.removals, plan.held_back) == (0, ())

    # Only removals are held back.
    assert {(held.member, held.group) for held in plan.held_back} == {
        (email(user), group)
        for user, groups in case.now.items()
        for group in groups & case.wanted.keys()
        if case.mode == "exact" and user not in case.wanted[group] and case.held_back(user, group)
    }
    # No removal of the plan contradicts its own protection.
    for change in changes:
        if change.remove:
            assert change.user_id not in plan.kept_users
        assert not {group.id for group in change.remove} & plan.kept_groups.keys()

    assert compare(wish, snapshot(case, after, applied=True), rules(case)).is_empty
    assert Plan.from_json(plan.to_json()) == plan


# --- the sandbox ---------------------------------------------------------------------------------------------------


Interference = tuple[Any, ...]
interferences: st.SearchStrategy[list[Interference]] = st.lists(
    st.one_of(
        st.tuples(st.just("join"), numbers, st.sampled_from(EXISTING)),
        st.tuples(st.just("leave"), numbers, st.sampled_from(EXISTING)),
        st.tuples(st.just("create"), st.sampled_from(NAMES)),
        st.tuples(st.just("delete"), st.sampled_from(EXISTING)),
        st.tuples(st.just("rename"), st.sampled_from(EXISTING)),
        st.tuples(st.just("hand over"), st.sampled_from(EXISTING)),
        st.tuples(st.just("dismiss"), numbers),
    ),
    max_size=3,
)
GONE = {"delete", "rename", "hand over"}


class World:
    """The case in a sandbox."""

    def __init__(self, sandbox: Sandbox, case: Case) -> None:
        self.organization = organization = sandbox.organization
        self.case = case
        for name in EXISTING:
            organization.add_group(name, group_id=group_id(name))
        for user, groups in case.now.items():
            roles = ("admin",) if user in {case.me, *case.admins} else ("user",)
            organization.add_user(
                user_id=user_id(user),
                groups=[group_id(name) for name in sorted(groups)],
                email=email(user),
                roles=roles,
            )
        # The admin that every sandbox has is an ordinary user here.
        organization.people[organization.admin_id].roles = ("user",)

    def interfere(self, what: str, *about: Any) -> None:
        organization = self.organization
        if what == "create":
            organization.add_group(about[0])
        elif what == "dismiss":
            if user_id(about[0]) in organization.users and about[0] != self.case.me:
                organization.remove_user(user_id(about[0]))
        elif what in {"join", "leave"}:
            user = organization.users.get(user_id(about[0]))
            if user is not None and group_id(about[1]) in organization.groups:
                (user.groups.add if what == "join" else user.groups.discard)(group_id(about[1]))
        elif (group := organization.groups.get(group_id(about[0]))) is not None:
            if what == "delete":
                organization.remove_group(group.id)
            elif what == "rename":
                group.name = "Renamed " + about[0]
            else:
                group.origin = {"provider": "Azure"}

    def is_harmful(self, plan: Plan) -> bool:
        """Whether the plan is stale, as 7-2 defines it."""
        groups = self.organization.groups
        for change in plan.changes:
            if isinstance(change, CreateGroup):
                found = [group for group in groups.values() if group.name == change.name]
                if len(found) > 1:
                    return True
            if isinstance(change, ChangeMemberships):
                for target in (*change.add, *change.remove):
                    if target.id is None:
                        continue
                    group = groups.get(target.id)
                    if group is None or group.name != target.name or group.origin["provider"] == "Azure":
                        return True
        return False

    def predicted(self, plan: Plan) -> dict[UUID, frozenset[str]]:
        """The expected groups of each user after the run, by name."""
        after = self.by_name()
        for change in plan.changes:
            if isinstance(change, ChangeMemberships) and change.user_id in after:
                add = {group.name for group in change.add}
                remove = {group.name for group in change.remove}
                after[change.user_id] = (after[change.user_id] | add) - remove
        return after

    def by_name(self) -> dict[UUID, frozenset[str]]:
        groups = self.organization.groups
        return {
            user.id: frozenset(groups[each].name for each in user.groups)
            for user in self.organization.listed_users()
        }


@pytest.mark.timeout(120)
@given(case=cases, interference=interferences, share=st.sampled_from([0.1, 0.5, 100]))
@settings(max_examples=max(1, settings().max_examples // 3))
def test_7_1_the_sandbox_ends_where_the_model_says(
    case: Case, interference: list[Interference], share: float
) -> None:
    """7-1, 7-2, 7-4: over a socket, with changes of others between plan and apply."""
    case = attrs.evolve(case, admins=case.admins | {case.me})

    async def run() -> None:
        async with Sandbox(users=0, groups=0) as sandbox:
            world = World(sandbox, case)
            tokens = sandbox.tokens(user_id(case.me))
            async with EzeepSession(
                sandbox.oauth_app, tokens=tokens, endpoints=sandbox.endpoints, settings=QUICK
            ) as session:
                wish = desired(case, {user: email(user) for user in range(PEOPLE)})
                plan = await session.provisioning.plan(
                    wish,
                    mode=case.mode,
                    max_removals=share,
                    protect_users=[email(user) for user in case.protected_users],
                    protect_groups=case.protected_groups,
                )
                expected = compare(wish, snapshot(case, case.now), rules(case))
                assert [(type(c), c.subject) for c in plan.changes] == [
                    (type(c), c.subject) for c in expected.changes
                ]
                for each in interference:
                    world.interfere(*each)
                before = state(sandbox)
                after = world.predicted(plan)
                try:
                    report = await session.provisioning.apply(plan)
                except StalePlan:
                    assert world.is_harmful(plan)
                    assert state(sandbox) == before
                    return
                except SafetyLimitExceeded:
                    assert plan.removals > 5
                    assert state(sandbox) == before
                    return
                assert not world.is_harmful(plan)
                assert world.by_name() == after
                dismissed = {UUID(int=1000 + each[1]) for each in interference if each[0] == "dismiss"}
                for row in report.rows:
                    if not row.ok or row.outcome == "already_absent":
                        assert isinstance(row.change, ChangeMemberships)
                        assert row.change.user_id in dismissed
                if not interference and not plan.is_empty:
                    again = await session.provisioning.plan(
                        wish,
                        mode=case.mode,
                        protect_users=[email(user) for user in case.protected_users],
                        protect_groups=case.protected_groups,
                    )
                    assert again.is_empty
                    assert {user: world.by_name()[user_id(user)] for user in case.now} == case.goal()

    asyncio.run(run())
