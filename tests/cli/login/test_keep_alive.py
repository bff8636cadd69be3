"""`ezeep keep-alive`, as a process of its own, with clocks that move."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.command_line import Ran, environment, ezeep
from helpers.kept_logins import Keeping, keeping
from helpers.moved_clock import MovedClock
from helpers.support import ME, TOKEN, expired, put, until

from ezeep_async import FileTokenStore
from ezeep_async.sandbox import Sandbox


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(60),
    pytest.mark.skipif(
        sys.platform == "win32", reason="Windows cannot send these signals to another process"
    ),
]


@pytest.fixture
def clock(sandbox: Sandbox, tmp_path: Path) -> MovedClock:
    return MovedClock(sandbox, tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> FileTokenStore:
    return FileTokenStore(tmp_path / "login.json")


async def test_it_refreshes_in_time_and_says_so(
    login: dict[str, str], sandbox: Sandbox, clock: MovedClock, store: FileTokenStore
) -> None:
    """Every 20 minutes, with one line for each refresh that names the login. SIGTERM is the ordinary end."""
    async with keeping(clock, login) as running:
        assert sandbox.refresh_requests == 0
        for number in range(1, 4):
            clock.advance(1190)
            await asyncio.sleep(0.1)
            assert sandbox.refresh_requests == number - 1
            clock.advance(20)
            await running.wrote(" refreshed", number)
            assert sandbox.refreshes == number
        running.process.terminate()
        assert await running.process.wait() == 0
    assert len(running.lines) == 4
    for line in running.lines:
        assert line.startswith("ezeep: 2")
        assert f"client '{sandbox.oauth_app.client_id}', {store.path}, user " in line
        assert "@example.com)" in line
    assert sandbox.refresh_requests == 3
    assert (await ezeep("whoami", env=login)).code == 0


@pytest.mark.parametrize(
    ("life", "arguments", "interval"),
    [(3600, (), 1200), (600, (), 200), (86400, (), 1200), (3600, ("--interval", "300"), 300)],
)
async def test_the_interval(
    login: dict[str, str], sandbox: Sandbox, clock: MovedClock, store, life, arguments, interval: int
) -> None:
    """Twenty minutes, or a third of a shorter life, unless another one is given."""
    sandbox.behaviour.expires_in = life
    await put(store, sandbox.tokens())
    async with keeping(clock, login, *arguments) as running:
        assert running.with_text(f"with a refresh every {interval} s")
        clock.advance(interval + 1)
        await running.wrote(" refreshed")
        clock.advance(interval - 10)
        await asyncio.sleep(0.1)
    assert sandbox.refresh_requests == 1


async def test_a_long_interval_does_not_outlast_the_access_token(
    login: dict[str, str], sandbox: Sandbox, clock: MovedClock
) -> None:
    async with keeping(clock, login, "--interval", "86400") as running:
        clock.advance(3550)
        await running.wrote(" refreshed")


async def test_another_process_refreshes(login: dict[str, str], sandbox: Sandbox, clock: MovedClock) -> None:
    """`ezeep refresh` from cron, and a second `ezeep keep-alive`: one refresh each time."""
    async with keeping(clock, login) as one, keeping(clock, login) as two:
        for number in range(1, 4):
            clock.advance(1300)
            ran = await clock.ezeep("refresh", "--if-older-than", "900", env=login)
            assert ran.code == 0, ran
            await asyncio.sleep(0.2)
            assert sandbox.refresh_requests == number
        assert sandbox.refreshes == 3
    assert len(one.with_text(" refreshed") + two.with_text(" refreshed")) <= 3


@pytest.mark.parametrize("fault", [{"status": 503, "retry_after": 3600.0}, {"drop": "before"}], ids=str)
async def test_an_outage_ends_nothing(
    login: dict[str, str], sandbox: Sandbox, clock: MovedClock, fault: dict
) -> None:
    """Reported once, and retried until the server is back."""
    async with keeping(clock, login) as running:
        rule = sandbox.faults.add(TOKEN, times=None, **fault)
        clock.advance(1300)
        await until(lambda: rule.hits >= 4, 40)
        clock.advance(2000)
        assert running.process.returncode is None
        rule.remove()
        await running.wrote(" refreshed")
        await running.wrote("kept alive again")
        assert len(running.with_text("not refreshed")) == 1
        clock.advance(1300)
        await running.wrote(" refreshed", 2)


async def test_a_refused_client_is_no_end(login: dict[str, str], sandbox: Sandbox, clock: MovedClock) -> None:
    """A mistake at the server, which people correct: the refresh token is not used up."""
    async with keeping(clock, login) as running:
        rule = sandbox.faults.add(TOKEN, times=None, status=401, body='{"error": "invalid_client"}')
        clock.advance(1300)
        await running.wrote("not refreshed")
        assert "invalid_client" in running.lines[-1]
        rule.remove()
        clock.advance(120)
        await running.wrote(" refreshed")


async def test_the_machine_was_suspended(login: dict[str, str], sandbox: Sandbox, clock: MovedClock) -> None:
    """For 58 minutes: the refresh follows at once."""
    async with keeping(clock, login) as running:
        clock.advance(3500)
        await running.wrote(" refreshed")
    assert sandbox.refresh_requests == 1


async def test_the_login_has_ended(
    login: dict[str, str], sandbox: Sandbox, clock: MovedClock, store: FileTokenStore
) -> None:
    """Exit code 4, and a sentence with the command and the login. A restart sends nothing."""
    async with keeping(clock, login) as running:
        tokens = await store.load()
        assert tokens is not None
        sandbox._grants.revoke(tokens.refresh_token)
        clock.advance(1300)
        assert await running.process.wait() == 4
    assert "run ezeep login for client " in running.lines[-1]
    assert str(store.path) in running.lines[-1]
    for _ in range(2):
        clock.advance(60)
        ran = await clock.ezeep("keep-alive", env=login)
        assert ran.code == 4, ran
        assert "the login has ended" in ran.err
        assert len(ran.err.splitlines()) == 1
    assert sandbox.refresh_requests == 1


async def test_a_suspension_that_outlasts_the_refresh_token(
    login: dict[str, str], sandbox: Sandbox, clock: MovedClock
) -> None:
    async with keeping(clock, login) as running:
        clock.advance(3700)
        assert await running.process.wait() == 4
    assert sandbox.refresh_requests == 1


async def test_a_login_that_is_made_again_is_used(
    login: dict[str, str], sandbox: Sandbox, clock: MovedClock, store: FileTokenStore
) -> None:
    """Of another user: the log names that one from then on. The old one may be gone."""
    first, second = [user.id for user in sandbox.organization.listed_users()[:2]]
    await put(store, sandbox.tokens(first))
    async with keeping(clock, login) as running:
        old = await store.load()
        assert old is not None
        sandbox._grants.revoke(old.refresh_token)
        await put(store, sandbox.tokens(second))
        clock.advance(1300)
        await running.wrote("kept alive with", 2)
        await running.wrote(" refreshed")
        clock.advance(1300)
        await running.wrote(" refreshed", 2)
    assert sandbox.organization.people[first].email in running.with_text("kept alive with")[0]
    assert sandbox.organization.people[second].email in running.with_text(" refreshed")[-1]


async def test_a_logout_elsewhere(login: dict[str, str], clock: MovedClock, store: FileTokenStore) -> None:
    async with keeping(clock, login) as running:
        assert (await clock.ezeep("logout", env=login)).code == 0
        clock.advance(1300)
        assert await running.process.wait() == 4
    assert "not logged in: run ezeep login" in running.lines[-1]
    assert str(store.path) in running.lines[-1]


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT", "SIGHUP"])
async def test_a_signal_in_the_middle_of_a_refresh(
    login: dict[str, str], sandbox: Sandbox, clock: MovedClock, number: str
) -> None:
    """The refresh ends first, and is logged. The signal may come twice."""
    async with keeping(clock, login) as running:
        hold = sandbox.faults.hold(TOKEN, after=True, times=1)
        clock.advance(1300)
        await hold.arrived()
        for _ in range(2):
            running.process.send_signal(getattr(signal, number))
            await asyncio.sleep(0.1)
        assert running.process.returncode is None
        hold.release()
        assert await running.process.wait() == 0
    assert len(running.with_text(" refreshed")) == 1
    assert sandbox.refreshes == 1
    assert (await clock.ezeep("refresh", env=login)).code == 0


async def test_a_signal_during_an_outage(login: dict[str, str], sandbox: Sandbox, clock: MovedClock) -> None:
    """While it waits for the next attempt."""
    async with keeping(clock, login) as running:
        sandbox.faults.add(TOKEN, times=None, status=400, body="a proxy")
        clock.advance(1300)
        await running.wrote("not refreshed")
        running.process.terminate()
        assert await running.process.wait() == 0


async def test_a_login_that_is_lost_by_a_signal_is_no_success(
    login: dict[str, str], sandbox: Sandbox, clock: MovedClock, store: FileTokenStore
) -> None:
    """The file cannot be written any more when the response arrives: exit code 1, which systemd does not call a success."""
    async with keeping(clock, login) as running:
        hold = sandbox.faults.hold(TOKEN, after=True, times=1)
        clock.advance(1300)
        await hold.arrived()
        store.path.unlink()
        store.path.mkdir()
        running.process.terminate()
        hold.release()
        assert await running.process.wait() == 1
    assert "could not be stored" in running.lines[-1]


async def test_a_name_that_cannot_be_read_ends_nothing(
    login: dict[str, str], sandbox: Sandbox, clock: MovedClock, store: FileTokenStore
) -> None:
    """Only the log needs it. A refused access token makes the command use the token file, which may be gone by then."""
    sandbox.faults.add(ME, times=None, status=401, body="no")
    hold = sandbox.faults.hold(ME, times=1)
    async with clock.started("keep-alive", env=login) as process:
        await hold.arrived()
        content = store.path.read_text()
        store.path.write_text("of another program")
        hold.release()
        running = Keeping(process)
        reading = asyncio.create_task(running.read())
        await running.wrote("kept alive with")
        assert "s. The name of the user could not be read: " in running.lines[-1]
        store.path.write_text(content)
        clock.advance(1300)
        await running.wrote(" refreshed")
        process.terminate()
        assert await process.wait() == 0
        await reading


async def test_no_one_is_logged_in(login: dict[str, str], sandbox: Sandbox, clock, store) -> None:
    """Exit code 4. No lock file appears."""
    for path in store.path.parent.glob("login.json*"):
        path.unlink()
    ran = await clock.ezeep("keep-alive", env=login)
    assert (ran.code, ran.out) == (4, "")
    assert ran.err.startswith(
        "ezeep: not logged in: run ezeep login, with --device if there is no browser (client "
    )
    assert not list(store.path.parent.glob("login.json*"))


async def test_mistakes_end_it_at_its_start(login: dict[str, str], sandbox: Sandbox, clock, store) -> None:
    """Exit code 1: waiting corrects neither a wrong client nor a file of another program."""
    assert (await clock.ezeep("refresh", env=login)).code == 0  # from now on the file names its client
    ran = await clock.ezeep("keep-alive", env=login | {"EZEEP_CLIENT_ID": "another"})
    assert "another client id" in ran.refused()
    await put(store, expired(sandbox.tokens()))
    sandbox.faults.add(TOKEN, times=None, status=401, body='{"error": "invalid_client"}')
    assert "invalid_client" in (await clock.ezeep("keep-alive", env=login)).refused()
    store.path.write_text("a list")
    assert "is not a stored token set" in (await clock.ezeep("keep-alive", env=login)).refused()
    assert (await clock.ezeep("keep-alive", "--interval", "0", env=login)).code == 64


async def test_an_outage_at_its_start(login: dict[str, str], sandbox: Sandbox, clock, store) -> None:
    """As before the network is up: it waits, and is ready for systemd."""
    await put(store, expired(sandbox.tokens()))
    rule = sandbox.faults.add(TOKEN, times=None, status=400, body="a proxy")
    async with clock.started("keep-alive", env=login) as process:
        running = Keeping(process)
        reading = asyncio.create_task(running.read())
        await running.wrote("not refreshed")
        rule.remove()
        await running.wrote("kept alive with")
        process.terminate()
        assert await process.wait() == 0
        await reading


async def test_in_a_sandbox_of_its_own() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ezeep_async", "keep-alive", "--sandbox", env=environment(), stderr=-1
    )
    running = Keeping(process)
    reading = asyncio.create_task(running.read())
    await running.wrote("kept alive with")
    process.terminate()
    assert await process.wait() == 0
    await reading


async def test_quiet_and_with_an_end(login: dict[str, str], sandbox: Sandbox, clock, store) -> None:
    """`--quiet` shows problems only, `--timeout` ends it with its own exit code."""
    await put(store, expired(sandbox.tokens()))
    ran = await clock.ezeep("keep-alive", "--quiet", "--timeout", "4", env=login)
    assert (ran.code, ran.out, ran.err) == (124, "", "")
    assert sandbox.refreshes == 1


# --- systemd -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as that of systemd, and its address in the environment."""
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("only Linux has abstract names")
    name = f"@ezeep-test-{id(request)}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        channel.setblocking(False)
        yield channel, name


async def test_what_systemd_is_sent(
    login: dict[str, str], sandbox: Sandbox, clock: MovedClock, manager: tuple[socket.socket, str]
) -> None:
    """Ready once the login works, signs of life also during a refresh, a status, and the end."""
    channel, name = manager
    seen: list[str] = []

    def received(text: str) -> bool:
        try:
            while True:
                seen.extend(channel.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return any(text in each for each in seen)

    env = login | {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000"}
    async with keeping(clock, env) as running:
        await until(lambda: received("READY=1"))
        assert received("STATUS=Access token expires at ")
        await until(lambda: received("WATCHDOG=1"))
        hold = sandbox.faults.hold(TOKEN, times=1)
        clock.advance(1300)
        await hold.arrived()
        seen.clear()
        await until(lambda: received("WATCHDOG=1"))
        hold.release()
        await until(lambda: received("STATUS=Access token expires at "))
        sandbox.faults.add(TOKEN, times=1, status=400, body="a proxy")
        clock.advance(1300)
        await until(lambda: received("STATUS=Trying again"))
        assert not received("STOPPING=1")
        await running.wrote("kept alive again")
        hold = sandbox.faults.hold(TOKEN, times=1)
        clock.advance(1300)
        await hold.arrived()
        running.process.terminate()
        await until(lambda: received("STOPPING=1"))
        seen.clear()
        await until(lambda: received("WATCHDOG=1"))  # the refresh has not ended
        hold.release()
        assert await running.process.wait() == 0


async def test_a_watchdog_of_another_process_and_a_manager_that_is_gone(
    login: dict[str, str], clock: MovedClock, tmp_path: Path
) -> None:
    env = login | {
        "NOTIFY_SOCKET": str(tmp_path / "gone"),
        "WATCHDOG_USEC": "1000",
        "WATCHDOG_PID": "1",
    }
    async with keeping(clock, env) as running:
        clock.advance(1300)
        await running.wrote(" refreshed")


async def test_ran_is_watched(login: dict[str, str], clock: MovedClock) -> None:
    """The guard against secrets sees what the command writes."""
    async with keeping(clock, login) as running:
        clock.advance(1300)
        await running.wrote(" refreshed")
    Ran(0, "", "\n".join(running.lines))
