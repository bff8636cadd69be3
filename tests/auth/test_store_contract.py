"""The contract of token stores over every store that there is, and over stores that break it in one way each."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest

from ezeep_async import (
    FileTokenStore,
    KeyringTokenStore,
    MemoryTokenStore,
    ReadOnlyTokens,
    RedisTokenStore,
    TokenPersistError,
    TokenSet,
    TokenStoreError,
)
from ezeep_async.auth.stores.document import parsed, tokens_in, with_tokens
from ezeep_async.testing import ReadOnlyTokenStoreContract, TokenStoreContract


EXACT = timedelta(0)


# --- our own -----------------------------------------------------------------------------------------------------------


class TestMemoryTokenStore(TokenStoreContract):
    precision = EXACT

    @pytest.fixture
    def make_store(self):
        store = MemoryTokenStore()
        return lambda: store


class TestMemoryTokenStoreOnItsOwn(TokenStoreContract):
    shared = False
    precision = EXACT

    @pytest.fixture
    def make_store(self):
        return MemoryTokenStore


class TestFileTokenStore(TokenStoreContract):
    precision = EXACT

    @pytest.fixture
    def make_store(self, tmp_path: Path):
        return lambda: FileTokenStore(tmp_path / "login.json")


class TestKeyringTokenStore(TokenStoreContract):
    precision = EXACT

    @pytest.fixture
    def make_store(self, tmp_path: Path):
        keyring = pytest.importorskip("keyring", reason="the extra keyring is not installed")
        backend = pytest.importorskip("keyring.backend")
        entries: dict[tuple[str, str], str] = {}

        class InMemory(backend.KeyringBackend):
            priority = 1

            def get_password(self, service: str, username: str) -> str | None:
                return entries.get((service, username))

            def set_password(self, service: str, username: str, password: str) -> None:
                entries[service, username] = password

            def delete_password(self, service: str, username: str) -> None:
                del entries[service, username]

        before = keyring.core._keyring_backend
        keyring.set_keyring(InMemory())
        yield lambda: KeyringTokenStore(folder=tmp_path)
        keyring.core._keyring_backend = before


@pytest.fixture(scope="module")
def redis_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from redis_servers import Server

    server = Server(tmp_path_factory.mktemp("redis"))
    yield server.address
    server.close()


class TestRedisTokenStore(TokenStoreContract):
    precision = EXACT

    @pytest.fixture
    def make_store(self, redis_address: str, request: pytest.FixtureRequest):
        return lambda: RedisTokenStore(redis_address, f"clear:{request.node.nodeid}")


class TestRedisTokenStoreWithEncryption(TokenStoreContract):
    precision = EXACT

    @pytest.fixture
    def make_store(self, redis_address: str, request: pytest.FixtureRequest):
        fernet = pytest.importorskip("cryptography.fernet")
        key = fernet.Fernet.generate_key()
        return lambda: RedisTokenStore(redis_address, f"encrypted:{request.node.nodeid}", encryption_key=key)


def _values(tokens: TokenSet) -> dict[str, object]:
    return attrs.asdict(tokens) | {"expires_at": tokens.expires_at.timestamp()}


class TestReadOnlyTokensOfAMapping(ReadOnlyTokenStoreContract):
    @pytest.fixture
    def source(self) -> dict[str, object]:
        return {}

    @pytest.fixture
    def make_store(self, source: dict[str, object]):
        return lambda: ReadOnlyTokens(source)

    @pytest.fixture
    def put_login(self, source: dict[str, object]):
        return lambda tokens: source.update(_values(tokens))


class TestReadOnlyTokensOfAFile(ReadOnlyTokenStoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path):
        return lambda: ReadOnlyTokens(tmp_path / "login.json")

    @pytest.fixture
    def put_login(self, tmp_path: Path):
        return lambda tokens: (tmp_path / "login.json").write_text(json.dumps(_values(tokens)))


class TestReadOnlyTokensOfTheEnvironment(ReadOnlyTokenStoreContract):
    @pytest.fixture
    def make_store(self):
        return ReadOnlyTokens.from_env

    @pytest.fixture
    def put_login(self, monkeypatch: pytest.MonkeyPatch):
        def put(tokens: TokenSet) -> None:
            monkeypatch.setenv("EZEEP_ACCESS_TOKEN", tokens.access_token)
            monkeypatch.setenv("EZEEP_REFRESH_TOKEN", tokens.refresh_token)
            monkeypatch.setenv("EZEEP_TOKEN_EXPIRES_AT", tokens.expires_at.isoformat())

        return put


# --- somebody else's -----------------------------------------------------------------------------------------------------


class Shelf:
    """A store of another project, done right: the login is JSON in a place that several stores know."""

    def __init__(self, place: SimpleNamespace) -> None:
        self.place = place
        self.owner: tuple[str, str] | None = None

    def bind(self, client_id: str, account: str) -> None:
        if self.owner not in {None, (client_id, account)}:
            raise TokenStoreError("bound to another client")
        self.owner = client_id, account

    async def load(self) -> TokenSet | None:
        if self.place.owner is not None and self.owner not in {None, self.place.owner}:
            raise TokenStoreError("the login of another client")
        return None if self.place.text is None else tokens_in(parsed(self.place.text, "shelf"), "shelf")

    async def save(self, tokens: TokenSet, /) -> None:
        await self.load()
        self.place.text = json.dumps(with_tokens({}, tokens, None))
        self.place.owner = self.owner

    async def clear(self) -> None:
        self.place.text = self.place.owner = None

    async def check_writable(self) -> None:
        pass

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        await self.acquire()
        try:
            yield
        finally:
            self.place.lock.release()

    async def acquire(self) -> None:
        while not self.place.lock.acquire(blocking=False):
            await asyncio.sleep(0.001)


def shelves(kind: type[Shelf]) -> Callable[[], Shelf]:
    place = SimpleNamespace(text=None, owner=None, lock=threading.Lock(), queue=deque(), held=False)
    return lambda: kind(place)


class TestShelf(TokenStoreContract):
    precision = EXACT

    @pytest.fixture
    def make_store(self):
        return shelves(Shelf)


class Vault:
    """A read-only store of another project, done right, and with no `bind`."""

    def __init__(self, box: list[TokenSet]) -> None:
        self.box = box

    async def load(self) -> TokenSet | None:
        return self.box[-1] if self.box else None

    async def save(self, tokens: TokenSet, /) -> None:
        raise TokenPersistError("read-only")

    async def clear(self) -> None:
        pass

    async def check_writable(self) -> None:
        raise TokenStoreError("read-only")

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        yield


class TestVault(ReadOnlyTokenStoreContract):
    @pytest.fixture
    def box(self) -> list[TokenSet]:
        return []

    @pytest.fixture
    def make_store(self, box: list[TokenSet]):
        return lambda: Vault(box)

    @pytest.fixture
    def put_login(self, box: list[TokenSet]):
        return box.append


# --- stores that break the contract ----------------------------------------------------------------------------------------


class LacksAMethod(Shelf):
    check_writable = None  # type: ignore[assignment]


class AwaitsItsLock(Shelf):
    async def lock(self):  # type: ignore[override]
        return super().lock()


class NeverGivesBack(Shelf):
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        await self.acquire()
        yield


class HasNoFinally(Shelf):
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        await self.acquire()
        yield
        self.place.lock.release()


class SwallowsErrors(Shelf):
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        await self.acquire()
        try:
            yield
        except Exception:
            pass
        finally:
            self.place.lock.release()


class LeaksWhenCancelled(Shelf):
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        await self.acquire()
        try:
            yield
        except Exception:
            self.place.lock.release()
            raise
        self.place.lock.release()


class GoesOnWhenCancelled(Shelf):
    async def acquire(self) -> None:
        cancelled = False
        while not self.place.lock.acquire(blocking=False):
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                if cancelled:
                    raise
                cancelled = True


class HasNoLock(Shelf):
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        yield


class HasALockOfItsOwn(Shelf):
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        mine = self.__dict__.setdefault("mine", threading.Lock())
        while not mine.acquire(blocking=False):
            await asyncio.sleep(0.001)
        try:
            yield
        finally:
            mine.release()


class GivesBackWhatItDoesNotHold(Shelf):
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        try:
            await self.acquire()
            yield
        finally:
            if self.place.lock.locked():
                self.place.lock.release()


class HandsOverToTheDead(Shelf):
    """A fair lock: whoever leaves makes the first waiter the holder, cancelled or not."""

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        if self.place.held:
            turn = asyncio.get_running_loop().create_future()
            self.place.queue.append(turn)
            await turn
        self.place.held = True
        try:
            yield
        finally:
            self.hand_over()

    def hand_over(self) -> None:
        if self.place.queue:
            turn = self.place.queue.popleft()
            if not turn.done():
                turn.set_result(None)
        else:
            self.place.held = False


class KeepsTheTurnOfTheCancelled(HandsOverToTheDead):
    """As above, but it does skip those who were cancelled before their turn."""

    def hand_over(self) -> None:
        while self.place.queue:
            turn = self.place.queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.place.held = False


class HasAnAsyncioLock(Shelf):
    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        if not isinstance(self.place.lock, asyncio.Lock):
            self.place.lock = asyncio.Lock()
        async with self.place.lock:
            yield


class ShowsItsTokens(Shelf):
    def __repr__(self) -> str:
        return f"<{self.place.text}>"


class GivesAnEmptyLogin(Shelf):
    async def load(self) -> TokenSet | None:
        return await super().load() or TokenSet("", "", datetime.now(UTC))


class LosesExpiresIn(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        await super().save(attrs.evolve(tokens, expires_in=None))


class SavesMinutes(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        await super().save(attrs.evolve(tokens, expires_at=tokens.expires_at.replace(second=0)))


class ForgetsTheZone(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        naive = datetime.fromisoformat(tokens.expires_at.isoformat()).replace(tzinfo=None)
        ahead = naive.replace(tzinfo=UTC) + timedelta(hours=1)
        await super().save(attrs.evolve(tokens, expires_at=ahead))


class HasAShortField(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        await super().save(attrs.evolve(tokens, access_token=tokens.access_token[:4096]))


class QuotesByHand(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        await super().save(attrs.evolve(tokens, access_token=tokens.access_token.replace("\\", "")))


class TakesNothingForTheDefault(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        await super().save(attrs.evolve(tokens, scope=tokens.scope or "printing"))


class Merges(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        old = await self.load()
        if old is not None and tokens.expires_in is None:
            tokens = attrs.evolve(tokens, expires_in=old.expires_in)
        await super().save(tokens)


class RemembersWhatItLoaded(Shelf):
    seen: TokenSet | None = None

    async def load(self) -> TokenSet | None:
        if self.seen is None:
            self.seen = await super().load()
        return self.seen

    async def save(self, tokens: TokenSet, /) -> None:
        await super().save(tokens)
        self.seen = tokens

    async def clear(self) -> None:
        await super().clear()
        self.seen = None


class ClearsNothing(Shelf):
    async def clear(self) -> None:
        pass


class ClearsOnce(Shelf):
    async def clear(self) -> None:
        if self.place.text is None:
            raise KeyError("login")
        await super().clear()


class CannotBeUsedAfterClearing(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        if not hasattr(self.place, "cleared"):
            await super().save(tokens)

    async def clear(self) -> None:
        await super().clear()
        self.place.cleared = True


class ProbesWithALogin(Shelf):
    async def check_writable(self) -> None:
        if self.place.text is None:
            await self.save(TokenSet("probe", "", datetime.now(UTC)))


class ProbesByRemoving(Shelf):
    async def check_writable(self) -> None:
        self.place.text = None


class IsBoundOnce(Shelf):
    def bind(self, client_id: str, account: str) -> None:
        if self.owner is not None:
            raise TokenStoreError("bound already")
        self.owner = client_id, account


class IsBoundByAnybody(Shelf):
    def bind(self, client_id: str, account: str) -> None:
        self.owner = client_id, account


class IsBoundByTheAccountOnly(Shelf):
    def bind(self, client_id: str, account: str) -> None:
        super().bind("", account)


class TellsWhoseItIs(Shelf):
    async def load(self) -> TokenSet | None:
        try:
            return await super().load()
        except TokenStoreError as error:
            raise TokenStoreError(self.place.text) from error


class ForgetsWhoseItIs(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        await super().save(tokens)
        self.place.owner = None


class KeepsTheFirst(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        if self.place.text is None:
            await super().save(tokens)


class KeepsTheFirstRefreshToken(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        old = await self.load()
        await super().save(tokens if old is None else attrs.evolve(tokens, refresh_token=old.refresh_token))


class Logs(Shelf):
    async def save(self, tokens: TokenSet, /) -> None:
        logging.getLogger("shelf").debug("storing %s", tokens.access_token)
        await super().save(tokens)


WRONG = [
    ("test_it_satisfies_the_protocol", LacksAMethod, "lacks a method"),
    ("test_it_satisfies_the_protocol", AwaitsItsLock, "asynchronous context manager"),
    ("test_the_lock_is_free_again_after_use", NeverGivesBack, "after it was given back"),
    ("test_an_exception_inside_frees_the_lock_and_comes_out", HasNoFinally, "after an exception inside"),
    ("test_an_exception_inside_frees_the_lock_and_comes_out", SwallowsErrors, "swallowed an exception"),
    ("test_a_cancellation_inside_frees_the_lock", HasNoFinally, "after its holder was cancelled"),
    ("test_a_cancellation_inside_frees_the_lock", LeaksWhenCancelled, "after its holder was cancelled"),
    ("test_one_store_serves_two_event_loops_one_after_the_other", HasAnAsyncioLock, "second event loop"),
    ("test_the_lock_keeps_apart_the_event_loops_of_two_threads", HasAnAsyncioLock, "in another thread"),
    ("test_the_lock_keeps_apart_the_event_loops_of_two_threads", HasNoLock, "in another"),
    ("test_what_it_shows_of_itself_has_no_token", ShowsItsTokens, "shows a token"),
    ("test_it_is_bound_again_to_the_same_client", IsBoundOnce, "binding a store again"),
    ("test_it_refuses_to_be_bound_to_another_client_or_host", IsBoundByAnybody, "nothing was raised"),
    ("test_it_refuses_to_be_bound_to_another_client_or_host", IsBoundByTheAccountOnly, "nothing was raised"),
    ("test_the_login_of_another_client_or_host_is_refused", ForgetsWhoseItIs, "nothing was raised"),
    ("test_the_login_of_another_client_or_host_is_refused", TellsWhoseItIs, "shows a token"),
    ("test_an_empty_store_gives_none", GivesAnEmptyLogin, "empty store gives"),
    ("test_a_login_comes_back_as_it_was_saved", LosesExpiresIn, "expires_in was .* gives 'None'"),
    ("test_a_login_comes_back_as_it_was_saved", SavesMinutes, "expires_at is .* away"),
    ("test_a_login_comes_back_as_it_was_saved", ForgetsTheZone, "expires_at is 1:00:00 away"),
    ("test_a_login_comes_back_as_it_was_saved", HasAShortField, "access_token was 'aaa"),
    ("test_a_login_comes_back_as_it_was_saved", QuotesByHand, "access_token was"),
    ("test_a_login_comes_back_as_it_was_saved", TakesNothingForTheDefault, "scope was ''"),
    ("test_saving_replaces_the_whole_login", Merges, "expires_in was 'None'"),
    ("test_every_load_sees_what_others_stored", RemembersWhatItLoaded, "what another store object saved"),
    ("test_clearing_forgets_the_login", ClearsNothing, "after clear"),
    ("test_clearing_forgets_the_login", CannotBeUsedAfterClearing, "saved after clear"),
    ("test_clearing_an_empty_store_does_nothing", ClearsOnce, "raises KeyError"),
    ("test_check_writable_changes_nothing", ProbesWithALogin, "left something in an empty store"),
    ("test_check_writable_changes_nothing", ProbesByRemoving, "None for the login after check_writable"),
    ("test_the_lock_keeps_another_task_out", HasNoLock, "while somebody else held it"),
    ("test_the_lock_keeps_another_store_object_out", HasALockOfItsOwn, "while somebody else held it"),
    ("test_never_two_are_inside_the_lock", HasNoLock, "two were inside"),
    ("test_never_two_are_inside_the_lock", HasALockOfItsOwn, "two were inside"),
    (
        "test_a_waiter_that_is_cancelled_leaves_no_trace",
        GivesBackWhatItDoesNotHold,
        "gave back the lock that somebody else held",
    ),
    ("test_a_waiter_that_is_cancelled_leaves_no_trace", GoesOnWhenCancelled, "did not end"),
    ("test_a_waiter_that_is_cancelled_leaves_no_trace", HandsOverToTheDead, "after a waiter was cancelled"),
    (
        "test_a_waiter_that_is_cancelled_when_its_turn_comes_passes_the_lock_on",
        KeepsTheTurnOfTheCancelled,
        "as its turn came",
    ),
    ("test_sessions_on_one_login_renew_it_once", HasNoLock, "2 refreshes of one login|calls failed"),
    ("test_sessions_on_one_login_renew_it_once", HasALockOfItsOwn, "2 refreshes of one login|calls failed"),
    ("test_a_renewal_whose_callers_are_all_cancelled_is_stored", KeepsTheFirst, "was not stored"),
    ("test_a_renewal_whose_callers_are_all_cancelled_is_stored", KeepsTheFirstRefreshToken, "was not stored"),
    ("test_a_token_that_is_refused_is_renewed_once", KeepsTheFirst, "was not stored"),
    (
        "test_a_login_that_was_renewed_elsewhere_is_adopted",
        RemembersWhatItLoaded,
        "did not find|calls failed",
    ),
    ("test_a_login_and_a_logout_go_through_the_store", ClearsNothing, "after a logout"),
    ("test_no_token_is_logged", Logs, "the log shows a token"),
]
"""A test of the contract, a store that it has to find out, and the words that it says."""

STUCK = {NeverGivesBack, HasNoFinally, LeaksWhenCancelled, GoesOnWhenCancelled, HandsOverToTheDead,
         KeepsTheTurnOfTheCancelled, HasAnAsyncioLock}  # fmt: skip
"""Those that keep somebody waiting for ever: it need not be for long."""


def labels_of(rows: list[tuple[str, type, str]]) -> list[str]:
    return [f"{name.removeprefix('test_')}-{kind.__name__}" for name, kind, _ in rows]


def names_of(contract: type) -> set[str]:
    return {name for name in dir(contract) if name.startswith("test_")}


def failures(contract: type, name: str, **given: Callable[[], object]) -> list[str]:
    """What the test of the contract says, of each of its cases that fails. Called as pytest would call it."""
    said: list[str] = []
    method = getattr(contract, name)
    arguments: list[dict[str, object]] = [{}]
    for mark in getattr(method, "pytestmark", []):
        labels, values = mark.args
        labels = labels.split(",") if isinstance(labels, str) else labels
        rows = [value if len(labels) > 1 else (value,) for value in values]
        arguments = [dict(zip(labels, row, strict=True)) for row in rows]
    wanted = method.__code__.co_varnames[: method.__code__.co_argcount]
    for case in arguments:
        fixtures = {label: make() for label, make in given.items() if label in wanted}
        try:
            method(contract(), **fixtures, **case)
        except AssertionError as error:
            said.append(str(error))
    return said


@pytest.mark.parametrize(("name", "kind", "words"), WRONG, ids=labels_of(WRONG))
def test_the_contract_finds_out_what_is_wrong(
    name: str, kind: type[Shelf], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A test that no store can fail proves nothing."""

    class Patient(TokenStoreContract):
        patience = 0.2 if kind in STUCK else 10.0

    said = failures(Patient, name, make_store=lambda: shelves(kind), caplog=lambda: caplog)
    assert said
    assert all(re.search(words, each) for each in said), said


def test_each_test_of_the_contract_is_failed_by_some_store() -> None:
    assert {name for name, *_ in WRONG} == names_of(TokenStoreContract)


class GivesNothing(Vault):
    async def load(self) -> TokenSet | None:
        return None


class GivesTheFirst(Vault):
    async def load(self) -> TokenSet | None:
        return self.box[0]


class ShowsItsBox(Vault):
    def __repr__(self) -> str:
        return f"Vault({self.box[-1].access_token})"


class SaysNothing(Vault):
    async def check_writable(self) -> None:
        pass


class SavesNothing(Vault):
    async def save(self, tokens: TokenSet, /) -> None:
        pass


class ShowsWhatItRefuses(Vault):
    async def save(self, tokens: TokenSet, /) -> None:
        raise TokenPersistError(f"read-only: {tokens.access_token}")


class SavesAllTheSame(Vault):
    async def save(self, tokens: TokenSet, /) -> None:
        self.box.append(tokens)
        raise TokenPersistError("read-only")


WRONG_VAULTS = [
    ("test_it_gives_the_login_of_its_source", GivesNothing, "gives None"),
    ("test_a_login_that_was_replaced_is_taken_up", GivesTheFirst, "another login"),
    ("test_nothing_can_be_stored", SaysNothing, "check_writable.*nothing was raised"),
    ("test_nothing_can_be_stored", SavesNothing, "save.*nothing was raised"),
    ("test_nothing_can_be_stored", ShowsWhatItRefuses, "shows a token"),
    ("test_nothing_can_be_stored", SavesAllTheSame, "another login"),
    ("test_what_it_shows_of_itself_has_no_token", ShowsItsBox, "shows a token"),
    ("test_a_session_works_to_the_end_of_its_token", GivesNothing, "good access token failed"),
    ("test_a_login_that_cannot_be_stored_is_not_renewed", SaysNothing, "nothing was raised"),
]


@pytest.mark.parametrize(("name", "kind", "words"), WRONG_VAULTS, ids=labels_of(WRONG_VAULTS))
def test_the_read_only_contract_finds_out_what_is_wrong(name: str, kind: type[Vault], words: str) -> None:
    box: list[TokenSet] = []
    said = failures(
        ReadOnlyTokenStoreContract,
        name,
        make_store=lambda: lambda: kind(box),
        put_login=lambda: box.append,
    )
    assert said
    assert all(re.search(words, each) for each in said), said


def test_each_test_of_the_read_only_contract_is_failed_by_some_store() -> None:
    """What both contracts have in common is failed above."""
    own = names_of(ReadOnlyTokenStoreContract) - names_of(TokenStoreContract)
    assert {name for name, *_ in WRONG_VAULTS} >= own
