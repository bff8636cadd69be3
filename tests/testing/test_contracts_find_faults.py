"""The contract of token stores finds faulty stores: each of its tests can fail."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from helpers.broken_stores import (
    AwaitsItsLock,
    CannotBeUsedAfterClearing,
    ClearsNothing,
    ClearsOnce,
    ForgetsTheZone,
    ForgetsWhoseItIs,
    GivesAnEmptyLogin,
    GivesBackWhatItDoesNotHold,
    GivesNothing,
    GivesTheFirst,
    GoesOnWhenCancelled,
    HandsOverToTheDead,
    HasALockOfItsOwn,
    HasAnAsyncioLock,
    HasAShortField,
    HasNoFinally,
    HasNoLock,
    IsBoundByAnybody,
    IsBoundByTheAccountOnly,
    IsBoundOnce,
    KeepsTheFirst,
    KeepsTheFirstRefreshToken,
    KeepsTheTurnOfTheCancelled,
    LacksAMethod,
    LeaksWhenCancelled,
    LendsItsOwnLock,
    LendsLocksInItsProcessOnly,
    LendsLocksThatLeak,
    LendsLocksThatWaitersRelease,
    LendsLocksTiedToATask,
    LendsLocksToOne,
    LendsOneLock,
    LendsSlowLocksThatExcludeNone,
    LocksInItsProcessOnly,
    Logs,
    LosesExpiresIn,
    MarksWithoutAnEnd,
    Merges,
    MergesTheScope,
    NeverGivesBack,
    ProbesByRemoving,
    ProbesNothing,
    ProbesWithALogin,
    QuotesByHand,
    ReleasesItsMark,
    RemembersWhatItLoaded,
    SavesAllTheSame,
    SavesMinutes,
    SavesNothing,
    SavesOnTheLoop,
    SaysNothing,
    ShowsItsBox,
    ShowsItsTokens,
    ShowsWhatItLoaded,
    ShowsWhatItRefuses,
    SwallowsErrors,
    TakesItsOwnWriteForThatOfAnother,
    TakesNothingForTheDefault,
    TellsWhoseItIs,
)
from helpers.other_stores import Shelf, Vault, in_the_way, shelves

from ezeep_async import FileTokenStore, TokenSet
from ezeep_async.testing import ReadOnlyTokenStoreContract, TokenStoreContract
from ezeep_async.testing.store_checks import MakeStore, StoreChecks


WRONG = [
    ("test_it_satisfies_the_protocol", LacksAMethod, "lacks a method"),
    ("test_it_satisfies_the_protocol", AwaitsItsLock, "asynchronous context manager"),
    ("test_the_lock_is_free_after_use", NeverGivesBack, "after its release"),
    (
        "test_the_release_keeps_the_mark_of_a_refresh_that_was_not_saved",
        MarksWithoutAnEnd,
        "needs end_refresh",
    ),
    (
        "test_the_release_keeps_the_mark_of_a_refresh_that_was_not_saved",
        ReleasesItsMark,
        "gives None after a release",
    ),
    ("test_the_lock_is_free_after_use", HasNoFinally, "after an exception inside"),
    ("test_the_lock_is_free_after_use", SwallowsErrors, "suppressed an exception"),
    ("test_the_lock_is_free_after_use", LendsLocksThatLeak, "after an exception inside"),
    ("test_the_lock_is_free_after_a_cancellation", HasNoFinally, "after its holder was cancelled"),
    ("test_the_lock_is_free_after_a_cancellation", LeaksWhenCancelled, "after its holder was cancelled"),
    ("test_the_lock_is_free_after_a_cancellation", LendsLocksThatLeak, "after its holder was cancelled"),
    ("test_it_works_in_one_event_loop_after_another", HasAnAsyncioLock, "a different event loop"),
    (
        "test_the_lock_excludes_event_loops_in_other_threads",
        HasAnAsyncioLock,
        "not acquired in another thread",
    ),
    ("test_the_lock_excludes_event_loops_in_other_threads", HasNoLock, "acquired in another thread while"),
    ("test_a_token_set_is_loaded_as_it_was_saved", ShowsItsTokens, "contains a token"),
    ("test_it_is_bound_to_one_client_and_host", IsBoundOnce, "refused the client and host"),
    ("test_it_is_bound_to_one_client_and_host", IsBoundByAnybody, "nothing was raised"),
    ("test_it_is_bound_to_one_client_and_host", IsBoundByTheAccountOnly, "nothing was raised"),
    ("test_the_token_set_of_another_client_or_host_is_refused", ForgetsWhoseItIs, "nothing was raised"),
    ("test_the_token_set_of_another_client_or_host_is_refused", TellsWhoseItIs, "contains a token"),
    ("test_every_load_sees_what_was_saved_last", GivesAnEmptyLogin, "for an empty store"),
    ("test_a_token_set_is_loaded_as_it_was_saved", LosesExpiresIn, "expires_in was .* gives 'None'"),
    ("test_a_token_set_is_loaded_as_it_was_saved", SavesMinutes, "expires_at is .* away"),
    ("test_a_token_set_is_loaded_as_it_was_saved", ForgetsTheZone, "expires_at is 1:00:00 away"),
    ("test_a_token_set_is_loaded_as_it_was_saved", HasAShortField, "access_token was 'aaa"),
    ("test_a_token_set_is_loaded_as_it_was_saved", QuotesByHand, "access_token was"),
    ("test_a_token_set_is_loaded_as_it_was_saved", TakesNothingForTheDefault, "scope was ''"),
    ("test_a_token_set_is_loaded_as_it_was_saved", ShowsWhatItLoaded, "contains a token"),
    ("test_every_load_sees_what_was_saved_last", Merges, "expires_in was 'None'"),
    ("test_every_load_sees_what_was_saved_last", MergesTheScope, "scope was ''"),
    (
        "test_every_load_sees_what_was_saved_last",
        RemembersWhatItLoaded,
        "what another store object saved",
    ),
    ("test_clear_removes_the_token_set", ClearsNothing, "after clear"),
    ("test_clear_removes_the_token_set", CannotBeUsedAfterClearing, "saved after clear"),
    ("test_clear_removes_the_token_set", ClearsOnce, "raises KeyError"),
    ("test_check_writable_changes_nothing", ProbesWithALogin, "for an empty store after check_writable"),
    ("test_check_writable_changes_nothing", ProbesByRemoving, "None for the token set after check_writable"),
    ("test_the_lock_excludes_another_task", HasNoLock, "while another task held it"),
    (
        "test_the_lock_excludes_another_task",
        HasALockOfItsOwn,
        "another task with another store object held it",
    ),
    (
        "test_the_lock_excludes_another_task",
        LendsLocksToOne,
        "another task with another store object held it",
    ),
    (
        "test_the_lock_excludes_another_task",
        LendsSlowLocksThatExcludeNone,
        "while another task held it",
    ),
    ("test_one_task_at_a_time_holds_the_lock", HasNoLock, "two tasks held"),
    ("test_one_task_at_a_time_holds_the_lock", HasALockOfItsOwn, "two tasks held"),
    (
        "test_a_cancelled_waiter_does_not_release_the_lock",
        GivesBackWhatItDoesNotHold,
        "released the lock of another task",
    ),
    (
        "test_a_cancelled_waiter_does_not_release_the_lock",
        LendsLocksThatWaitersRelease,
        "released the lock of another task",
    ),
    ("test_a_cancelled_waiter_does_not_release_the_lock", GoesOnWhenCancelled, "did not end"),
    ("test_a_cancelled_waiter_does_not_release_the_lock", HandsOverToTheDead, "after a waiter was cancelled"),
    ("test_a_waiter_cancelled_on_its_turn_passes_the_lock_on", KeepsTheTurnOfTheCancelled, "on its turn"),
    ("test_a_shared_lock_leaves_other_names_and_the_lock_free", LendsOneLock, "every other name"),
    ("test_a_shared_lock_leaves_other_names_and_the_lock_free", LendsItsOwnLock, "a refresh would deadlock"),
    ("test_a_shared_lock_can_be_released_by_another_task", LendsLocksTiedToATask, "by another task"),
    ("test_two_sessions_share_the_token_set", HasNoLock, "2 refreshes of 1 token sets|calls failed"),
    ("test_two_sessions_share_the_token_set", HasALockOfItsOwn, "2 refreshes of 1 token sets|calls failed"),
    ("test_two_sessions_share_the_token_set", KeepsTheFirst, "2 refreshes of 1 token sets|calls failed"),
    ("test_two_sessions_share_the_token_set", RemembersWhatItLoaded, "refreshes of|calls failed"),
    ("test_two_sessions_share_the_token_set", ClearsNothing, "after revoke"),
    ("test_two_sessions_share_the_token_set", Logs, "the log contains a token"),
    ("test_a_refresh_with_all_callers_cancelled_is_saved", KeepsTheFirst, "was not saved"),
    ("test_a_refresh_with_all_callers_cancelled_is_saved", KeepsTheFirstRefreshToken, "was not saved"),
]
"""A test of the contract, a store that fails it, and words of the failure."""

STUCK = {NeverGivesBack, HasNoFinally, LeaksWhenCancelled, GoesOnWhenCancelled, HandsOverToTheDead, HasAnAsyncioLock,
         KeepsTheTurnOfTheCancelled, LendsLocksThatLeak, LendsOneLock, LendsItsOwnLock}  # shorter than one item a line  # fmt: skip
"""Stores with a waiter that waits forever: the contract waits a short time for it."""


def labels_of(rows: list[tuple[str, type, str]]) -> list[str]:
    return [f"{name.removeprefix('test_')}-{kind.__name__}" for name, kind, _ in rows]


def names_of(contract: type) -> set[str]:
    return {name for name in dir(contract) if name.startswith("test_")}


def failures(
    contract: type[StoreChecks], name: str, make_store: Callable[[], MakeStore], **given: object
) -> list[str]:
    """Return the message of each failing case of a test, which is called as pytest would call it."""
    messages: list[str] = []
    method = getattr(contract, name)
    cases: list[dict[str, object]] = [{}]
    for mark in getattr(method, "pytestmark", []):
        labels, values = mark.args
        rows = [(value,) if isinstance(labels, str) else value for value in values]
        labels = [labels] if isinstance(labels, str) else labels
        cases = [dict(zip(labels, row, strict=True)) for row in rows]
    fixtures = {
        label: value for label, value in given.items() if label in inspect.signature(method).parameters
    }
    for case in cases:
        tests = contract()
        tests.use_stores(make_store())
        try:
            method(tests, **fixtures, **case)
        except (AssertionError, RuntimeError) as error:
            messages.append(str(error))
    return messages


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind", "words"), WRONG, ids=labels_of(WRONG))
def test_the_contract_finds_faulty_stores(
    name: str, kind: type[Shelf], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A test that no store can fail proves nothing."""

    class Patient(TokenStoreContract):
        patience = 0.2 if kind in STUCK else 10.0

    messages = failures(Patient, name, lambda: shelves(kind), caplog=caplog)
    assert messages
    assert all(re.search(words, each) for each in messages), messages


WRONG_FILES = [
    ("test_it_does_not_block_the_event_loop", SavesOnTheLoop, r"save\(\) blocks the event loop"),
    (
        "test_the_lock_excludes_another_process",
        LocksInItsProcessOnly,
        "acquired in another process while it was held",
    ),
    (
        "test_the_lock_excludes_another_process",
        LendsLocksInItsProcessOnly,
        "acquired in another process while it was held",
    ),
    (
        "test_check_writable_raises_when_saving_is_impossible",
        ProbesNothing,
        "check_writable.*nothing was raised",
    ),
    (
        "test_a_write_whose_response_is_lost_is_not_taken_for_that_of_another_process",
        TakesItsOwnWriteForThatOfAnother,
        "another process has written.*after the response to a write of",
    ),
]


@pytest.mark.slow
@pytest.mark.may_block
@pytest.mark.parametrize(("name", "kind", "words"), WRONG_FILES, ids=labels_of(WRONG_FILES))
def test_the_contract_finds_faulty_file_stores(
    name: str, kind: type[FileTokenStore], words: str, tmp_path: Path
) -> None:
    """With the optional fixtures."""
    path = tmp_path / "login.json"
    make_store = partial(kind, path)
    lost = TakesItsOwnWriteForThatOfAnother.loses
    given = {
        "make_store_elsewhere": make_store,
        "make_unwritable": partial(in_the_way, path),
        "make_response_lost": lambda: lost.append(True),
    }
    messages = failures(TokenStoreContract, name, lambda: make_store, **given)
    assert messages
    assert all(re.search(words, each) for each in messages), messages


def test_each_test_of_the_contract_is_failed_by_some_store() -> None:
    assert {name for name, *_ in WRONG + WRONG_FILES} == names_of(TokenStoreContract)


WRONG_VAULTS = [
    ("test_every_load_reads_the_source", GivesNothing, "gives None"),
    ("test_every_load_reads_the_source", GivesTheFirst, "another token set"),
    ("test_nothing_can_be_saved", SaysNothing, "check_writable.*nothing was raised"),
    ("test_nothing_can_be_saved", SavesNothing, "save.*nothing was raised"),
    ("test_nothing_can_be_saved", ShowsWhatItRefuses, "contains a token"),
    ("test_nothing_can_be_saved", SavesAllTheSame, "another token set"),
    ("test_every_load_reads_the_source", ShowsItsBox, "contains a token"),
    ("test_a_session_never_refreshes", GivesNothing, "valid access token failed"),
    ("test_a_session_never_refreshes", SaysNothing, "nothing was raised"),
]


@pytest.mark.parametrize(("name", "kind", "words"), WRONG_VAULTS, ids=labels_of(WRONG_VAULTS))
def test_the_read_only_contract_finds_faulty_stores(name: str, kind: type[Vault], words: str) -> None:
    box: list[TokenSet] = []
    messages = failures(ReadOnlyTokenStoreContract, name, lambda: lambda: kind(box), put_login=box.append)
    assert messages
    assert all(re.search(words, each) for each in messages), messages


def test_each_test_of_the_read_only_contract_is_failed_by_some_store() -> None:
    """What both contracts have in common is failed above."""
    own = names_of(ReadOnlyTokenStoreContract) - names_of(TokenStoreContract)
    assert {name for name, *_ in WRONG_VAULTS} >= own
