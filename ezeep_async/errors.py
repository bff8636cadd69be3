"""All errors of the package. Each class stands for one decision of the caller; see `docs/errors.md`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypedDict, TypeVar, Unpack
from uuid import UUID

import attrs


if TYPE_CHECKING:
    from ezeep_async.models.printing import JobStatus

R_co = TypeVar("R_co", covariant=True)


class SentRequest(TypedDict, total=False):
    """Keyword arguments of errors that belong to one call of the API."""

    request_id: str | None
    attempts: int


class EzeepError(Exception):
    """Base class of all errors that this package raises.

    Every error can be pickled and copied, and contains no secret.

    Attributes:
        request_id: Id of the request from the server, or else the one that the client sent, or None.
        attempts: Requests that were sent for this call; 0 for errors that belong to no request, such as those of a
            token refresh.
        items_so_far: Items that a failed listing had read, or None if no listing failed.
        resume_offset: `offset=` after the rows that were read, or None if no listing failed. Useful only if the server
            pages by offset.
        retryable: Whether the same call may succeed later and can be repeated without harm.
        retry_after: Seconds that the server asked to wait before a retry, or None.
        may_have_happened: Whether this write, in any of its attempts, was perhaps carried out.
    """

    attempts: int = 0
    items_so_far: Sequence[object] | None = None
    resume_offset: int | None = None
    retryable: bool = False
    retry_after: float | None = None
    may_have_happened: bool = False

    def __init__(self, *message: object, request_id: str | None = None, attempts: int | None = None) -> None:
        super().__init__(*message)
        self.request_id = request_id
        if attempts is not None:
            self.attempts = attempts


def is_retryable(error: BaseException) -> bool:
    """Return whether the call that raised `error` can be made again.

    A predicate for `stamina.retry(on=is_retryable)`, tenacity's `retry_if_exception(is_retryable)` and similar.

    Args:
        error: Any exception.

    Returns:
        `error.retryable` for an `EzeepError`, False for every other exception.
    """
    return isinstance(error, EzeepError) and error.retryable


# --- login and token refresh -----------------------------------------------------------------------------------------


class AuthenticationError(EzeepError):
    """The server rejected the credentials, such as a wrong client secret, or the session has none.

    Attributes:
        error: Error code of the server, such as `invalid_client` (RFC 6749 section 5.2), or None.
        status: HTTP status code, or None if there was no response.
    """

    def __init__(
        self,
        message: str,
        *,
        error: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message, request_id=request_id)
        self.error = error
        self.status = status


class ReauthorizationRequired(AuthenticationError):
    """A person must log in again: the server rejected the refresh token, or the token store is empty."""


class TransientAuthError(AuthenticationError):
    """The token refresh failed for now: no response, a server error or a rate limit. The token set is not lost."""

    retryable = True


class AuthorizationDenied(AuthenticationError):
    """The person or the server declined the login (RFC 6749 section 4.1.2.1). Start a new login."""


class StateMismatch(AuthorizationDenied):
    """The redirect does not match the authorization request: it is forged or replayed (RFC 6749 section 10.12)."""


class PairingTimeout(AuthenticationError, TimeoutError):
    """The pairing was not confirmed before its code expired. Start a new one."""


class TokenStoreError(EzeepError):
    """The token store cannot be read or written. The message names the cause, such as a path or its permissions."""


class TokenStoreCorrupt(TokenStoreError):
    """The stored token set cannot be decoded. Restore it from a backup, or remove it and log in again."""


class TokenPersistError(TokenStoreError):
    """A new token set was issued but could not be saved.

    The session continues with it, but other processes cannot read it. Correct the store, and call again or close the
    session: both save it again.
    """


# --- error responses -------------------------------------------------------------------------------------------------


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


class ExternalGroup(EzeepError):
    """The group is managed by another directory, such as Azure. Remove it from the input, or allow external groups."""


class MissingPeople(EzeepError):
    """The input contains members that were not found. Correct it, or choose another `on_missing`.

    Attributes:
        people: All members that were not found, as the input names them.
    """

    def __init__(self, message: str, *, people: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.people = tuple(people)


class SafetyLimitExceeded(EzeepError):
    """The plan removes too much, or an exact input is empty. Nothing was written. Check the input, or raise the limit.

    Attributes:
        removals: Memberships, or assignments of printers, that the plan would remove. `what` has their noun, too.
        limit: How many of them may be removed. `needed` is the `max_removals` that would allow the whole plan.
        by_group: How many of them the plan would remove from each group, by its name.
    """

    what: str = ""
    needed: int = 0

    def __init__(
        self, message: str, *, removals: int = 0, limit: int = 0, by_group: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(message)
        self.removals, self.limit = removals, limit
        self.by_group: dict[str, int] = dict(by_group or {})


class StalePlan(EzeepError):
    """The organization has changed since the plan was made, and the plan contradicts it. Nothing was written.

    Make a new plan. Changes that do not contradict the plan do not raise this error.

    Attributes:
        drift: One sentence for each change that contradicts the plan.
    """

    def __init__(self, message: str, *, drift: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.drift = tuple(drift)


class AuditLogError(EzeepError):
    """The audit log cannot be written or read. A change that could not be recorded is not sent to the server."""


class PrintFailed(EzeepError):
    """The document was not printed: the print service refused it, or its job ended with an error.

    Attributes:
        status: Status of the job, with the code of the service.
    """

    status: JobStatus

    def __init__(
        self, message: str, *, status: JobStatus | None = None, **request: Unpack[SentRequest]
    ) -> None:
        super().__init__(message, **request)
        if (
            status is not None
        ):  # an error is unpickled with its message alone, and gets its attributes afterwards
            self.status = status


class JobTimeout(EzeepError, TimeoutError):
    """The job did not end within the time limit of the caller. It may still be printed: wait for it again.

    Attributes:
        status: The last status that was read, or None.
    """

    def __init__(self, message: str, *, status: JobStatus | None = None) -> None:
        super().__init__(message)
        self.status = status


class UnsupportedFileType(EzeepError, ValueError):
    """The print service does not print files of this type. Nothing was uploaded.

    Attributes:
        type: The type, in lower case.
        supported: The types that the service prints.
    """

    def __init__(self, message: str, *, type: str = "", supported: Collection[str] = ()) -> None:  # noqa: A002  # the name of the argument of `print_file`
        super().__init__(message)
        self.type = type
        self.supported = frozenset(supported)


class UnsupportedOption(EzeepError, ValueError):
    """The printer cannot do what the print options say. Nothing was uploaded.

    Attributes:
        option: Name of the option, as in `PrintOptions`.
        available: What the printer has instead.
    """

    def __init__(self, message: str, *, option: str = "", available: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.option = option
        self.available = tuple(available)


class UploadExpired(EzeepError):
    """The address of an upload expired, and the source cannot be read again. Print again with a new source."""


OPENED_BEFORE_FORK = (
    "this EzeepSession was opened before a fork and belongs to the parent process: make one in each process, with a "
    "token store that they share"
)


class SessionClosed(EzeepError):
    """The session was closed before or during the call, or belongs to the parent process. Open a new one."""


class BlockingCallError(EzeepError, RuntimeError):
    """A blocking call was made on a thread that runs an event loop, and would have stopped that loop.

    Also a `RuntimeError`. Await the method of an `EzeepSession` there.
    """


class InsecureEndpoint(EzeepError, ValueError):
    """The endpoint URL is not https, and its host is not a loopback address. Use an https:// URL."""
