"""The contract of token stores finds out what is wrong with a store: each of its tests can fail."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from broken_stores import (
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
    LendsLocksTiedToATask,
    LendsLocksToOne,
    LendsOneLock,
    LocksInItsProcessOnly,
    Logs,
    LosesExpiresIn,
    Merges,
    NeverGivesBack,
    ProbesByRemoving,
    ProbesNothing,
    ProbesWithALogin,
    QuotesByHand,
    RemembersWhatItLoaded,
    SavesAllTheSame,
    SavesMinutes,
    SavesNothing,
    SavesOnTheLoop,
    SaysNothing,
    ShowsItsBox,
    ShowsItsTokens,
    ShowsWhatItRefuses,
    SwallowsErrors,
    TakesNothingForTheDefault,
    TellsWhoseItIs,
)
from other_stores import Shelf, Vault, in_the_way, shelves

from ezeep_async import FileTokenStore, TokenSet
from ezeep_async.testing import ReadOnlyTokenStoreContract, TokenStoreContract


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
    ("test_a_shared_lock_keeps_others_out", LendsLocksToOne, "while another session held it"),
    ("test_a_shared_lock_is_free_again", LendsLocksThatLeak, "after an exception inside"),
    ("test_a_shared_lock_leaves_other_names_and_the_login_alone", LendsOneLock, "another name"),
    ("test_a_shared_lock_leaves_other_names_and_the_login_alone", LendsItsOwnLock, "a token refresh would"),
    ("test_a_shared_lock_may_be_given_back_by_another_task", LendsLocksTiedToATask, "by another task"),
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


WRONG_FILES = [
    ("test_the_event_loop_goes_on_while_the_store_works", SavesOnTheLoop, r"save\(\) blocks the event loop"),
    (
        "test_the_lock_keeps_another_process_out",
        LocksInItsProcessOnly,
        "had in another process while it was held",
    ),
    (
        "test_a_shared_lock_keeps_another_process_out",
        LendsLocksInItsProcessOnly,
        "had in another process while it was held",
    ),
    (
        "test_check_writable_says_so_when_nothing_can_be_stored",
        ProbesNothing,
        "check_writable.*nothing was raised",
    ),
]


@pytest.mark.may_block
@pytest.mark.parametrize(("name", "kind", "words"), WRONG_FILES, ids=labels_of(WRONG_FILES))
def test_the_contract_finds_out_what_is_wrong_with_a_file(
    name: str, kind: type[FileTokenStore], words: str, tmp_path: Path
) -> None:
    """With the optional fixtures."""
    path = tmp_path / "login.json"
    given = {
        "make_store": lambda: lambda: kind(path),
        "make_store_elsewhere": lambda: partial(kind, path),
        "make_unwritable": lambda: lambda: in_the_way(path),
    }
    said = failures(TokenStoreContract, name, **given)
    assert said
    assert all(re.search(words, each) for each in said), said


def test_each_test_of_the_contract_is_failed_by_some_store() -> None:
    assert {name for name, *_ in WRONG + WRONG_FILES} == names_of(TokenStoreContract)


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
