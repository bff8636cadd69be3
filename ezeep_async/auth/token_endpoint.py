"""The OAuth endpoints: one request in a task that survives cancellation, and what each response means. No retries."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol, cast

import attrs

from ezeep_async._runtime.running_time import RunningLimit
from ezeep_async._wire.converter import LARGEST_PLAIN, decode_token_fields
from ezeep_async._wire.requests import Phase, Request, oauth_form
from ezeep_async._wire.responses import LARGEST_ERROR, RawResponse, error_from, is_success
from ezeep_async.auth.clock import Clock
from ezeep_async.auth.logs import Log
from ezeep_async.auth.tasks import retry_if_cancelled, start_uncancellable, wait_through
from ezeep_async.auth.tokens import TokenSet, usable_token
from ezeep_async.errors import (
    AuthenticationError,
    AuthorizationDenied,
    ConnectFailed,
    ReauthorizationRequired,
    RequestTimeout,
    TransientAuthError,
    TransportError,
    UnexpectedResponse,
)


TOKEN_PATH = "/oauth/access_token/"  # noqa: S105  # an address
PAIR_PATH = "/oauth/pair/"
REVOKE_PATH = "/oauth/revoke/"

MAYBE_PROCESSED = frozenset({500, 502, 504})
"""Statuses after which the server may have used up what was sent. A replay of a used-up token does no further harm."""

# RFC 6749 section 4.1.2.1 has these two for temporary failures; some servers use them at the token endpoint too.
_TEMPORARY = frozenset({"temporarily_unavailable", "server_error"})
_DENIED = frozenset({"access_denied", "invalid_grant", "expired_token"})

# An error response may contain tokens all the same, in JSON or as a form. A value that is no string is removed up to the
# end of the response.
_TOKENS = re.compile(
    rb"""((?:access|refresh|id)_token["']?\s*[:=]\s*)("(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|[\[{].*|[^"'&\s,}]+)""",
    re.DOTALL,
)


_COOKIE_ONLY = (
    ", but a refresh token as a cookie: cookies are neither kept nor sent. A person may have to log in again"
)


class SendOnce(Protocol):
    """Sends one OAuth request once, with the credentials of the client, and returns the response with any status."""

    async def __call__(self, request: Request, phase: Phase, /) -> RawResponse:
        """Send it."""
        ...


@attrs.frozen(eq=False, repr=False)
class TokenEndpoint:
    """Sends forms to the OAuth endpoints.

    `timeout` limits one exchange: all requests that share a `RunningLimit`. `connect_timeout` limits the part of one
    request until the server is reached. Both are in seconds of running time, so a response that arrived while the
    process was suspended is read.
    """

    _send: SendOnce
    _clock: Clock
    timeout: float
    connect_timeout: float
    log: Log

    async def tokens(
        self, form: Mapping[str, str], previous: TokenSet | None = None, limit: RunningLimit | None = None
    ) -> TokenSet:
        """Send the form of a grant, and return the token set. Raises `AuthenticationError`."""
        response = await self.post(TOKEN_PATH, form, limit)
        try:
            return tokens_from(
                response,
                self._clock.now(),
                previous,
                self.log,
                requested_scope=form.get("scope") or "printing",
            )
        except UnexpectedResponse as error:
            raise _unanswered(error) from error

    async def post(
        self, path: str, form: Mapping[str, str], limit: RunningLimit | None = None
    ) -> RawResponse:
        """Send a form, and return the 2xx response. Raises `AuthenticationError`."""
        try:
            response = await self.send(oauth_form(path, form), limit or RunningLimit(self.timeout))
        except (TransportError, UnexpectedResponse) as error:
            raise _unanswered(error) from error
        if not is_success(response.status):
            raise refusal_from(response, path, form)
        return response

    async def send(self, request: Request, limit: RunningLimit) -> RawResponse:
        """Send a request once, and wait for what is left of `limit`. In a shielded task it cannot be cancelled."""
        seconds = limit.left
        to_connect = min(self.connect_timeout, seconds)
        phase = Phase()
        task = start_uncancellable(self._send(request, phase))
        try:
            if not await wait_through(task, limit, to_connect) and phase.sent:
                await wait_through(task, limit)
        except asyncio.CancelledError:  # in a task of the caller, which loses nothing
            task.abort()
            raise
        if not task.done():
            task.abort()
            await retry_if_cancelled(lambda: asyncio.wait({task}))
        if not task.cancelled():
            return task.result()
        # Aborted above, or cancelled with a task that the HTTP library keeps for its connection.
        if phase.sent:
            raise RequestTimeout(
                f"no response from the account service within {seconds:g} s", request_sent=True
            )
        raise ConnectFailed(
            f"no connection to the account service within {to_connect:g} s", request_sent=False
        )


def is_ambiguous(error: AuthenticationError) -> bool:
    """Whether the server may have used up a code or a refresh token, although there is no response with tokens."""
    if isinstance(error.__cause__, TransportError):
        return error.__cause__.request_sent is not False
    if error.status is None:
        return isinstance(error.__cause__, UnexpectedResponse)
    return error.status in MAYBE_PROCESSED


def is_unprocessed(error: AuthenticationError) -> bool:
    """Whether the same request may succeed later, and the server has not processed it."""
    if isinstance(error.__cause__, TransportError):
        return error.__cause__.request_sent is False
    return error.status in {429, 503}


def restated(
    error: AuthenticationError, message: str, kind: type[AuthenticationError]
) -> AuthenticationError:
    """Return a new error with the details of another one."""
    return kind(message, error=error.error, status=error.status, request_id=error.request_id)


def json_object(response: RawResponse) -> dict[str, object]:
    """Decode a response for which a token was used up: also in UTF-16, with invalid bytes, line breaks or numbers.

    Raises `UnexpectedResponse` without the body and the error of the decoder: both may contain a token.
    """
    body = response.body
    decoded: object = None
    try:
        if len(body) > LARGEST_PLAIN:
            decoded = decode_token_fields(body)
        else:
            text = body.decode(json.detect_encoding(body), "replace")
            decoded = json.loads(text, strict=False, parse_int=lambda digits: float(digits[:400]))
    except (ValueError, RecursionError, UnexpectedResponse):
        pass
    if not isinstance(decoded, dict):
        raise _unreadable(response, "the response is not a JSON object with a token set")
    return cast("dict[str, object]", decoded)


def tokens_from(
    response: RawResponse,
    now: datetime,
    previous: TokenSet | None,
    log: Log,
    *,
    requested_scope: str = "printing",
) -> TokenSet:
    """The token set in a 2xx response. Raises `UnexpectedResponse` if there is none."""
    body = json_object(response)
    only_cookie = not body.get("refresh_token") and _has_refresh_cookie(response)
    try:
        tokens = TokenSet.from_response(body, now, previous=previous, requested_scope=requested_scope)
    except ValueError as error:
        problem = _unreadable(response, f"{error}{_COOKIE_ONLY if only_cookie else ''}")
    else:
        if only_cookie:
            log.warning("the response has no refresh token%s", _COOKIE_ONLY)
        elif body.get("refresh_token") and usable_token(body["refresh_token"]) is None:
            log.warning("the response has a refresh token that cannot be used")
        return tokens
    # Outside of the handler: the original error would be the context, and its frames hold the body.
    raise problem


def pairing_from(response: RawResponse) -> tuple[str, str]:
    """The pairing code and the address to open. Raises `UnexpectedResponse` if they are absent."""
    body = json_object(response)
    code, url = body.get("pairing_code"), body.get("auth_url")
    if not isinstance(code, str) or not isinstance(url, str):
        raise _unreadable(response, "the response has no pairing_code or no auth_url")
    return code, url


def _unreadable(response: RawResponse, what: str) -> UnexpectedResponse:
    # With the id that was sent: the server's may repeat a secret of the form.
    return UnexpectedResponse(
        f"the account service: {what}", status=response.status, request_id=response.sent_id or None
    )


def _has_refresh_cookie(response: RawResponse) -> bool:
    return any(
        name.casefold() == "set-cookie" and "refresh" in value.casefold()
        for name, value in response.headers.items()
    )


def _unanswered(error: TransportError | UnexpectedResponse) -> TransientAuthError:
    return TransientAuthError(
        f"no usable response from the account service: {error}. Try again later", request_id=error.request_id
    )


def _error_code(response: RawResponse) -> str | None:
    """The error code of RFC 6749 section 5.2, None for any other response, such as a page of a proxy."""
    if response.status not in {400, 401} or len(response.body) > LARGEST_ERROR:
        return None
    try:
        code = json_object(response).get("error")
    except UnexpectedResponse:
        return None
    return code if isinstance(code, str) and code not in _TEMPORARY else None


def refusal_from(response: RawResponse, path: str, form: Mapping[str, str]) -> AuthenticationError:
    """The error for a response that is not 2xx. Its cause is the plain response."""
    code = _error_code(response)
    response = attrs.evolve(response, body=_TOKENS.sub(rb'\1"***"', response.body))
    cause = error_from(response, f"POST {path}")
    kind: type[AuthenticationError]
    if code is None:
        # Only an RFC 6749 error body is final. Anything else is from a proxy, a firewall or a server in trouble.
        kind, what = TransientAuthError, "the account service did not process the request: try again later"
    elif code == "invalid_grant" and form.get("grant_type") == "refresh_token":
        kind, what = ReauthorizationRequired, "the refresh token is not valid any more: log in again"
    elif code in _DENIED:
        kind, what = AuthorizationDenied, "the login was refused"
    else:
        kind, what = AuthenticationError, "the token endpoint refused the request"
    error = kind(f"{what} ({cause})", error=code, status=response.status, request_id=cause.request_id)
    error.retry_after = cause.retry_after
    error.__cause__ = cause
    return error
