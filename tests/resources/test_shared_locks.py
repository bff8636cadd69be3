"""Writers in several sessions, threads and processes change the same users and names, and no change is lost."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from helpers.support import QUICK, put, until
from helpers.writing_process import both, store_at, writer

from ezeep_async import (
    ConcurrentModification,
    EzeepSession,
    FileTokenStore,
    MemoryTokenStore,
    SessionClosed,
    Settings,
    TokenStore,
    run_sync,
)
from ezeep_async import _exclusive as exclusive
from ezeep_async.auth.stores import file_locks
from ezeep_async.sandbox import Sandbox


READ = "GET /printing/v1/users/{id}/"
PATCH = "PATCH /printing/v1/users/{id}/"
CREATE = "POST /printing/v1/groups/"

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def redis_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from helpers.redis_servers import Server

    server = Server(tmp_path_factory.mktemp("redis"))
    yield server.address
    server.close()


@pytest.fixture(params=["file", *(pytest.param(each, marks=pytest.mark.slow) for each in ("redis", "sql"))])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sql":
        from helpers.sql_databases import prepared

        return prepared(request.getfixturevalue("postgres").database).url
    return (
        str(tmp_path / "login.json") if request.param == "file" else request.getfixturevalue("redis_address")
    )


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(users=12, groups=2) as server:
        for user in server.organization.listed_users():
            user.groups.clear()
        yield server


def session_on(sandbox: Sandbox, store: TokenStore, settings: Settings = QUICK) -> EzeepSession:
    return EzeepSession(sandbox.oauth_app, store, endpoints=sandbox.endpoints, settings=settings)


def new_groups(sandbox: Sandbox, number: int) -> list[UUID]:
    return [sandbox.organization.add_group(f"New {place}").id for place in range(number)]


def users_of(sandbox: Sandbox) -> list[UUID]:
    return [user.id for user in sandbox.organization.listed_users()]


def memberships(sandbox: Sandbox) -> int:
    return sum(len(user.groups) for user in sandbox.organization.listed_users())


async def begin(sandbox: Sandbox, where: str) -> None:
    await put(store_at(where), sandbox.tokens())


# --- nothing is lost


@pytest.mark.slow
async def test_processes_lose_no_membership(sandbox: Sandbox, where: str) -> None:
    await begin(sandbox, where)
    users, groups = users_of(sandbox)[:5], new_groups(sandbox, 80)
    rows = [(users[place % 5], group) for place, group in enumerate(groups)]
    async with both(
        writer(sandbox, where, do="add", rows=rows[:40]), writer(sandbox, where, do="add", rows=rows[40:])
    ) as (one, two):
        one.go()
        two.go()
        assert await one.outcome() == await two.outcome() == ["done"] * 40
    assert memberships(sandbox) == 80


@pytest.mark.slow
async def test_processes_lose_no_assignment(sandbox: Sandbox, where: str) -> None:
    """The groups of a printer, on a server whose PUT replaces them."""
    await begin(sandbox, where)
    printers, groups = (
        [sandbox.printing.add_printer(f"P{number}") for number in range(3)],
        new_groups(sandbox, 48),
    )
    rows = [(printers[place % 3].id, group) for place, group in enumerate(groups)]
    async with both(
        writer(sandbox, where, do="assign", rows=rows[:24]),
        writer(sandbox, where, do="assign", rows=rows[24:]),
    ) as (one, two):
        one.go()
        two.go()
        assert await one.outcome() == await two.outcome() == ["done"] * 24
    assert sum(len(printer.groups) for printer in printers) == 48


@pytest.mark.slow
async def test_processes_create_each_group_once(sandbox: Sandbox, where: str) -> None:
    await begin(sandbox, where)
    names = [f"Team {number}" for number in range(6)]
    people = [person.email for person in sandbox.organization.listed_people()]
    organization = sandbox.organization.organization_id
    async with both(
        writer(sandbox, where, do="ensure", rows=[(name, organization) for name in names]),
        writer(sandbox, where, do="provision", desired=dict.fromkeys(names, people[:4])),
    ) as (one, two):
        one.go()
        two.go()
        assert await one.outcome() == ["done"] * 6
        assert {*await two.outcome()} <= {"created", "adopted", "updated"}
    made = [group for group in sandbox.organization.groups.values() if group.name in names]
    assert len(made) == 6
    assert {len(sandbox.organization.members(group.id)) for group in made} == {4}


@pytest.mark.parametrize("same_store", [True, False])
async def test_sessions_of_one_process_lose_no_membership(sandbox: Sandbox, same_store: bool) -> None:
    """With stores that lend no locks."""
    groups, user = new_groups(sandbox, 80), users_of(sandbox)[0]
    store = MemoryTokenStore(sandbox.tokens())
    other = store if same_store else MemoryTokenStore(sandbox.tokens())
    async with session_on(sandbox, store) as one, session_on(sandbox, other) as two:
        calls = [
            (one if place % 2 else two).users.add_to_groups(user, group) for place, group in enumerate(groups)
        ]
        await asyncio.gather(*calls)
    assert memberships(sandbox) == 80
    assert len(exclusive.queues) == 0


async def test_event_loops_of_one_process_lose_no_membership(sandbox: Sandbox) -> None:
    """An application, a blocking session and a thread with its own event loop, in one process."""
    groups, user = new_groups(sandbox, 60), users_of(sandbox)[0]
    here, blocking, there = (MemoryTokenStore(sandbox.tokens()) for _ in range(3))

    async def write(store: TokenStore, some: list[UUID]) -> None:
        async with session_on(sandbox, store) as session:
            await asyncio.gather(*[session.users.add_to_groups(user, group) for group in some])

    def block() -> None:
        with run_sync(session_on(sandbox, blocking)) as session:
            for group in groups[20:40]:
                session.users.add_to_groups(user, group)

    await asyncio.gather(
        write(here, groups[:20]),
        asyncio.to_thread(block),
        asyncio.to_thread(lambda: asyncio.run(write(there, groups[40:]))),
    )
    assert memberships(sandbox) == 60


async def test_setting_and_removing_wait_for_each_other_too(sandbox: Sandbox) -> None:
    """A set that replaces all groups comes before the read of an addition, or after its write."""
    user, (first, second) = users_of(sandbox)[0], new_groups(sandbox, 2)
    stores = [MemoryTokenStore(sandbox.tokens()) for _ in range(2)]
    async with session_on(sandbox, stores[0]) as one, session_on(sandbox, stores[1]) as two:
        hold = sandbox.faults.hold(READ, after=True, times=1)
        adding = asyncio.create_task(one.users.add_to_groups(user, first))
        await hold.arrived()
        setting = asyncio.create_task(two.users.set_groups(user, [second]))
        await until(lambda: len(exclusive.queues) == 1)
        hold.release()
        await asyncio.gather(adding, setting)
        assert sandbox.organization.users[user].groups == {second}
        await asyncio.gather(one.users.remove_from_groups(user, second), two.users.add_to_groups(user, first))
    assert sandbox.organization.users[user].groups == {first}


# --- holders that die, stop, or keep the lock


@pytest.mark.slow
async def test_a_killed_holder_blocks_no_other_process(sandbox: Sandbox, where: str) -> None:
    await begin(sandbox, where)
    user, (first, second) = users_of(sandbox)[0], new_groups(sandbox, 2)
    hold = sandbox.faults.hold(READ, after=True, times=1)
    async with writer(sandbox, where, do="add", rows=[(user, first)], lease=0.6) as other:
        other.go()
        await hold.arrived()
        async with session_on(sandbox, store_at(where)) as session:
            adding = asyncio.create_task(session.users.add_to_groups(user, second))
            await asyncio.wait({adding}, timeout=0.2)
            assert not adding.done()
            other.process.kill()
            assert (await adding).group_ids == {second}


@pytest.mark.slow
async def test_a_holder_that_stops_beyond_its_lease_before_its_write_reads_again(
    sandbox: Sandbox, redis_address: str
) -> None:
    await begin(sandbox, redis_address)
    user, (first, second) = users_of(sandbox)[0], new_groups(sandbox, 2)
    hold = sandbox.faults.hold(READ, after=True, times=1)
    async with writer(sandbox, redis_address, do="add", rows=[(user, first)], lease=0.6) as other:
        other.go()
        await hold.arrived()
        other.process.send_signal(signal.SIGSTOP)
        async with session_on(sandbox, store_at(redis_address)) as session:
            await session.users.add_to_groups(user, second)
        hold.release()
        other.process.send_signal(signal.SIGCONT)
        assert await other.outcome() == ["done"]
    assert sandbox.organization.users[user].groups == {first, second}


@pytest.mark.slow
async def test_a_holder_that_stops_beyond_its_lease_in_its_write_says_so(
    sandbox: Sandbox, redis_address: str
) -> None:
    """Its request is in flight and overwrites concurrent writes: only this process can report it."""
    await begin(sandbox, redis_address)
    user, (first, second) = users_of(sandbox)[0], new_groups(sandbox, 2)
    hold = sandbox.faults.hold(PATCH, times=1)
    async with writer(sandbox, redis_address, do="add", rows=[(user, first)], lease=0.6) as other:
        other.go()
        await hold.arrived()
        other.process.send_signal(signal.SIGSTOP)
        async with session_on(sandbox, store_at(redis_address)) as session:
            await session.users.add_to_groups(user, second)
        hold.release()
        await until(lambda: sandbox.organization.users[user].groups == {first})
        other.process.send_signal(signal.SIGCONT)
        assert await other.outcome() == ["ConcurrentModification"]


@pytest.mark.slow
async def test_a_server_that_forgot_the_lock_during_a_write_is_noticed(
    sandbox: Sandbox, redis_address: str
) -> None:
    import redis

    await begin(sandbox, redis_address)
    user, (group,) = users_of(sandbox)[0], new_groups(sandbox, 1)
    hold = sandbox.faults.hold(PATCH, times=1)
    async with session_on(sandbox, store_at(redis_address)) as session:
        adding = asyncio.create_task(session.users.add_to_groups(user, group))
        await hold.arrived()
        with redis.Redis.from_url(redis_address) as client:
            assert client.delete(*[key for key in client.keys() if b":turn:" in key]) == 1
        hold.release()
        with pytest.raises(ConcurrentModification, match="written, but the lock") as caught:
            await adding
        assert caught.value.may_have_happened is True
    assert sandbox.organization.users[user].groups == {group}


@pytest.mark.slow
async def test_a_holder_that_works_for_longer_than_its_lease_keeps_the_lock(
    sandbox: Sandbox, redis_address: str
) -> None:
    await begin(sandbox, redis_address)
    user, (first, second) = users_of(sandbox)[0], new_groups(sandbox, 2)
    stores = [store_at(redis_address, lease=0.3) for _ in range(2)]
    async with session_on(sandbox, stores[0]) as one, session_on(sandbox, stores[1]) as two:
        hold = sandbox.faults.hold(READ, after=True, times=1)
        slow = asyncio.create_task(one.users.add_to_groups(user, first))
        await hold.arrived()
        # Another name of the process would queue: only what processes share is tried here.
        locks = stores[1].shared_locks()
        trying = asyncio.create_task(_take_and_leave(locks, one, user))
        await asyncio.wait({trying}, timeout=0.9)
        assert not trying.done()
        hold.release()
        await asyncio.gather(slow, trying)
        await locks.aclose()
        await two.users.add_to_groups(user, second)
    assert sandbox.organization.users[user].groups == {first, second}


async def _take_and_leave(locks, session: EzeepSession, user: UUID) -> None:
    api = session._core.endpoints.api
    async with locks.hold(f'["{api}", "user", "{user}"]'):
        pass


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs POSIX signals")
async def test_a_waiter_gives_up_on_a_stopped_process_after_one_deadline(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    where = str(tmp_path / "login.json")
    await begin(sandbox, where)
    user, (first, second) = users_of(sandbox)[0], new_groups(sandbox, 2)
    hold = sandbox.faults.hold(READ, after=True, times=1)
    async with writer(sandbox, where, do="add", rows=[(user, first)]) as other:
        other.go()
        await hold.arrived()
        other.process.send_signal(signal.SIGSTOP)
        async with session_on(sandbox, store_at(where), Settings(deadline=0.5)) as session:
            with pytest.raises(ConcurrentModification, match=f"user {user}: another process") as caught:
                await session.users.add_to_groups(user, second)
            assert caught.value.may_have_happened is False
        other.process.send_signal(signal.SIGCONT)
        hold.release()
        assert await other.outcome() == ["done"]
    assert sandbox.organization.users[user].groups == {first}


@pytest.mark.slow
async def test_a_session_that_closes_waits_for_no_other_process(sandbox: Sandbox, tmp_path: Path) -> None:
    where = str(tmp_path / "login.json")
    await begin(sandbox, where)
    user, (first, second) = users_of(sandbox)[0], new_groups(sandbox, 2)
    hold = sandbox.faults.hold(READ, after=True, times=1)
    async with writer(sandbox, where, do="add", rows=[(user, first)]) as other:
        other.go()
        await hold.arrived()
        session = session_on(sandbox, store_at(where))
        async with session:
            adding = asyncio.create_task(session.users.add_to_groups(user, second))
            await asyncio.wait({adding}, timeout=0.2)
        with pytest.raises(SessionClosed):
            await adding
        hold.release()
        assert await other.outcome() == ["done"]


async def test_a_waiter_has_its_turn_beside_a_busy_session(sandbox: Sandbox, where: str) -> None:
    """A caller that releases the lock and acquires it again does not overtake waiters."""
    await begin(sandbox, where)
    busy, waiting = (store_at(where).shared_locks() for _ in range(2))
    stop = False
    turns = 0

    async def work() -> None:
        nonlocal turns
        while not stop:
            async with busy.hold("a user"):
                turns += 1
                await asyncio.sleep(0.001)

    working = asyncio.create_task(work())
    await until(lambda: turns)
    for _ in range(5):
        async with asyncio.timeout(10), waiting.hold("a user"):
            pass
    stop = True
    await working
    await busy.aclose()
    await waiting.aclose()


# --- cancelled


async def test_cancelled_at_any_moment_nothing_stays_locked(sandbox: Sandbox, where: str) -> None:
    await begin(sandbox, where)
    user, groups = users_of(sandbox)[0], new_groups(sandbox, 60)
    async with session_on(sandbox, store_at(where)) as session, session_on(sandbox, store_at(where)) as other:
        await session.users.get(user)
        for moment, group in enumerate(groups):
            call = asyncio.create_task(session.users.add_to_groups(user, group))
            for _ in range(moment):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait({call})
        await until(lambda: len(exclusive.queues) == 0)
        assert file_locks._open_files == set()
        async with asyncio.timeout(5):
            await other.users.add_to_groups(user, groups[0])
    if where.startswith("postgresql"):
        from helpers.sql_databases import Database

        assert await Database(where).rows("SELECT name FROM ezeep_locks") == []
    elif "://" in where:
        import redis

        with redis.Redis.from_url(where) as client:
            assert [key for key in client.keys() if b":turn:" in key] == []


# --- files, folders, forks


async def test_the_files_are_private_and_bounded(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_locks, "LOCKS", 3)
    where = str(tmp_path / "new" / "login.json")
    before = os.umask(0)
    try:
        await begin(sandbox, where)
        async with session_on(sandbox, store_at(where)) as session:
            await asyncio.gather(
                *[
                    session.users.add_to_groups(user, *sandbox.organization.groups)
                    for user in users_of(sandbox)
                ]
            )
    finally:
        os.umask(before)
    folder = tmp_path / "new" / "ezeep.locks"
    files = [*folder.iterdir()]
    assert 0 < len(files) <= 3
    if os.name == "posix":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}


async def test_without_a_usable_folder_one_warning_and_the_write(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    where = str(tmp_path / "login.json")
    (tmp_path / "ezeep.locks").write_text("not a folder")
    await begin(sandbox, where)
    async with session_on(sandbox, store_at(where)) as session:
        with caplog.at_level(logging.WARNING, "ezeep_async"):
            for user in users_of(sandbox)[:3]:
                await session.users.add_to_groups(user, *sandbox.organization.groups)
    assert memberships(sandbox) == 6
    assert caplog.text.count("writing without shared locks") == 1
    assert "ezeep.locks" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX links, owners and umasks")
async def test_a_lock_file_with_a_second_name_is_left_alone(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The owner of the folder could have linked a file of root's there, which root would write to and give away."""
    monkeypatch.setattr(file_locks, "LOCKS", 1)
    where = str(tmp_path / "login.json")
    victim = tmp_path / "secret"
    victim.write_text("secret")
    await begin(sandbox, where)
    (folder := tmp_path / "ezeep.locks").mkdir()
    (folder / "000.lock").hardlink_to(victim)
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
        os.chown(where, 65534, 65534)
    before = victim.stat()
    async with session_on(sandbox, store_at(where)) as session:
        with caplog.at_level(logging.WARNING, "ezeep_async"):
            await session.users.add_to_groups(users_of(sandbox)[0], *sandbox.organization.groups)
    assert memberships(sandbox) == 2
    assert "000.lock" in caplog.text
    assert victim.read_text() == "secret"
    after = victim.stat()
    assert (after.st_uid, after.st_mode, after.st_mtime_ns) == (
        before.st_uid, before.st_mode, before.st_mtime_ns
    )  # shorter than one item a line  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX umasks")
async def test_lock_files_can_be_used_again_whatever_the_umask_is(sandbox: Sandbox, tmp_path: Path) -> None:
    where = str(tmp_path / "login.json")
    await begin(sandbox, where)
    before = os.umask(0o777)
    try:
        async with session_on(sandbox, store_at(where)) as session:
            await session.users.add_to_groups(users_of(sandbox)[0], *sandbox.organization.groups)
    finally:
        os.umask(before)
    (only,) = (tmp_path / "ezeep.locks").iterdir()
    assert stat.S_IMODE(only.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root")
async def test_a_folder_of_another_user_is_not_used(sandbox: Sandbox, tmp_path: Path) -> None:
    """As in `/tmp`: that user could hold the locks for ever, or not be able to use ours."""
    where = str(tmp_path / "login.json")
    await begin(sandbox, where)
    (folder := tmp_path / "ezeep.locks").mkdir()
    os.chown(folder, 65534, 65534)
    async with session_on(sandbox, store_at(where)) as session:
        await session.users.add_to_groups(users_of(sandbox)[0], *sandbox.organization.groups)
    assert not [*folder.iterdir()]
    own = tmp_path / "login.json.locks"
    assert [each.stat().st_uid for each in (own, *own.iterdir())] == [0, 0]
    assert folder.stat().st_uid == 65534


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root")
async def test_root_leaves_locks_to_the_owner_of_the_token_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """Otherwise that user could not take a lock after root did. Files of two users do not share a folder."""
    owners = {"one": 65534, "two": 65533}
    for name, owner in owners.items():
        await begin(sandbox, where := str(tmp_path / f"{name}.json"))
        os.chown(where, owner, owner)
        async with session_on(sandbox, store_at(where)) as session:
            await session.users.add_to_groups(users_of(sandbox)[0], *sandbox.organization.groups)
    for folder, owner in ((tmp_path / "ezeep.locks", 65534), (tmp_path / "two.json.locks", 65533)):
        assert {each.stat().st_uid for each in (folder, *folder.iterdir())} == {owner}


async def test_a_folder_that_was_removed_is_made_again(sandbox: Sandbox, tmp_path: Path) -> None:
    where = str(tmp_path / "login.json")
    await begin(sandbox, where)
    user, groups = users_of(sandbox)[0], new_groups(sandbox, 2)
    async with session_on(sandbox, store_at(where)) as session:
        await session.users.add_to_groups(user, groups[0])
        folder = tmp_path / "ezeep.locks"
        for each in folder.iterdir():
            each.unlink()
        folder.rmdir()
        await session.users.add_to_groups(user, groups[1])
        assert folder.is_dir()


@pytest.mark.slow
async def test_a_redis_server_that_is_gone_stops_no_write(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from helpers.redis_servers import Server

    server = Server(tmp_path)
    try:
        await begin(sandbox, server.address)
        user, groups = users_of(sandbox)[0], new_groups(sandbox, 4)
        async with session_on(sandbox, store_at(server.address)) as session:
            await session.users.add_to_groups(user, groups[0])
            server.stop()
            with caplog.at_level(logging.WARNING, "ezeep_async.resources"):
                for group in groups[1:]:
                    await session.users.add_to_groups(user, group)
    finally:
        server.close()
    assert memberships(sandbox) == 4
    assert caplog.text.count("writing without shared locks") == 1


async def test_shared_locks_can_be_turned_off(sandbox: Sandbox, tmp_path: Path) -> None:
    where = str(tmp_path / "login.json")
    await begin(sandbox, where)
    async with session_on(sandbox, store_at(where), Settings(shared_locks=False)) as session:
        await session.users.add_to_groups(users_of(sandbox)[0], *sandbox.organization.groups)
    assert not (tmp_path / "ezeep.locks").exists()


FORKS = """
import asyncio, os, sys, time
from ezeep_async import FileTokenStore

async def main():
    locks = FileTokenStore(sys.argv[1]).shared_locks()
    async with locks.hold("a user"):
        child = os.fork()
        if child == 0:
            print("child", flush=True)
            sys.stdin.read()
            os._exit(0)
        time.sleep(60)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
async def test_a_forked_child_keeps_no_lock_of_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "login.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "ignore", "-c", FORKS, str(path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert await process.stdout.readline() == b"child\n"
    locks = FileTokenStore(path).shared_locks()
    taking = asyncio.create_task(_take(locks))
    await asyncio.wait({taking}, timeout=0.2)
    assert not taking.done(), "the child gave back a lock of its parent"
    process.kill()
    await asyncio.wait_for(taking, 10)
    process.stdin.close()  # the child ends with its input
    await process.communicate()


async def _take(locks: file_locks.FileLocks) -> None:
    async with locks.hold("a user"):
        pass


def test_a_lock_holder_whose_event_loop_was_closed_blocks_no_other_thread() -> None:
    """A loop that was closed in the middle of a turn can neither work nor give the lock back."""

    def leave_behind() -> None:
        loop = asyncio.new_event_loop()
        left.append(loop.run_until_complete(exclusive.queues.enter(("name",))))
        loop.close()

    left: list[object] = []
    thread = threading.Thread(target=leave_behind)
    thread.start()
    thread.join()

    async def enter() -> None:
        caller = await asyncio.wait_for(exclusive.queues.enter(("name",)), 5)
        exclusive.queues.leave(("name",), caller)

    asyncio.run(enter())
    assert len(exclusive.queues) == 0
