"""`OAuthApp`, authorization addresses, PKCE and state."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable
from typing import Any

import attrs
from multidict import MultiMapping
from yarl import URL

from ezeep_async._text.cleaning import cleaned
from ezeep_async._text.redaction import clears_arguments
from ezeep_async._wire.responses import one_line, redact, with_code
from ezeep_async.errors import AuthorizationDenied, StateMismatch


_AMPERSANDS = re.compile("&(?:(?:amp|#38|#x26);)+", re.IGNORECASE)


def _text(shortest: int = 0) -> Callable[[object, attrs.Attribute[Any], object], None]:
    def validate(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        # The value itself is not shown: it may be a secret.
        if not isinstance(value, str) or len(value) < shortest:
            raise ValueError(f"{attribute.name} is a text{' that is not empty' if shortest else ''}")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError(f"{attribute.name} holds half a character, which cannot be sent")

    return validate


def _clean(value: str, name: str) -> str:
    # What is no text is left to the validator.
    return cleaned(value, name) if isinstance(value, str) else value  # pyright: ignore[reportUnnecessaryIsInstance]


def _clean_id(value: str) -> str:
    return _clean(value, "client_id")


def _clean_secret(value: str | None) -> str:
    return "" if value is None else _clean(value, "client_secret")


def _clean_address(value: str | None) -> str | None:
    return None if value is None else _clean(value, "redirect_uri") or None


def _clean_scope(value: str) -> str:
    return _clean(value, "scope")


@clears_arguments
@attrs.frozen
class OAuthApp:
    """A client registered with ezeep. Source: API document, "OAuth2".

    White space and quotes around a value do not count, as for every setting. Raises `ValueError` for what is no text,
    an empty client id, and a control character inside a value.
    """

    client_id: str = attrs.field(converter=_clean_id, validator=_text(shortest=1))
    client_secret: str = attrs.field(default="", converter=_clean_secret, validator=_text(), repr=False)
    """May be empty: then the Basic header has a colon and nothing behind it."""
    redirect_uri: str | None = attrs.field(
        default=None, converter=_clean_address, validator=attrs.validators.optional(_text())
    )
    """Must equal one of the addresses registered for the client."""
    scope: str = attrs.field(default="printing", converter=_clean_scope, validator=_text())

    def basic_authorization(self) -> str:
        """The value of the `Authorization` header at the token endpoint (RFC 6749 section 2.3.1)."""
        credentials = f"{self.client_id}:{self.client_secret}".encode()
        return "Basic " + base64.b64encode(credentials).decode("ascii")


@clears_arguments
@attrs.frozen
class AuthorizationRequest:
    """One trip to the consent page. Keep it (in the user's web session, for one) until the redirect comes back."""

    url: str = attrs.field(repr=lambda url: repr(str(URL(url).with_query(None))))
    """Where to send the browser."""
    state: str = attrs.field(repr=False)
    """What has to come back unchanged."""
    code_verifier: str = attrs.field(repr=False)
    """The secret half of PKCE (RFC 7636)."""
    redirect_uri: str | None = None


def code_challenge(verifier: str) -> str:
    """The S256 challenge of RFC 7636 section 4.2."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def authorization_request(
    app: OAuthApp,
    account_url: str,
    *,
    state: str | None = None,
    social: str | None = None,
    prompt: str | None = None,
    scope: str | None = None,
) -> AuthorizationRequest:
    """The address of the consent page, with a fresh state and PKCE challenge. Raises `ValueError` without a redirect URI, and
    for an empty `state`, which anybody could forge.
    """
    if app.redirect_uri is None:
        raise ValueError("the authorization-code login needs OAuthApp(redirect_uri=...)")
    if state == "":
        raise ValueError("an empty state protects nothing: leave it out, and a random one is made")
    state = secrets.token_urlsafe(24) if state is None else state
    verifier = secrets.token_urlsafe(48)
    query = {
        "response_type": "code",
        "client_id": app.client_id,
        "redirect_uri": app.redirect_uri,
        "scope": app.scope if scope is None else scope,
        "state": state,
        "code_challenge": code_challenge(verifier),
        "code_challenge_method": "S256",
    }
    if social is not None:
        query["social"] = social
    if prompt is not None:
        query["prompt"] = prompt
    url = URL(account_url + "/oauth/authorize/").with_query(query)
    return AuthorizationRequest(str(url), state, verifier, app.redirect_uri)


def code_from_callback(callback_url: str, request: AuthorizationRequest) -> str:
    """The authorization code in the address that the browser came back to.

    Raises `StateMismatch` for a state that is missing or another one, `AuthorizationDenied` for `?error=` (RFC 6749
    section 4.1.2.1), for a redirect with no code, and for what is no address.
    """
    query = _query_of(callback_url)
    if not query.get("state"):
        raise StateMismatch(
            "the redirect has no state: it is not whole, or does not belong to this login. Use all of the address, or "
            "start again",
            error="state_mismatch",
        )
    # Compared in constant time: what an attacker can send must not be found out letter by letter.
    if not secrets.compare_digest(query.get("state", "").encode(), request.state.encode()):
        raise StateMismatch(
            "the redirect's state is not the one of this login: start again", error="state_mismatch"
        )
    if error := query.get("error"):
        secret = (request.state, request.code_verifier, *query.getall("code", []))
        error, detail = (
            one_line(redact(text, secret)) for text in (error, query.get("error_description", ""))
        )
        raise AuthorizationDenied(f"the login was declined: {with_code(error, detail)}", error=error)
    if not (code := query.get("code")):
        raise AuthorizationDenied("the redirect carries no authorization code")
    return code


def without_entities(address: str) -> str:
    """An address as it was before a page, a mail or a log wrote its `&` as `&amp;`."""
    return _AMPERSANDS.sub("&", address)


def _query_of(address: str) -> MultiMapping[str]:
    try:
        return URL(without_entities(address)).query
    except ValueError:
        pass
    # Not from the parser's error, which may quote a part of the address.
    raise AuthorizationDenied("the redirect cannot be read: it is no address")
