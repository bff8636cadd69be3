"""`run_sync` and `BlockingSession`: the blocking form of `EzeepSession`.

Each method is declared once, from its async method. All calls run on the one background event loop (see `portal`).
"""

from __future__ import annotations

import asyncio
import warnings
import weakref
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar, Unpack, overload

from ezeep_async._http.stats import Stats
from ezeep_async._parts import part, view_of
from ezeep_async._runtime import forks
from ezeep_async._runtime.syntax import Blocking
from ezeep_async._text.cleaning import check_kind
from ezeep_async.auth.oauth import OAuth
from ezeep_async.blocking import portal
from ezeep_async.blocking.descriptors import call, listing, on_loop, plain, shaped
from ezeep_async.blocking.printing import BlockingPrinting
from ezeep_async.errors import BlockingCallError, SessionClosed, TokenStoreError
from ezeep_async.models.accounts import AccountUser, Invitation
from ezeep_async.models.groups import Group
from ezeep_async.provisioning.service import Provisioning
from ezeep_async.resources.accounts import Accounts
from ezeep_async.resources.assignments import PrinterAssignments
from ezeep_async.resources.connectors import Connectors, Drivers
from ezeep_async.resources.groups import Groups
from ezeep_async.resources.invitations import Invitations
from ezeep_async.resources.people import People
from ezeep_async.resources.printers import Printers
from ezeep_async.resources.printing import Printing
from ezeep_async.resources.reports import Reports
from ezeep_async.resources.users import Users
from ezeep_async.resources.webhooks import Webhooks
from ezeep_async.session import EzeepSession
from ezeep_async.settings import CallOptions


if TYPE_CHECKING:
    from ezeep_async.blocking.pool import BlockingSessionPool
    from ezeep_async.pool import SessionPool

A = TypeVar("A")
Z = TypeVar("Z", bound="Reopenable")


class Reopenable(Protocol):
    """An `EzeepSession` or a `SessionPool`."""

    async def aclose(self) -> None:
        """Close it."""
        ...

    def again(self) -> Self:
        """Make another one with the same arguments."""
        ...

    def _is_open_on(self, loop: asyncio.AbstractEventLoop | None) -> bool: ...


class Shared(Generic[Z]):
    """The async session that the parts of a `BlockingSession` share, and the event loop that it is open on; or a pool.

    The parts refer to it and not the other way round, so it is finalized with the last of them.
    """

    def __init__(self, session: Z) -> None:
        self._session = session
        self._kind = type(session).__name__
        self._portal: portal.Portal | None = None
        self.is_closed = False

    @property
    def _name(self) -> str:
        return f"Blocking{self._kind.removeprefix('Ezeep')}"

    def session(self) -> Z:
        """Return the session for the event loop of this process. Raises `SessionClosed` after the close."""
        if self.is_closed:
            raise SessionClosed(
                f"this {self._name} is closed: make another one with run_sync({self._kind}(...))"
            )
        current = portal.current()
        if self._portal is not current:
            if self._portal is not None:
                # The session's event loop belongs to the parent process, or has ended.
                forks.keep_forever(self._session)
                self._session = self._session.again()
            self._portal = current
            current.sessions[id(self._session)] = self._session
        return self._session

    @property
    def _owner(self) -> portal.Portal | None:
        """The portal, if the session is open on its event loop, and not on another one."""
        owner = self._portal
        if owner is None or owner.closing or self.is_closed:
            return None
        return owner if self._session._is_open_on(owner.loop) else None  # pyright: ignore[reportPrivateUsage]  # the async session that this one wraps

    def __repr__(self) -> str:
        return repr(self._session)

    def close(self) -> None:
        """Close the session if it is open on the background event loop."""
        owner, self.is_closed = self._owner, True
        if owner is not None:
            try:
                owner.run("await session.aclose()", self._session.aclose)
            except BlockingCallError:
                self.is_closed = False
                raise

    # A default argument, because the module's globals are None at the end of the interpreter.
    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if (owner := self._owner) is not None:
            owner.post(self._session.aclose)
            # Last, because a warning filter may raise it.
            _warn(
                f"a {self._name} was not closed: use `with run_sync(...)`, or call its close()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )


_all: weakref.WeakValueDictionary[int, Shared[Any]] = weakref.WeakValueDictionary()


def shared_by(session: Z) -> Shared[Z]:
    """Return the one object of this session or pool: a second one would close it when it is finalized."""
    shared: Shared[Z] | None = _all.get(id(session))
    if shared is None or shared.is_closed:
        shared = _all[id(session)] = Shared(session)
    return shared


class _View:
    """A shared session with the options of `BlockingSession.with_options`."""

    def __init__(self, shared: Shared[EzeepSession] | _View, options: CallOptions) -> None:
        self._shared = shared
        self._options = options
        self._made = self._make(shared.session())

    def session(self) -> EzeepSession:
        """Return the view of the session for the event loop of this process."""
        session = self._shared.session()
        made = self._made
        if made[0] is not session:
            # Read and assigned in one step each, as other threads use it too.
            made = self._made = self._make(session)
        return made[1]

    def _make(self, session: EzeepSession) -> tuple[EzeepSession, EzeepSession]:
        """The session, and its view."""
        return session, session.with_options(**self._options)

    def __repr__(self) -> str:
        return repr(self._made[1])

    def close(self) -> None:
        """Do nothing: a view has no lifetime of its own."""


def _shared_by(session: EzeepSession) -> Shared[EzeepSession] | _View:
    session, options = session._origin()  # pyright: ignore[reportPrivateUsage]  # the async session that this one wraps
    shared = shared_by(session)
    return _View(shared, options) if options else shared


class _BlockingResource(Generic[A]):
    """Base class of the blocking resources."""

    def __init__(self, shared: Shared[EzeepSession] | _View, name: str) -> None:
        self._shared = shared
        self._name = name
        self._called = f"session.{name}"

    @property
    def _aio(self) -> A:
        resource: A = getattr(self._shared.session(), self._name)
        return resource


class BlockingGroups(_BlockingResource[Groups]):
    """Groups and their members; the blocking form of `Groups`."""

    list = listing(Groups.list, Group)
    get = call(Groups.get)
    create = call(Groups.create)
    update = call(Groups.update)
    delete = call(Groups.delete)
    find = call(Groups.find)
    ensure = call(Groups.ensure)
    members = listing(Groups.members)


class BlockingProvisioning(_BlockingResource[Provisioning]):
    """Plan and apply the members and printers of groups; the blocking form of `Provisioning`. Callbacks run in the background thread."""

    plan = call(Provisioning.plan)
    apply = call(Provisioning.apply)
    undo = call(Provisioning.undo)


class BlockingUsers(_BlockingResource[Users]):
    """Users of the printing API and their groups; the blocking form of `Users`."""

    list = listing(Users.list)
    get = call(Users.get)
    set_groups = call(Users.set_groups)
    add_to_groups = call(Users.add_to_groups)
    remove_from_groups = call(Users.remove_from_groups)
    change_groups = call(Users.change_groups)


class BlockingInvitations(_BlockingResource[Invitations]):
    """Invitations to the organization; the blocking form of `Invitations`."""

    list = listing(Invitations.list, Invitation)
    create = call(Invitations.create)
    find = call(Invitations.find)
    resend = call(Invitations.resend)


class BlockingAccounts(_BlockingResource[Accounts]):
    """Account users; the blocking form of `Accounts`."""

    list = listing(Accounts.list, AccountUser)
    get = call(Accounts.get)
    me = call(Accounts.me)
    update = call(Accounts.update)
    delete = call(Accounts.delete)


class BlockingPeople(_BlockingResource[People]):
    """Users with their names and e-mail addresses; the blocking form of `People`."""

    list = listing(People.list)
    get = call(People.get)


class BlockingPrinters(_BlockingResource[Printers]):
    """Printers of the logged-in user; the blocking form of `Printers`."""

    list = listing(Printers.list)
    get = call(Printers.get)
    find = call(Printers.find)
    properties = call(Printers.properties)


class BlockingPrinterAssignments(_BlockingResource[PrinterAssignments]):
    """Which groups may use which printer; the blocking form of `PrinterAssignments`."""

    list = listing(PrinterAssignments.list)
    assign = call(PrinterAssignments.assign)
    remove = call(PrinterAssignments.remove)


class BlockingConnectors(_BlockingResource[Connectors]):
    """What connects printers with ezeep; the blocking form of `Connectors`."""

    list = listing(Connectors.list)


class BlockingDrivers(_BlockingResource[Drivers]):
    """The printer drivers that ezeep knows; the blocking form of `Drivers`."""

    vendors = call(Drivers.vendors)
    list = listing(Drivers.list)


class BlockingWebhooks(_BlockingResource[Webhooks]):
    """Endpoints that ezeep posts events to; the blocking form of `Webhooks`."""

    list = listing(Webhooks.list)
    create = call(Webhooks.create)
    get = call(Webhooks.get)
    update = call(Webhooks.update)
    delete = call(Webhooks.delete)


class BlockingReports(_BlockingResource[Reports]):
    """Reports on printed jobs; the blocking form of `Reports`."""

    create = call(Reports.create)
    get = call(Reports.get)
    wait = call(Reports.wait)
    download = call(Reports.download)


class BlockingOAuth(_BlockingResource[OAuth]):
    """Log in, pair a device, refresh and revoke tokens; the blocking form of `OAuth`."""

    authorization_request = plain(OAuth.authorization_request)
    complete = call(OAuth.complete)
    exchange_code = call(OAuth.exchange_code)
    login_with_password = call(OAuth.login_with_password)
    login_with_client_credentials = call(OAuth.login_with_client_credentials)
    pair = call(OAuth.pair)
    wait_for_pairing = call(OAuth.wait_for_pairing)
    refresh = call(OAuth.refresh)
    revoke = call(OAuth.revoke)


def _resource(kind: str) -> Any:
    return part(f"blocking.session.{kind}", lambda kind, session, name: kind(session._shared, name))


def _printing_of(shared: Shared[EzeepSession] | _View) -> Printing:
    return shared.session().printing


def _view(session: BlockingSession, /, **options: Unpack[CallOptions]) -> BlockingSession:
    view = view_of(session)
    view._shared = _View(session._shared, options)  # pyright: ignore[reportPrivateUsage]  # a method of this class
    return view


class BlockingSession(Blocking):
    """A session with blocking calls, for threads that run no event loop. Made by `run_sync`.

    It has the attributes and methods of `EzeepSession`, without `await`. Several threads may share it. Close it with a
    `with` block or `close()`. In a forked child the first call opens a session of the child, with the same token store.

    Args:
        session: The async session that makes the calls, on the background event loop of this process.

    Raises:
        TypeError: `session` is not an `EzeepSession`.

    Note:
        Every call blocks until its result is there. In addition to the errors that `EzeepSession` lists, it can raise:

        - `BlockingCallError`: the thread runs an event loop, and is not in a cell of a notebook; or eventlet is in use.
        - `SessionClosed`: this session is closed, or the interpreter is exiting.
        - `RuntimeError`: the async session is open on another event loop.
        - `KeyboardInterrupt`: after Ctrl-C the call is cancelled and has up to 40 seconds to clean up, so that a token
          refresh completes. A second Ctrl-C does not wait.
    """

    _called = "session"

    oauth: BlockingOAuth = _resource("BlockingOAuth")
    """Log in, pair a device, refresh and revoke tokens."""
    users: BlockingUsers = _resource("BlockingUsers")
    """Users of the printing API and their groups."""
    groups: BlockingGroups = _resource("BlockingGroups")
    """Groups and their members."""
    accounts: BlockingAccounts = _resource("BlockingAccounts")
    """Account users: names, e-mail addresses, roles."""
    people: BlockingPeople = _resource("BlockingPeople")
    """Users of the printing API with their names and e-mail addresses."""
    invitations: BlockingInvitations = _resource("BlockingInvitations")
    """Invitations to the organization."""
    printers: BlockingPrinters = _resource("BlockingPrinters")
    """Printers of the logged-in user."""
    printing: BlockingPrinting = part(
        "blocking.printing.BlockingPrinting",
        lambda kind, session, _: kind(partial(_printing_of, session._shared)),
    )
    """Print documents, and follow their jobs."""
    printer_assignments: BlockingPrinterAssignments = _resource("BlockingPrinterAssignments")
    """Which groups may use which printer."""
    connectors: BlockingConnectors = _resource("BlockingConnectors")
    """What connects printers with ezeep."""
    drivers: BlockingDrivers = _resource("BlockingDrivers")
    """The printer drivers that ezeep knows."""
    webhooks: BlockingWebhooks = _resource("BlockingWebhooks")
    """Endpoints that ezeep posts events to."""
    reports: BlockingReports = _resource("BlockingReports")
    """Reports on printed jobs."""
    provisioning: BlockingProvisioning = _resource("BlockingProvisioning")
    """Plan and apply the members and printers of groups."""

    def __init__(self, session: EzeepSession) -> None:
        check_kind(session, EzeepSession, "session", "run_sync takes that or a SessionPool")
        self._shared = _shared_by(session)

    request = call(EzeepSession.request)
    keep_alive = on_loop(EzeepSession.keep_alive)
    with_options = shaped(EzeepSession.with_options, _view)
    background = plain(EzeepSession.background)
    reconcile = call(EzeepSession.reconcile)

    @property
    def stats(self) -> Stats:
        """Counters of this session: calls, requests, retries, rejected requests and token refreshes."""
        return self._aio.stats

    @property
    def _aio(self) -> EzeepSession:
        return self._shared.session()

    def __repr__(self) -> str:
        return f"<BlockingSession of {self._shared!r}>"

    def __enter__(self) -> Self:
        portal.run("async with EzeepSession(...)", self._aio.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except TokenStoreError:
            if error is None:  # already logged as critical; an error of the block takes precedence
                raise

    def close(self) -> None:
        """Close the session and its connections.

        Blocks until a token refresh in progress has ended; calls of other threads raise `SessionClosed`. A second call
        does nothing.

        Raises:
            BlockingCallError: This thread runs an event loop. The session stays open.
            TokenPersistError: The latest token set could not be saved.
        """
        self._shared.close()

    aclose = close


@overload
def run_sync(session: EzeepSession) -> BlockingSession: ...
@overload
def run_sync(session: SessionPool) -> BlockingSessionPool: ...
def run_sync(session: EzeepSession | SessionPool) -> BlockingSession | BlockingSessionPool:
    """Make a session with blocking calls from an `EzeepSession`, or a pool of them from a `SessionPool`.

    The result has the same attributes and methods, without `await`. Use it in a `with` block:

        with run_sync(EzeepSession(app, store)) as session:
            session.accounts.me()

    Do not use `session` itself afterwards: it belongs to the background event loop.

    Args:
        session: A session or pool that is not open on another event loop. If it is, the first call raises `RuntimeError`,
            and it stays open there.

    Returns:
        The blocking session or pool. A second call with the same session returns a view of it: closing one closes both.

    Raises:
        TypeError: `session` is neither an `EzeepSession` nor a `SessionPool`.
    """
    if not isinstance(session, EzeepSession):
        from ezeep_async.blocking.pool import BlockingSessionPool  # most programs do not use it
        from ezeep_async.pool import SessionPool

        if isinstance(session, SessionPool):
            return BlockingSessionPool(session)
    return BlockingSession(session)
