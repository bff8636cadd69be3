"""What a store that can be written promises of the login in it."""
# ruff: noqa: S101  # a contract is a list of assertions

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from ezeep_async.auth.tokens import TokenSet, TokenStore
from ezeep_async.errors import TokenStoreError
from ezeep_async.testing.base import (
    ACCOUNT,
    CLIENT,
    MakeStore,
    StoreTests,
    assert_shows_none,
    login,
    longest_pause,
    refused,
)


EVERY_LETTER = "".join(map(chr, range(0x20, 0x7F)))
"""All that a token may be made of (RFC 6749 appendix A), quotes and backslashes too."""
LOGINS: dict[str, dict[str, object]] = {
    "expires_in unknown": {"expires_in": None},
    "expires_in with a fraction": {"expires_in": 3599.25},
    "an unusual scope and token_type": {
        "scope": "printing urn:example:a/b?c=1&d='2' ~!",
        "token_type": "urn:example:mac",
    },
    "no scope": {"scope": ""},
    "no refresh token": {"refresh_token": ""},
    "tokens of 8 kB": {"access_token": "a" * 8192, "refresh_token": "r" * 8192},
    "every letter": {"access_token": EVERY_LETTER, "refresh_token": EVERY_LETTER[::-1]},
    "microseconds": {"expires_at": datetime(2031, 5, 6, 7, 8, 9, 999999, UTC)},
    "another time zone": {
        "expires_at": datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    },
    "an end in the past": {"expires_at": datetime(2001, 2, 3, tzinfo=UTC)},
    "an end that never comes": {"expires_at": datetime(9999, 1, 1, tzinfo=UTC)},
}


class KeepingTests(StoreTests):
    """The login in it."""

    @pytest.fixture
    def make_unwritable(self) -> Callable[[], object] | None:
        """What makes it impossible to store anything where `make_store` keeps its login; None: it cannot be tried."""
        return None

    def test_an_empty_store_gives_none(self, make_store: MakeStore) -> None:
        """None is how a store says that nobody is logged in; it does not raise."""
        found = self._run(lambda: self._loaded(make_store()))
        assert found is None, f"load() of an empty store gives {found!r}"

    @pytest.mark.parametrize("changes", LOGINS.values(), ids=LOGINS)
    def test_a_login_comes_back_as_it_was_saved(self, make_store: MakeStore, changes: dict[str, Any]) -> None:
        """Every field of it, to the same store object and to another one."""
        store, other = self._pair(make_store)
        tokens = attrs.evolve(login(), **changes)

        async def scenario() -> None:
            await self._saved(store, tokens)
            self._assert_same(await self._loaded(store), tokens, "what was saved")
            self._assert_same(await self._loaded(other), tokens, "what another store object saved")

        self._run(scenario)

    def test_saving_replaces_the_whole_login(self, make_store: MakeStore) -> None:
        """Nothing of the login before is left, not even a field that the new one does not have."""
        store = make_store()
        first = attrs.evolve(login(1), scope="first", token_type="First", expires_in=1.5)  # noqa: S106
        second = attrs.evolve(login(2), refresh_token="", expires_in=None)  # no refresh token: must be gone

        async def scenario() -> None:
            for tokens in (first, second):
                await self._saved(store, tokens)
            self._assert_same(await self._loaded(store), second, "the login that was saved last")

        self._run(scenario)

    def test_every_load_sees_what_others_stored(self, make_store: MakeStore) -> None:
        """A store that remembers what it loaded would have its session present a spent refresh token."""
        store, other = self._pair(make_store)

        async def scenario() -> None:
            for each in (store, other):
                await self._loaded(each)
            for number, writer, reader in ((1, store, other), (2, other, store), (3, store, other)):
                await self._saved(writer, login(number))
                found = await self._loaded(reader)
                self._assert_same(found, login(number), "what another store object saved")
            await self._cleared(other)
            assert await self._loaded(store) is None, "load() still gives a login that was cleared elsewhere"

        self._run(scenario)

    def test_clearing_forgets_the_login(self, make_store: MakeStore) -> None:
        """After `clear` there is no login, for any store object; another one can be saved."""
        store, other = self._pair(make_store)

        async def scenario() -> None:
            await self._saved(store, login(1))
            await self._cleared(store)
            for each in (store, other):
                assert await self._loaded(each) is None, "load() gives a login after clear()"
            await self._saved(other, login(2))
            self._assert_same(await self._loaded(store), login(2), "a login that was saved after clear()")

        self._run(scenario)

    def test_clearing_an_empty_store_does_nothing(self, make_store: MakeStore) -> None:
        """A logout may come twice."""
        store = make_store()

        async def scenario() -> None:
            for _ in range(2):
                try:
                    await self._cleared(store)
                except Exception as error:
                    raise AssertionError(f"clear() of an empty store raises {error!r}") from error
            assert await self._loaded(store) is None, "load() gives a login that nobody saved"

        self._run(scenario)

    def test_the_event_loop_goes_on_while_the_store_works(self, make_store: MakeStore) -> None:
        """Nothing keeps it for longer than `longest_pause`. Five times each: a machine that is busy does so now and then."""
        store = make_store()
        calls = {
            "save": lambda: store.save(login()),
            "load": store.load,
            "check_writable": store.check_writable,
            "clear": store.clear,
        }

        async def scenario() -> None:
            for name, call in calls.items():
                pauses: list[float] = []
                for _ in range(5):
                    async with self._taken(store, f"to call {name}()"):
                        pauses.append(await longest_pause(call))
                assert min(pauses) <= self.longest_pause, (
                    f"{name}() blocks the event loop, for {min(pauses):.2f} s at least: nothing else goes on meanwhile"
                )

        self._run(scenario)

    def test_check_writable_says_so_when_nothing_can_be_stored(
        self, make_store: MakeStore, make_unwritable: Callable[[], object] | None
    ) -> None:
        """Before a refresh token is spent. The hook makes the stores unwritable while the lock is held."""
        if make_unwritable is None:
            pytest.skip(
                "there is no fixture make_unwritable: nothing is known of what check_writable() finds out"
            )
        store = make_store()

        async def scenario() -> None:
            await self._saved(store, login())
            async with self._taken(store, "to call check_writable()"):
                await asyncio.to_thread(make_unwritable)
                with refused(
                    TokenStoreError, "check_writable() is called when nothing can be stored", login()
                ):
                    await store.check_writable()

        self._run(scenario)

    def test_check_writable_changes_nothing(self, make_store: MakeStore) -> None:
        """It is asked before every renewal: no login appears, and none is lost or changed."""
        store, other = self._pair(make_store)

        async def scenario() -> None:
            await self._checked(store)
            assert await self._loaded(other) is None, "check_writable() left something in an empty store"
            await self._saved(store, login())
            await self._checked(store)
            self._assert_same(await self._loaded(other), login(), "the login after check_writable()")

        self._run(scenario)

    def test_what_it_shows_of_itself_has_no_token(self, make_store: MakeStore) -> None:
        """`repr` and `str`, with a login saved and loaded."""
        store = make_store()

        async def scenario() -> None:
            await self._saved(store, login())
            await self._loaded(store)

        self._run(scenario)
        assert_shows_none(f"{store!r} {store}", [login()], f"repr or str of {type(store).__name__}")

    @pytest.mark.parametrize(
        ("client", "account"), [("another", ACCOUNT), (CLIENT, "https://account.example.net")]
    )
    def test_the_login_of_another_client_or_host_is_refused(
        self, make_store: MakeStore, client: str, account: str
    ) -> None:
        """A store that is bound says so when the login in it is not its own, and leaves that as it is."""
        store, other = self._pair(make_store)
        bind, bind_other = self._bind_of(store), self._bind_of(other)
        what = "the login of another client id or host is"

        async def scenario() -> None:
            bind(CLIENT, ACCOUNT)
            await self._saved(store, login(1))
            with refused(TokenStoreError, f"{what} loaded", login(1)):
                bind_other(client, account)
                await self._loaded(other)
            with refused(TokenStoreError, f"{what} replaced", login(1), login(2)):
                bind_other(client, account)
                async with self._taken(other, "to save a login"):
                    await other.save(login(2))
            self._assert_same(await self._loaded(store), login(1), "the login that others were refused")

        self._run(scenario)

    def _assert_same(self, found: TokenSet | None, expected: TokenSet, what: str) -> None:
        assert found is not None, f"load() gives None for {what}"
        for name in ("access_token", "refresh_token", "scope", "token_type", "expires_in"):
            value, wanted = getattr(found, name), getattr(expected, name)
            assert value == wanted, (
                f"{what}: {name} was {str(wanted)[:40]!r}, load() gives {str(value)[:40]!r}"
            )
        away = abs(found.expires_at - expected.expires_at)
        assert away <= self.precision, f"{what}: expires_at is {away} away from what was saved"

    async def _cleared(self, store: TokenStore) -> None:
        async with self._taken(store, "to clear the store"):
            await store.clear()

    async def _checked(self, store: TokenStore) -> None:
        async with self._taken(store, "to call check_writable()"):
            await store.check_writable()
