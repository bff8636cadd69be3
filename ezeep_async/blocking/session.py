"""`run_sync` and the blocking twin: a view of the async classes, one line for each method.

Every call runs on the one background event loop of the process; see `portal`.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable
from operator import attrgetter
from types import TracebackType
from typing import ClassVar, Generic, Self, TypeVar

from ezeep_async._http.stats import Stats
from ezeep_async._runtime import forks
from ezeep_async._text.cleaning import check_kind
from ezeep_async.auth.oauth import OAuth
from ezeep_async.blocking import portal
from ezeep_async.blocking.descriptors import call, listing, on_loop, plain
from ezeep_async.errors import BlockingCallError, OutcomeUnknown, SessionClosed, TokenStoreError
from ezeep_async.models.reconciled import Reconciled
from ezeep_async.provisioning.service import Provisioning
from ezeep_async.resources.accounts import Accounts
from ezeep_async.resources.groups import Groups
from ezeep_async.resources.invitations import Invitations
from ezeep_async.resources.users import Users
from ezeep_async.session import EzeepSession


A = TypeVar("A")


class _Home:
    """Where the async session lives, and which one it is by now.

    Held by all parts of a blocking session and holding none of them, so that it goes with the last of them.
    """

    _homes: ClassVar[weakref.WeakKeyDictionary[EzeepSession, weakref.ref[_Home]]] = (
        weakref.WeakKeyDictionary()
    )

    def __init__(self, session: EzeepSession) -> None:
        self._session = session
        self._portal: portal.Portal | None = None
        self._closed = False

    @classmethod
    def of(cls, session: EzeepSession) -> _Home:
        """The one of this session: with two, the first that is forgotten would close the session of the other."""
        known = cls._homes.get(session)
        home = None if known is None else known()
        if home is None or home._closed:
            home = cls(session)
            cls._homes[session] = weakref.ref(home)
        return home

    def session(self) -> EzeepSession:
        """The session of this process, on the event loop of this process. Raises `SessionClosed` after the close."""
        if self._closed:
            raise SessionClosed("this BlockingSession is closed")
        current = portal.current()
        if self._portal is not current:
            if self._portal is not None:
                # The event loop that the session lived on is in another process, or has ended.
                forks.bury(self._session)
                self._session = self._session.again()
            self._portal = current
            current.at_exit(self._session.aclose, wait=portal.CLEANUP_WAIT)
        return self._session

    @property
    def _is_owner(self) -> bool:
        """Whether the session is open on the event loop of the blocking calls, and not on one of its user's."""
        home = self._portal
        return home is not None and not self._closed and self._session._is_open_on(home._loop)  # pyright: ignore[reportPrivateUsage]  # the two are one thing

    def __repr__(self) -> str:
        return repr(self._session)

    def close(self) -> None:
        """Close the session, if it was opened by a blocking call of this process."""
        is_owner, self._closed = self._is_owner, True
        if is_owner and not portal.exiting():
            try:
                portal.run_as("await session.aclose()", self._session.aclose)
            except BlockingCallError:
                self._closed = False
                raise

    # A default argument, as the module's globals are gone when it is collected at the end of the interpreter.
    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        home = self._portal
        if home is None or home.closing or not self._is_owner:
            return
        home.post(self._session.aclose)
        # Last, as a filter may make it an exception.
        _warn(
            "a BlockingSession was not closed: use `with run_sync(...)`, or call its close()",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )


class _Part(Generic[A]):
    """A blocking view of one part of the session."""

    def __init__(self, home: _Home, part: Callable[[EzeepSession], A]) -> None:
        self._home = home
        self._part = part

    @property
    def _aio(self) -> A:
        return self._part(self._home.session())


class BlockingOAuth(_Part[OAuth]):
    """The blocking twin of `OAuth`."""

    authorization_request = plain(OAuth.authorization_request)
    complete = call(OAuth.complete)
    exchange_code = call(OAuth.exchange_code)
    login_with_password = call(OAuth.login_with_password)
    pair = call(OAuth.pair)
    wait_for_pairing = call(OAuth.wait_for_pairing)
    refresh = call(OAuth.refresh)
    revoke = call(OAuth.revoke)


class BlockingGroups(_Part[Groups]):
    """The blocking twin of `Groups`."""

    list = listing(Groups.list)
    get = call(Groups.get)
    create = call(Groups.create)
    update = call(Groups.update)
    delete = call(Groups.delete)
    find = call(Groups.find)
    ensure = call(Groups.ensure)
    members = listing(Groups.members)


class BlockingUsers(_Part[Users]):
    """The blocking twin of `Users`."""

    list = listing(Users.list)
    get = call(Users.get)
    set_groups = call(Users.set_groups)
    add_to_groups = call(Users.add_to_groups)
    remove_from_groups = call(Users.remove_from_groups)
    change_groups = call(Users.change_groups)


class BlockingAccounts(_Part[Accounts]):
    """The blocking twin of `Accounts`."""

    list = listing(Accounts.list)
    get = call(Accounts.get)
    me = call(Accounts.me)
    update = call(Accounts.update)
    delete = call(Accounts.delete)


class BlockingInvitations(_Part[Invitations]):
    """The blocking twin of `Invitations`."""

    list = listing(Invitations.list)
    create = call(Invitations.create)
    find = call(Invitations.find)
    resend = call(Invitations.resend)


class BlockingProvisioning(_Part[Provisioning]):
    """The blocking twin of `Provisioning`. Callbacks run on the background thread."""

    plan = call(Provisioning.plan)
    apply = call(Provisioning.apply)
    undo = call(Provisioning.undo)


class BlockingSession:
    """The blocking twin of `EzeepSession`, for any thread that runs no event loop; several may share it.

    In a forked child it opens a session of its own on the same store, with its first call.
    """

    def __init__(self, session: EzeepSession) -> None:
        check_kind(session, EzeepSession, "session", "run_sync(EzeepSession(app, ...))")
        self._home = home = _Home.of(session)
        self.oauth = BlockingOAuth(home, attrgetter("oauth"))
        self.groups = BlockingGroups(home, attrgetter("groups"))
        self.users = BlockingUsers(home, attrgetter("users"))
        self.accounts = BlockingAccounts(home, attrgetter("accounts"))
        self.invitations = BlockingInvitations(home, attrgetter("invitations"))
        self.provisioning = BlockingProvisioning(home, attrgetter("provisioning"))

    request = call(EzeepSession.request)
    keep_alive = on_loop(EzeepSession.keep_alive)
    background = plain(EzeepSession.background)

    # Written out: in a protocol, type checkers do not bind what `call` makes.
    def reconcile(self, unknown: OutcomeUnknown, /) -> Reconciled:
        """Search for the object of a creation whose response was lost.

        The same as `unknown.reconcile(session)`; see `OutcomeUnknown.reconcile`.

        Args:
            unknown: The error of the creation.

        Returns:
            What was found: `created`, `absent` or `several`.

        Raises:
            ValueError: The write did not create a group or an invitation.
        """
        return portal.run_as("await error.reconcile(session)", self._aio.reconcile, unknown)

    @property
    def stats(self) -> Stats:
        """What this session has done so far."""
        return self._aio.stats

    @property
    def _aio(self) -> EzeepSession:
        return self._home.session()

    def __repr__(self) -> str:
        return f"<BlockingSession of {self._home!r}>"

    def __enter__(self) -> Self:
        portal.run_as("async with EzeepSession(...)", self._aio.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except TokenStoreError:
            if error is None:  # as in EzeepSession: it was logged, and another error is under way
                raise

    def close(self) -> None:
        """Close the session. May be called twice. Raises what `EzeepSession.aclose` raises."""
        self._home.close()

    aclose = close


def run_sync(session: EzeepSession) -> BlockingSession:
    """The blocking twin of `session`: the same attributes and methods, without `await`.

    Use it in a `with` block. A call on a thread that runs an event loop raises `BlockingCallError`. Do not use
    `session` itself on another event loop: it then belongs to the background one. A session that another event loop
    has opened raises `RuntimeError` with the first call, and stays open there. Called again with the same session, it
    returns a view of the same blocking session: closing one closes both.
    """
    return BlockingSession(session)
