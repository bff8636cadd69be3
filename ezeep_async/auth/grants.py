"""The grants of the token endpoint: what is sent, and what each answer means. No retries here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol, cast

import attrs

from ezeep_async._text.redaction import Secret
from ezeep_async._wire.converter import LARGEST_PLAIN, decode_json, decode_token_fields
from ezeep_async._wire.requests import Phase, Request
from ezeep_async._wire.responses import (
    LARGEST_ERROR,
    Context,
    RawResponse,
    error_from,
    is_success,
    one_line,
    parse_body,
    redact,
    with_code,
)
from ezeep_async.auth.logs import Log, logger
from ezeep_async.auth.tokens import TokenSet, usable_token
from ezeep_async.errors import (
    AuthenticationError,
    AuthorizationDenied,
    ReauthorizationRequired,
    TransientAuthError,
    UnexpectedResponse,
)


TOKEN_PATH = "/oauth/access_token/"  # noqa: S105  # an address
PAIR_PATH = "/oauth/pair/"
REVOKE_PATH = "/oauth/revoke/"

_SECRET_FIELDS = ("code", "code_verifier", "refresh_token", "password", "pairing_code", "token")

_IN_COOKIE = "the account service sent a refresh token as a cookie: cookies are neither kept nor sent"

# RFC 6749 section 4.1.2.1 has these two for passing trouble; some servers use them at the token endpoint too.
_PASSING = frozenset({"temporarily_unavailable", "server_error"})


# An answer that is no success may hold a login all the same, in JSON or as a form. What is no text in its place is
# taken out to the end of the answer.
_TOKENS = re.compile(
    rb"""((?:access|refresh|id)_token["']?\s*[:=]\s*)("(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|[\[{].*|[^"'&\s,}]+)""",
    re.DOTALL,
)


class SendOnce(Protocol):
    """Sends one OAuth request once, with the app's credentials, and returns whatever the server answers."""

    async def __call__(self, request: Request, phase: Phase, /) -> RawResponse: ...


def code_form(code: str, redirect_uri: str | None, code_verifier: str | None, scope: str) -> dict[str, str]:
    """RFC 6749 section 4.1.3, with the verifier of RFC 7636 section 4.5."""
    form = {"grant_type": "authorization_code", "scope": scope, "code": Secret(code)}
    if redirect_uri is not None:
        form["redirect_uri"] = redirect_uri
    if code_verifier is not None:
        form["code_verifier"] = Secret(code_verifier)
    return form


def refresh_form(refresh_token: str, scope: str) -> dict[str, str]:
    """RFC 6749 section 6."""
    return {"grant_type": "refresh_token", "scope": scope, "refresh_token": Secret(refresh_token)}


def pairing_form(pairing_code: str, scope: str) -> dict[str, str]:
    """API document, "OAuth2": the grant `pairing_code`."""
    return {"grant_type": "pairing_code", "scope": scope, "pairing_code": Secret(pairing_code)}


def password_form(username: str, password: str, scope: str) -> dict[str, str]:
    """RFC 6749 section 4.3.2, for client ids that are enabled for it."""
    return {"grant_type": "password", "scope": scope, "username": username, "password": Secret(password)}


def oauth_error(response: RawResponse) -> str | None:
    """The error code of RFC 6749 section 5.2, or None for anything else: a proxy's page, an empty body, a 5xx."""
    if response.status not in {400, 401} or len(response.body) > LARGEST_ERROR:
        return None
    try:
        code = _object_in(response).get("error")
    except UnexpectedResponse:
        return None
    return code if isinstance(code, str) and code not in _PASSING else None


def tokens_from(
    response: RawResponse, now: datetime, previous: TokenSet | None = None, *, log: Log = logger
) -> TokenSet:
    """The tokens of an answer. Raises `UnexpectedResponse` when there are none in it."""
    in_cookie = any(
        name.casefold() == "set-cookie" and "refresh" in value.casefold()
        for name, value in response.headers.items()
    )
    try:
        body = _object_in(response)
        tokens = TokenSet.from_response(body, now, previous=previous)
    except ValueError as error:
        problem = _unreadable(response, f"{error}{f' ({_IN_COOKIE})' if in_cookie else ''}")
    else:
        if body.get("refresh_token") and usable_token(body["refresh_token"]) is None:
            log.warning(
                "the response has a refresh token that cannot be used (characters that no token has, or too many of them)"
            )
        if in_cookie and not body.get("refresh_token"):
            log.warning(
                "%s. The answer has no other, so this login may end with its access token", _IN_COOKIE
            )
        return tokens
    raise problem


def pairing_from(response: RawResponse) -> tuple[str, str]:
    """The pairing code and the address to open. Raises `UnexpectedResponse` when they are not in the answer."""
    body = _object_in(response)
    code, url = body.get("pairing_code"), body.get("auth_url")
    if not isinstance(code, str) or not isinstance(url, str):
        raise _unreadable(response, "the answer has no pairing_code or no auth_url")
    return code, url


def check_success(response: RawResponse, path: str, form: Mapping[str, str]) -> None:
    """Raise what a refused grant means."""
    if not is_success(response.status):
        raise failure_from(response, path, form)


def failure_from(response: RawResponse, path: str, form: Mapping[str, str]) -> AuthenticationError:
    """What a refused grant means for the caller. The cause is the plain answer."""
    code = oauth_error(response)
    response = attrs.evolve(response, body=_TOKENS.sub(rb'\1"***"', response.body))
    secrets = tuple(form[name] for name in _SECRET_FIELDS if form.get(name)) + response.secrets
    answer = error_from(response, Context("POST", path, response.request_id, secrets=secrets))
    description = "" if code is None else _describe(code, response, secrets)
    error: AuthenticationError
    if code is None:
        # Only an RFC 6749 error body ends a login. Anything else is a proxy, a firewall or a server in trouble.
        error = TransientAuthError(
            f"the login could not be checked just now: {answer}", status=response.status
        )
    elif code == "invalid_grant" and form.get("grant_type") == "refresh_token":
        error = ReauthorizationRequired(f"the login has ended ({description}): log in again", error=code)
    elif code in {"access_denied", "invalid_grant", "expired_token"}:
        error = AuthorizationDenied(f"the login was refused: {description}", error=code)
    else:
        error = AuthenticationError(f"the token endpoint refused the request: {description}", error=code)
    error.status = response.status
    error.request_id = answer.request_id
    error.__cause__ = answer
    return error


def _describe(code: str, response: RawResponse, secrets: tuple[str, ...]) -> str:
    """The server's own words on a refusal, without what was sent in confidence."""
    body = parse_body(response.body, secrets)
    detail = cast("dict[str, object]", body).get("error_description") if isinstance(body, dict) else None
    code = redact(code, secrets)
    return one_line(with_code(code, str(detail)[:200] if detail else ""))


def _object_in(response: RawResponse) -> dict[str, object]:
    if len(response.body) > LARGEST_PLAIN:
        # A refresh token was spent for it, so it is read, but nothing that is not needed is decoded.
        try:
            return decode_token_fields(response.body)
        except UnexpectedResponse:
            raise _unreadable(response, f"{len(response.body)} bytes without a token set") from None
    try:
        body = decode_json(response.body)
    except UnexpectedResponse:
        body = _tolerantly_decoded(response.body)
    if not isinstance(body, dict):
        raise _unreadable(response, "the answer is not a JSON object")
    return cast("dict[str, object]", body)


def _tolerantly_decoded(body: bytes) -> object:
    """A response for which a token was spent is read, however it is written: in UTF-16, with NaN, with bytes that are no
    UTF-8 or line breaks inside of texts, with numbers of thousands of digits.
    """
    try:
        text = body.decode(json.detect_encoding(body), "replace")
        return json.loads(text, strict=False, parse_int=lambda digits: float(digits[:400]))
    except (ValueError, RecursionError):
        return None


def _unreadable(response: RawResponse, what: str) -> UnexpectedResponse:
    # Without the body, and without the decoder's error, which quotes it: half of a login is still a secret. And with our
    # own id: the server's may be what was sent in the form.
    return UnexpectedResponse(
        f"the account service: {what}", status=response.status, request_id=response.sent_id or None
    )
