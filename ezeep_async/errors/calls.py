"""Errors of calls: responses, connections, ambiguous outcomes, listings, sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeVar, Unpack
from uuid import UUID

import attrs

from ezeep_async.errors.base import EzeepError, SentRequest


R_co = TypeVar("R_co", covariant=True)


class ApiError(EzeepError):
    """The server responded with an error status. Raised directly for one that no subclass represents.

    Attributes:
        status: HTTP status code.
        headers: Response headers; names are case-insensitive, and cookies are left out.
        body: Decoded JSON, or text of at most 4096 characters.
        field_errors: Messages for each field that the server rejected.
    """

    attempts = 1

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        headers: Mapping[str, str] | None = None,
        body: object = None,
        field_errors: Mapping[str, Sequence[str]] | None = None,
        retry_after: float | None = None,
        **request: Unpack[SentRequest],
    ) -> None:
        super().__init__(message, **request)
        self.status = status
        self.headers: Mapping[str, str] = {} if headers is None else headers
        self.body = body
        self.retry_after = retry_after
        self.field_errors: dict[str, list[str]] = {k: list(v) for k, v in (field_errors or {}).items()}


class BadRequest(ApiError):
    """The server rejected the input (400 or 422). `field_errors` names the fields to correct."""


class PermissionDenied(ApiError):
    """The logged-in user or the app lacks the permission for this call (403). `scope` is an OAuth scope to ask for."""

    scope: str | None = None


class NotFound(ApiError):
    """The requested object does not exist (404 or 410)."""


class Conflict(ApiError):
    """The request contradicts the current state on the server (409 or 412)."""


class RateLimited(ApiError):
    """The server throttled the call (429), and `Settings` do not allow a further retry. Wait for `retry_after` seconds."""


class ServerError(ApiError):
    """The server or a gateway failed (5xx), also after retries. Call again later."""


class UnexpectedResponse(EzeepError):
    """The response is not what the API documents: not JSON, of the wrong shape, or too large.

    A proxy or a wrong endpoint URL is the usual cause. Check both.

    Attributes:
        status: HTTP status code.
        path: JSON path of the value that could not be decoded, such as `$.results[0].id`, or None.
        excerpt: Beginning of the response body.
    """

    attempts = 1

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        path: str | None = None,
        excerpt: str = "",
        **request: Unpack[SentRequest],
    ) -> None:
        super().__init__(message, **request)
        self.status = status
        self.path = path
        self.excerpt = excerpt


class UnexpectedRedirect(UnexpectedResponse):
    """The server responded with a redirect, which is never followed because of the tokens. Correct the endpoint URL."""


# --- no response -----------------------------------------------------------------------------------------------------


class TransportError(EzeepError):
    """There was no complete response from the server. Retry if `retryable` is true.

    Attributes:
        request_sent: False if no part of the request was sent, True if it was sent, None if unknown.
    """

    attempts = 1

    def __init__(
        self, message: str, *, request_sent: bool | None = None, **request: Unpack[SentRequest]
    ) -> None:
        super().__init__(message, **request)
        self.request_sent = request_sent


class ConnectFailed(TransportError):
    """No connection could be opened: name resolution, refusal, proxy or TLS failed."""


class RequestTimeout(TransportError):
    """The response did not arrive within the time limits of `Settings`."""


class Disconnected(TransportError):
    """The connection was closed before the response was complete."""


@attrs.frozen
class Sought:
    """Identifies the object of a creation whose response was lost."""

    kind: Literal["group", "invitation"]
    """What was created."""
    name: str
    """Name of the group, or invited e-mail address."""
    organization_id: UUID | None = None
    """Organization of the group; None for an invitation."""


class Reconciler(Protocol[R_co]):
    """An `EzeepSession` or a `BlockingSession`."""

    def reconcile(self, unknown: OutcomeUnknown, /) -> R_co:
        """Search for the object of a creation whose response was lost."""
        ...


class OutcomeUnknown(EzeepError):
    """The response to a write was lost, so the write may have been carried out.

    Raised instead of a retry that could carry out the write twice. `__cause__` is the error of the last attempt.
    For a creation call `reconcile`; for another write read the object and compare.

    The error holds no session, so it can be pickled and reconciled in another process.

    Attributes:
        sought: What `reconcile` searches for, or None if the write did not create a group or an invitation.
    """

    may_have_happened = True
    attempts = 1

    def __init__(self, message: str, *, sought: Sought | None = None, **request: Unpack[SentRequest]) -> None:
        super().__init__(message, **request)
        self.sought = sought

    def reconcile(self, session: Reconciler[R_co]) -> R_co:
        """Search for the object of the creation whose response was lost.

        `await error.reconcile(session)` with an `EzeepSession`; with a `BlockingSession` the call blocks instead. Reads
        groups or invitations, and writes nothing.

        Args:
            session: A session of the same user; it need not be the one that raised the error.

        Returns:
            A `Reconciled` from a `BlockingSession`, and an awaitable of it from an `EzeepSession`.

        Raises:
            ValueError: The write did not create a group or an invitation: `sought` is None.
            EzeepError: The listing failed.

        Note:
            The server may still carry out the request after the search. `absent` is therefore not final.
        """
        return session.reconcile(self)


# --- decisions of this package ---------------------------------------------------------------------------------------


class PaginationLoop(EzeepError):
    """The server repeats rows or pages, so that the listing would never end.

    List again, with `offset=error.resume_offset` if that is set: rows that move while they are listed can look like a
    loop.

    Note:
        Raised for a link to a page that was already read, for two consecutive equal pages with the same `count`, and
        for more repeated rows in succession than there were different rows before them. Also raised when one reading
        exceeds ten times the largest `count` plus 10,000 rows, 1,000,000 rows or 512 MiB, and for a page of more than
        10,000 rows that is ten times larger than requested.
    """


class InconsistentListing(EzeepError):
    """The listing keeps changing, or the server contradicts itself. Try again later.

    Each of three readings showed that the listing changes, or, for `collect(consistent=True)`, no two consecutive
    readings agreed.
    """


class ConcurrentModification(EzeepError):
    """Another writer changed the same user or printer, or created the same group, at the same time.

    Read the current state, compare, and write again. Raised in three cases:

    - The groups of the user or printer differ from those that were set.
    - Another process held the lock for longer than one call may take. Nothing was written.
    - This process was suspended during its write and lost the lock (`RedisTokenStore`). `may_have_happened` is true.
    """


class AmbiguousName(EzeepError):
    """Several groups or printers have the name, or several users have the e-mail address. Use an id instead.

    Attributes:
        ids: Ids of the groups, printers or users.
    """

    def __init__(self, message: str, *, ids: Sequence[UUID] = ()) -> None:
        super().__init__(message)
        self.ids = tuple(ids)


OPENED_BEFORE_FORK = (
    "this EzeepSession was opened before a fork and belongs to the parent process: make one in each process, with a "
    "token store that they share"
)
"""The message of `SessionClosed` in a forked child."""


class SessionClosed(EzeepError):
    """The session was closed before or during the call, or belongs to the parent process. Open a new one."""


class BlockingCallError(EzeepError, RuntimeError):
    """A blocking call was made on a thread that runs an event loop, and would have stopped that loop.

    Also a `RuntimeError`. Await the method of an `EzeepSession` there. In a process whose threads eventlet has replaced, every
    blocking call raises it.
    """


class InsecureEndpoint(EzeepError, ValueError):
    """The endpoint URL is not https, and its host is not a loopback address. Use an https:// URL."""
