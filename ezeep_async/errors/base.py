"""The base class of all errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict


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
