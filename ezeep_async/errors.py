"""One tree of errors, one base, one class per decision that a caller can make.

Every error can be pickled and copied, so that it may cross a process pool or a task queue, and none of them
shows a secret: attributes and messages are made from what is safe to log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal, Protocol, TypeVar
from uuid import UUID

import attrs


R_co = TypeVar("R_co", covariant=True)

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class EzeepError(Exception):
    """The base of everything that this package raises on purpose.

    `items_so_far` and `resume_offset` are set when a listing broke off: what had been read until then, and the
    `offset=` with which to list the rest, from a server that pages by offset. One that does not begins anew.

    For those who retry by their own means, with `Settings(retries=0)`: `retryable` says whether the same call, made
    again, may go well and does no harm twice; `retry_after` is how many seconds the server asked to wait before.

    `may_have_happened` is true for a write that was perhaps carried out, by this attempt or by an earlier one.
    """

    items_so_far: Sequence[object] | None = None
    resume_offset: int | None = None
    retryable: bool = False
    retry_after: float | None = None
    may_have_happened: bool = False


def is_retryable(error: BaseException) -> bool:
    """Whether the call that raised this may be made again: `error.retryable`, and False for errors of others.

    For `stamina.retry(on=is_retryable)`, tenacity's `retry_if_exception(is_retryable)` and the like.
    """
    return isinstance(error, EzeepError) and error.retryable


# --- logging in, and staying logged in -----------------------------------------------------------------------------


class AuthenticationError(EzeepError):
    """The service does not accept who we say we are.

    `error` is the code of RFC 6749 section 5.2 where the server gave one, `status` the HTTP status.
    """

    def __init__(
        self,
        message: str,
        *,
        error: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.error = error
        self.status = status
        self.request_id = request_id


class ReauthorizationRequired(AuthenticationError):
    """Nothing that a program can do helps: a person must log in again."""


class TransientAuthError(AuthenticationError):
    """The login could not be renewed just now. It is not lost: try later."""

    retryable = True


class AuthorizationDenied(AuthenticationError):
    """The person, or the server, declined the login (RFC 6749 section 4.1.2.1)."""


class StateMismatch(AuthorizationDenied):
    """The redirect does not belong to the request that was made: a forged or replayed one (RFC 6749 section 10.12)."""


class PairingTimeout(AuthenticationError, TimeoutError):
    """Nobody confirmed the pairing in time."""


class TokenStoreError(EzeepError):
    """The place where the login is kept cannot be used."""


class TokenStoreCorrupt(TokenStoreError):
    """The stored login cannot be read. What is there was left as it is."""


class TokenPersistError(TokenStoreError):
    """A new login was issued but could not be stored. It stays usable in this process only."""


# --- answers -------------------------------------------------------------------------------------------------------


class ApiError(EzeepError):
    """The server answered, and the answer is no.

    `status` is the HTTP status, `headers` the answer's headers (names without regard to case, cookies left out),
    `body` the decoded JSON or else the text (at most 4096 characters of it), `field_errors` what is wrong with which
    field, `request_id` the server's id of the request, or ours, `attempts` how often it was sent.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        headers: Mapping[str, str] = NO_HEADERS,
        body: object = None,
        field_errors: Mapping[str, Sequence[str]] | None = None,
        request_id: str | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers: Mapping[str, str] = dict(headers) if headers is NO_HEADERS else headers
        self.body = body
        self.field_errors: dict[str, list[str]] = {k: list(v) for k, v in (field_errors or {}).items()}
        self.request_id = request_id
        self.attempts = attempts


class BadRequest(ApiError):
    """400 or 422: the input is not acceptable; `field_errors` says where."""


class PermissionDenied(ApiError):
    """403: this login may not do that."""


class NotFound(ApiError):
    """404 or 410: no such thing."""


class Conflict(ApiError):
    """409 or 412: it contradicts what is there."""


class RateLimited(ApiError):
    """429, and waiting it out was not possible within the limits that are set."""

    def __init__(self, message: str, *, retry_after: float | None = None, **details: object) -> None:
        super().__init__(message, **details)  # type: ignore[arg-type]  # the same keywords as the base
        self.retry_after = retry_after


class ServerError(ApiError):
    """5xx: the server, or something in front of it, failed."""


class UnexpectedResponse(EzeepError):
    """An answer that is not what the API documents: not JSON, the wrong shape, too large, or a redirect.

    `path` is the JSON path of the value that did not fit, where there is one; `excerpt` the beginning of the body.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        path: str | None = None,
        excerpt: str = "",
        request_id: str | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.path = path
        self.excerpt = excerpt
        self.request_id = request_id
        self.attempts = attempts


class UnexpectedRedirect(UnexpectedResponse):
    """The server wanted to send us elsewhere. Redirects are never followed: they carry tokens away."""


# --- no answer -----------------------------------------------------------------------------------------------------


class TransportError(EzeepError):
    """The network failed. `request_sent` is False when nothing left this machine, None when that is not known."""

    def __init__(
        self,
        message: str,
        *,
        request_sent: bool | None = None,
        request_id: str | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.request_sent = request_sent
        self.request_id = request_id
        self.attempts = attempts


class ConnectFailed(TransportError):
    """No connection came about: name resolution, refusal, proxy, or TLS."""


class RequestTimeout(TransportError):
    """No answer came in time."""


class Disconnected(TransportError):
    """The connection broke before the answer was complete."""


@attrs.frozen
class Sought:
    """By what a thing is found whose creation had no answer."""

    kind: Literal["group", "invitation"]
    name: str
    """The group's name, or the e-mail address that was invited."""
    organization_id: UUID | None = None
    """The group's organisation."""


class Reconciler(Protocol[R_co]):
    """An `EzeepSession`, or its blocking twin."""

    def reconcile(self, unknown: OutcomeUnknown, /) -> R_co:
        """See `OutcomeUnknown.reconcile`."""
        ...


class OutcomeUnknown(EzeepError):
    """A write whose answer was lost: it may have happened. The cause tells how the answer was lost.

    `sought` is what to look for, where that was a creation. It is all that the error knows of the call: it holds no
    session, and may be pickled, kept, and reconciled in another process.
    """

    may_have_happened = True

    def __init__(
        self,
        message: str,
        *,
        request_id: str | None = None,
        attempts: int = 1,
        sought: Sought | None = None,
    ) -> None:
        super().__init__(message)
        self.request_id = request_id
        self.attempts = attempts
        self.sought = sought

    def reconcile(self, session: Reconciler[R_co]) -> R_co:
        """Look up what became of it: `await error.reconcile(session)` gives a `Reconciled`, and so does the blocking
        twin without the `await`.

        Reads groups or invitations, and writes nothing. Raises `ValueError` for a write that created neither (from
        `session.request`), and what the listing raises. A request that is still on its way may be carried out
        after the look-up: `absent` is not for ever, and no client can know how long to wait.
        """
        return session.reconcile(self)


# --- decisions of this package -------------------------------------------------------------------------------------


class PaginationLoop(EzeepError):
    """The server keeps sending the same rows, or sends us in a circle: it would never end.

    Two pages in a row that are the same, with the same `count`, are taken for it as well. A listing can do that by
    chance, where a whole page of rows comes in ahead and as many go behind, all between two pages: list again then.
    So are new rows without end, ten times as many as the server ever counted and 10 000 more, in any case more than
    a million rows or 512 MiB in one reading (where there are so many, begin another one with
    `offset=error.resume_offset`), and a page of more than 10 000 rows that is ten times longer than what was asked for.
    """


class InconsistentListing(EzeepError):
    """No two readings of the listing in a row agree: it keeps changing, or the server contradicts itself."""


class ConcurrentModification(EzeepError):
    """Another writer changes the same user, or creates the same group, at the same time.

    The membership did not stay as it was set; or another process kept the lock of that user or organisation for longer than
    one call may take, and nothing was written; or this process was suspended for so long that it lost the lock during its
    write (`RedisTokenStore`), which is then marked with `may_have_happened`: compare, and write again.
    """


class AmbiguousName(EzeepError):
    """Several groups have that name, or several people that address. `ids` are theirs."""

    def __init__(self, message: str, *, ids: Sequence[UUID] = ()) -> None:
        super().__init__(message)
        self.ids = tuple(ids)


class ExternalGroup(EzeepError):
    """The group belongs to another directory (Azure, for one) and is not changed from here."""


class MissingPeople(EzeepError):
    """The input names people whom the organisation does not have. `people` are all of them."""

    def __init__(self, message: str, *, people: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.people = tuple(people)


class SafetyLimitExceeded(EzeepError):
    """The plan removes more than the limit allows, or an input that has to be exact names nothing. Nothing was written.

    `removals` is how many memberships it would remove, `limit` how many it may, `by_group` how many from which group.
    """

    def __init__(
        self,
        message: str,
        *,
        removals: int = 0,
        limit: int = 0,
        by_group: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(message)
        self.removals = removals
        self.limit = limit
        self.by_group: dict[str, int] = dict(by_group or {})


class StalePlan(EzeepError):
    """The organisation has changed since the plan was made, in ways that it must not be applied over. Nothing was written.

    `drift` says which ways, a sentence each. Changes that do no harm are merged, and raise nothing.
    """

    def __init__(self, message: str, *, drift: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.drift = tuple(drift)


class AuditLogError(EzeepError):
    """The audit log cannot be written, or cannot be read. What was not noted there first is not written to the server."""


OPENED_BEFORE_FORK = (
    "this EzeepSession was opened before a fork and belongs to the parent process: make one in each process, on a token "
    "store that they share"
)


class SessionClosed(EzeepError):
    """The session was closed, before the call or during it; or what it lived on has ended, or stayed in a parent process."""


class BlockingCallError(EzeepError, RuntimeError):
    """A blocking call on a thread that runs an event loop: it would stop that loop. Await the async method there."""


class InsecureEndpoint(EzeepError, ValueError):
    """The address is not https, and not on this machine."""
